import type { StudyResult } from '../../result/study.ts'
import { paintWith } from '../terminal/paint.ts'
import { renderTable } from '../terminal/table.ts'
import { figureText, statusOf } from './words.ts'

/** The tables and conclusions of a study for a terminal. */
export function renderStudyTerminal(
  result: StudyResult,
  { color, width }: { readonly color: boolean; readonly width: number },
): string {
  const paint = paintWith(color)
  const { study, tables, conclusions, cells } = result
  const lines = [
    `${paint.bold(study.id)}  ${study.claim}`,
    paint.dim(`${result.budget} budget, ${cells.length} cells, ${statusOf(result)}; data: ${result.data}`),
  ]
  for (const { title, columns, rows, note } of tables) {
    const isNumber = columns.map((_, c) => rows.every((row) => typeof row[c] !== 'string'))
    const table = renderTable(
      columns.map((title, c) => ({
        title,
        align: isNumber[c] ? ('right' as const) : ('left' as const),
        ...(c === 0 ? { flexible: true } : {}),
      })),
      rows.map((row) => row.map(figureText)),
      { width: Math.max(width, 60), paint },
    )
    lines.push('', paint.bold(title), ...table, ...(note ? [paint.dim(note)] : []))
  }
  if (conclusions.length > 0) lines.push('', ...conclusions.map((line) => `- ${line}`))
  for (const { error, parameters } of cells)
    if (error !== undefined)
      lines.push(paint.red(`failed: ${JSON.stringify(parameters)}: ${error.split('\n')[0]}`))
  return `${lines.join('\n')}\n`
}
