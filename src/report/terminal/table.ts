import type { Paint } from './paint.ts'
import { shorten, textWidth } from './text.ts'

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
  /** May be shortened to fit, down to 16 columns; at most one column of a table is. */
  readonly flexible?: boolean
  /** Which column goes first when even that does not fit: the highest. Those without stay. */
  readonly expendable?: number
}

export interface Cell {
  readonly text: string
  readonly style?: (text: string) => string
}

/** A row of cells, or a remark that stands in a row's place. */
export type TableRow = readonly (Cell | string)[] | { readonly remark: string }

const flexibleMinimum = 16

/**
 * Lay out a table in at most `width` columns. Columns without content are left out; if it does not fit, the flexible
 * column is shortened first, then expendable columns go.
 */
export function renderTable(
  columns: readonly Column[],
  rows: readonly TableRow[],
  { width, paint, gap = 2 }: { readonly width: number; readonly paint: Paint; readonly gap?: number },
): string[] {
  const cells = rows.map((row) => ('remark' in row ? undefined : row.map(cellOf)))
  const natural = columns.map((column, c) =>
    Math.max(textWidth(column.title), ...cells.map((row) => textWidth(row?.[c]?.text ?? ''))),
  )
  let shown = columns.map((_, c) => c).filter((c) => cells.some((row) => (row?.[c]?.text ?? '') !== ''))
  const least = (c: number) => (columns[c]!.flexible ? Math.min(natural[c]!, flexibleMinimum) : natural[c]!)
  const needed = () => shown.reduce((sum, c) => sum + least(c), gap * Math.max(0, shown.length - 1))
  while (needed() > width) {
    const drop = shown
      .filter((c) => columns[c]!.expendable !== undefined)
      .toSorted((a, b) => columns[b]!.expendable! - columns[a]!.expendable!)[0]
    if (drop === undefined) break
    shown = shown.filter((c) => c !== drop)
  }
  const spare = Math.max(0, width - needed())
  const widths = columns.map((column, c) =>
    column.flexible ? Math.min(natural[c]!, least(c) + spare) : natural[c]!,
  )
  const between = ' '.repeat(gap)
  const line = (parts: readonly string[]) => parts.join(between).trimEnd()
  const header = line(shown.map((c) => aligned(columns[c]!.title, widths[c]!, columns[c]!, paint.dim)))
  const lines = rows.map((row, r) => {
    if ('remark' in row) return paint.dim(shorten(row.remark, width))
    return line(
      shown.map((c) => {
        const { text, style } = cells[r]![c] ?? { text: '' }
        return aligned(shorten(text, widths[c]!), widths[c]!, columns[c]!, style)
      }),
    )
  })
  return [header, ...lines]
}

/** Spaces stay outside the style, so that they can be trimmed. */
function aligned(
  text: string,
  width: number,
  { align }: Column,
  style: (text: string) => string = String,
): string {
  const space = ' '.repeat(Math.max(0, width - textWidth(text)))
  return align === 'right' ? space + style(text) : style(text) + space
}

function cellOf(cell: Cell | string): Cell {
  return typeof cell === 'string' ? { text: cell } : cell
}
