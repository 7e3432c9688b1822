import type { Layer, Result } from '../../result/result.ts'
import { counted, layerName, nonFinite, ratio, ratioInterval, signed, significant, times } from '../format.ts'
import { channelMean, type LayerRow, layerRows, levelOf, reachWords } from '../layers.ts'
import { bar, sparkline } from './chart.ts'
import { columnNames, type Page } from './page.ts'
import type { Paint } from './paint.ts'
import { type Cell, type Column, renderTable, type TableRow } from './table.ts'
import { pad, textWidth, wrap } from './text.ts'

/** Layers shown in a table before those that shift little are summed up. */
const rowsShown = 24

export function layers(result: Result, page: Page): string[] {
  const { paint, width, verbose } = page
  const rows = layerRows(result)
  const two = result.after !== undefined
  if (rows.every(({ before, after }) => !before && !after)) return []
  const scale = shiftScale(rows)
  const tight = width < 96
  const [a, b] = columnNames(result)
  const barWidth = tight ? 6 : 16
  const columns: Column[] = two
    ? [
        { title: '' },
        { title: '#', align: 'right' },
        { title: 'layer', flexible: true },
        { title: 'noise', expendable: 3 },
        { title: a, align: 'right' },
        { title: '95 %', expendable: 4 },
        { title: '', expendable: 6 },
        { title: b, align: 'right' },
        { title: '95 %', expendable: 5 },
        { title: '', expendable: 7 },
        { title: 'new var', align: 'right', expendable: 1 },
        { title: 'mean ±', align: 'right', expendable: 2 },
      ]
    : [
        { title: '' },
        { title: '#', align: 'right' },
        { title: 'layer', flexible: true },
        { title: 'noise', expendable: 5 },
        { title: 'stored', align: 'right', expendable: 3 },
        { title: 'real', align: 'right', expendable: 2 },
        { title: 'ratio', align: 'right' },
        { title: '95 %', expendable: 1 },
        { title: 'pred.', align: 'right', expendable: 4 },
        { title: 'mean', align: 'right', expendable: 6 },
        { title: '', expendable: 7 },
      ]
  const marked = ({ before, after }: LayerRow) =>
    result.command === 'compare' ? undefined : (after ?? before)
  const changes = new Map(result.repair?.changes.map((change) => [change.key, change]))
  const line = (row: LayerRow): TableRow => {
    const { before, after } = row
    const name = layerName(row.label)
    const start = [worstMark(marked(row), paint), String(row.index), name, reachWords[row.reach]]
    const figure = (layer: Layer | undefined): (Cell | string)[] => [
      layer ? { text: ratioWithDirection(layer), style: levelPaint(layer, paint) } : '–',
      layer ? { text: ratioInterval(layer.shiftRatioInterval), style: paint.dim } : '',
    ]
    const drawn = (layer: Layer | undefined): Cell => ({
      text: layer ? bar(scale(layer.shiftRatio), barWidth) : '',
      style: layer ? levelPaint(layer, paint) : paint.dim,
    })
    if (two) {
      const change = changes.get(row.key)
      return [
        ...start,
        ...figure(before),
        drawn(before),
        ...figure(after),
        drawn(after),
        change ? times(change.varianceRatio.median) : '',
        change ? ratio(change.meanChange) : '',
      ]
    }
    return [
      ...start,
      before ? significant(channelMean(before.storedVariance)) : '–',
      before ? significant(channelMean(before.realVariance)) : '–',
      ...figure(before),
      row.predicted === undefined ? '' : ratio(row.predicted),
      before ? { text: signed(before.meanShift.median), style: paint.dim } : '',
      drawn(before),
    ]
  }
  const table = renderTable(columns, verbose ? rows.map(line) : summed(rows, line), {
    width,
    paint,
    gap: tight ? 1 : 2,
  })
  const strip = rows.length > rowsShown ? strips(rows, result, page, scale) : []
  return [paint.bold('Shift by layer'), ...strip, ...table, ...legend(result, rows, page)]
}

function legend({ after, repair }: Result, rows: readonly LayerRow[], { paint, width }: Page): string[] {
  const two = after !== undefined
  const some = (test: (row: LayerRow) => boolean) => rows.some(test)
  const words = [
    'ratio of stored to real variance (channel means), the larger over the smaller; ↓ eval sees less than stored, ↑ more',
    ...(some(({ reach }) => reach === 'nonlinear')
      ? ['behind: noise reaches it through non-linear nodes']
      : []),
    ...(!two && some(({ predicted }) => predicted !== undefined) ? ['pred.: predicted from the file'] : []),
    ...(two ? [] : ['mean: median mean shift in standard deviations']),
    ...(repair
      ? [
          'new var, mean ±: median new over old running variance, largest change of the running mean in standard deviations',
        ]
      : []),
    ...(some(({ before, after }) => [before, after].some((layer) => layer && !layer.enoughSamples))
      ? ['?: too few samples to tell']
      : []),
  ]
  return wrap(`${words.join('; ')}.`, width).map(paint.dim)
}

/** All rows, or the worst of them in their places with a remark for each stretch between. */
function summed(rows: readonly LayerRow[], line: (row: LayerRow) => TableRow): TableRow[] {
  if (rows.length <= rowsShown) return rows.map(line)
  const size = ({ before, after }: LayerRow) => {
    const value = (before ?? after)?.shiftRatio ?? 0
    return Number.isFinite(value) ? value : Number.POSITIVE_INFINITY
  }
  const worst = new Set(rows.toSorted((a, b) => size(b) - size(a)).slice(0, rowsShown / 2))
  const lines: TableRow[] = []
  let skipped: LayerRow[] = []
  const close = () => {
    if (skipped.length === 1) lines.push(line(skipped[0]!))
    else if (skipped.length > 1) lines.push({ remark: stretch(skipped) })
    skipped = []
  }
  for (const row of rows)
    if (worst.has(row)) {
      close()
      lines.push(line(row))
    } else skipped.push(row)
  close()
  return lines
}

function stretch(rows: readonly LayerRow[]): string {
  const range = (side: 'before' | 'after') => {
    const values = rows.flatMap((row) => row[side]?.shiftRatio ?? []).filter(Number.isFinite)
    return values.length === 0 ? undefined : `${ratio(Math.min(...values))}–${ratio(Math.max(...values))}`
  }
  const before = range('before')
  const after = range('after')
  const figures = [before, after].filter((text) => text !== undefined).join(' → ')
  return `   ⋮ ${counted(rows.length, 'layer')}${figures ? `, ratio ${figures}` : ''}`
}

/** The whole net as one mark per layer, on a line per side. */
function strips(
  rows: readonly LayerRow[],
  result: Result,
  { paint, width }: Page,
  scale: (value: number) => number,
): string[] {
  const sides = (['before', 'after'] as const).filter((side) => rows.some((row) => row[side]))
  const names = sides.length === 1 ? ['ratio'] : columnNames(result)
  const indent = Math.max(...names.map(textWidth)) + 2
  return [
    ...sides.map((side, i) => {
      const shares = rows.map((row) => scale(row[side]?.shiftRatio ?? 1))
      return `${paint.dim(pad(names[i]!, indent))}${(i === 0 ? paint.yellow : paint.cyan)(sparkline(shares, width - indent))}`
    }),
    '',
  ]
}

/** Position of a shift ratio between no shift (0) and the largest one shown (1), logarithmic. */
function shiftScale(rows: readonly LayerRow[]): (value: number) => number {
  const values = rows.flatMap(({ before, after }) => [before?.shiftRatio ?? 1, after?.shiftRatio ?? 1])
  const top = Math.log(Math.max(1.5, ...values.filter(Number.isFinite)))
  return (value) => (Number.isFinite(value) ? Math.log(Math.max(1, value)) / top : 1)
}

function worstMark(layer: Layer | undefined, paint: Paint): Cell {
  const level = layer && levelOf(layer)
  if (level === 'strong') return { text: '!!', style: paint.red }
  if (level === 'shifted') return { text: '!', style: paint.yellow }
  return { text: level === 'unclear' ? '?' : '', style: paint.dim }
}

function levelPaint(layer: Layer, paint: Paint): (text: string) => string {
  const level = levelOf(layer)
  return level === 'strong'
    ? paint.red
    : level === 'shifted'
      ? paint.yellow
      : level === 'unclear'
        ? paint.dim
        : paint.green
}

function ratioWithDirection({ shiftRatio, realOverStored }: Layer): string {
  const text = ratio(shiftRatio)
  if (text === nonFinite) return text
  const plain = text === ratio(1) || !Number.isFinite(realOverStored)
  return `${text}${plain ? ' ' : realOverStored < 1 ? '↓' : '↑'}`
}
