import type { Result } from '../../result/result.ts'
import { nextSteps } from '../advice.ts'
import { severityOrder } from '../findings.ts'
import { integer, printable } from '../format.ts'
import { severityCounts, severityTally, type Verdict, verdictOf } from '../verdict.ts'
import { notesOf } from '../words.ts'
import { type Page, severityMarks, severityPaint } from './page.ts'
import type { Paint } from './paint.ts'
import type { Cell } from './table.ts'
import { pad, textWidth, wrap } from './text.ts'

export function notes(result: Result, { paint, width }: Page): string[] {
  return notesOf(result).flatMap((note) =>
    wrap(printable(note), width - 6).map((line, i) => `${i === 0 ? paint.yellow('note') : '    '}  ${line}`),
  )
}

const toneMarks: Readonly<Record<Verdict['tone'], string>> = {
  good: '✔',
  warning: '▲',
  bad: '✖',
  neutral: '●',
}

function tonePaint(paint: Paint, tone: Verdict['tone']): (text: string) => string {
  if (tone === 'good') return paint.green
  if (tone === 'bad') return paint.red
  return tone === 'warning' ? paint.yellow : paint.cyan
}

export function conclusion(result: Result, page: Page): string[] {
  const { paint, width } = page
  const { tone, sentence } = verdictOf(result)
  const mark = tonePaint(paint, tone)(toneMarks[tone])
  const counts = severityCounts(result)
  const tallies = severityOrder
    .filter((severity) => counts[severity] > 0)
    .map((severity) => ({
      text: `${severityMarks[severity]} ${severityTally(counts[severity], severity)}`,
      style: severityPaint(paint, severity),
    }))
  if (result.suppressed > 0)
    tallies.push({ text: `${integer(result.suppressed)} hidden by the baseline`, style: paint.dim })
  if (result.command !== 'check' && result.findings.length > 0)
    tallies.push({
      text: 'shown by varshift check',
      style: paint.dim,
    })
  return [
    ...wrap(sentence, width - 2).map((line, i) => `${i === 0 ? mark : ' '} ${paint.bold(line)}`),
    ...flow(tallies, width - 2).map((line) => `  ${line}`),
    ...next(result, page),
  ]
}

/** Styled pieces, three spaces apart, on as many lines as they need. */
function flow(pieces: readonly Required<Cell>[], width: number): string[] {
  const lines: string[] = []
  let used = 0
  for (const { text, style } of pieces) {
    const fits = used > 0 && used + 3 + textWidth(text) <= width
    used = fits ? used + 3 + textWidth(text) : textWidth(text)
    if (fits) lines.push(`${lines.pop()}   ${style(text)}`)
    else lines.push(style(text))
  }
  return lines
}

function next(result: Result, { paint, width }: Page): string[] {
  const steps = nextSteps(result)
  if (steps.length === 0) return []
  const longest = Math.max(...steps.map(({ command }) => textWidth(command)))
  const beside = 4 + longest + 2 + Math.max(...steps.map(({ why }) => textWidth(why))) + 2 <= width
  return [
    '',
    '  Next',
    ...steps.flatMap(({ command, why }) =>
      beside
        ? [`    ${paint.cyan(pad(command, longest))}  ${paint.dim(`# ${why}`)}`]
        : [
            ...wrap(`# ${why}`, width - 4).map((line) => `    ${paint.dim(line)}`),
            `    ${paint.cyan(command)}`,
          ],
    ),
  ]
}
