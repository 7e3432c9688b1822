import { scaleBand } from 'd3-scale'
import { line } from 'd3-shape'
import type { Layer } from '../../result/result.ts'
import { layerName, ratio, times } from '../format.ts'
import { type LayerRow, worstLayer } from '../layers.ts'
import { shorten } from '../terminal/text.ts'
import { html, type Markup } from './markup.ts'
import { edgeLabels, ratioClass, ratioClasses, shiftScale } from './scales.ts'

interface FigureOptions {
  readonly names: readonly [string, string]
  /** Prefix of element ids, unique in the page. */
  readonly id: string
}

interface Strip {
  readonly id: string
  readonly title: string
  readonly symbol: Markup
}

/**
 * The figure of the report: shift ratio over layers, and below it, on the same horizontal axis, which noise reaches each
 * layer and how the ratio spreads over its channels. Drawn twice, wide and narrow; the style sheet shows one.
 */
export function layerFigure(rows: readonly LayerRow[], { names, id }: FigureOptions): Markup {
  const strips = stripsOf(rows, names, id)
  return html`<svg width="0" height="0" class="defs" aria-hidden="true" focusable="false">${strips.map(({ symbol }) => symbol)}</svg>
${drawing(rows, strips, { width: 1040, id, narrow: false })}
${drawing(rows, strips, { width: 380, id, narrow: true })}`
}

interface DrawingOptions {
  readonly width: number
  readonly id: string
  readonly narrow: boolean
}

function drawing(
  rows: readonly LayerRow[],
  strips: readonly Strip[],
  { width, id, narrow }: DrawingOptions,
): Markup {
  const left = narrow ? 38 : 60
  const right = narrow ? 8 : 16
  const top = 34
  const plot = narrow ? 190 : 270
  const noiseTop = top + plot + 8
  const noiseHeight = 12
  const stripHeight = narrow ? 64 : 88
  const stripGap = 26
  const firstStrip = noiseTop + noiseHeight + stripGap
  const axisTop = firstStrip + strips.length * (stripHeight + stripGap) - stripGap + 4
  const height = axisTop + 40
  const x = scaleBand<number>()
    .domain(rows.map(({ position }) => position))
    .range([left, width - right])
  const step = x.bandwidth()
  const middle = ({ position }: LayerRow) => round(x(position)! + step / 2)
  const layers = rows.flatMap(({ before, after }) => [before, after].filter((layer) => layer !== undefined))
  const values = [
    ...layers.flatMap(({ shiftRatio, shiftRatioInterval }) => [shiftRatio, shiftRatioInterval[1]]),
    ...rows.flatMap(({ predicted }) => predicted ?? []),
  ]
  const y = shiftScale(values, [top + plot, top])
  const radius = round(Math.min(4.5, Math.max(1.7, step * 0.3)))
  const measured = layers.length > 0
  return html`<svg class="figure ${narrow ? 'narrow' : 'wide'}" viewBox="0 0 ${width} ${round(height)}" role="img" aria-labelledby="${id}-title" data-left="${left}" data-step="${step.toFixed(4)}" data-count="${rows.length}" data-width="${width}">
<g class="grid">${y.ticks.map(
    (tick) =>
      html`<line class="${tick === 1 ? 'unit' : ''}" x1="${left}" x2="${width - right}" y1="${round(y(tick))}" y2="${round(y(tick))}"/><text x="${left - 8}" y="${round(y(tick) + 4)}" text-anchor="end">${tick}</text>`,
  )}</g>
<text class="axis-title" x="${narrow ? 2 : left - 40}" y="14">${measured ? 'shift ratio' : 'predicted shift ratio'}${narrow ? ' (1 = none)' : ', 1 = no shift, logarithmic'}</text>
<text class="tick" x="${left - 8}" y="${noiseTop + noiseHeight / 2 + 4}" text-anchor="end">noise</text>
${noiseMarks(rows, middle, noiseTop + noiseHeight / 2, radius)}
${strips.map(({ id: symbol, title }, i) => {
  const at = firstStrip + i * (stripHeight + stripGap)
  return html`<text class="strip-title" x="${left}" y="${at - 6}">${title}</text><use href="#${symbol}" x="${left}" y="${at}" width="${width - left - right}" height="${stripHeight}"/><rect class="frame" x="${left}" y="${at}" width="${width - left - right}" height="${stripHeight}"/><text class="tick" x="${left - 8}" y="${at + 9}" text-anchor="end">${narrow ? 'max' : 'highest'}</text><text class="tick" x="${left - 8}" y="${at + stripHeight - 1}" text-anchor="end">${narrow ? 'min' : 'lowest'}</text>`
})}
${series(rows, 'after', middle, y, radius)}
${series(rows, 'before', middle, y, radius)}
${rows.map((row) =>
  row.predicted === undefined || !Number.isFinite(row.predicted)
    ? ''
    : html`<circle class="predicted" cx="${middle(row)}" cy="${round(y(row.predicted))}" r="${round(radius + (narrow ? 0.9 : 1.4))}"><title>${layerName(row.label)}: predicted ${times(row.predicted)}${row.norm?.prediction?.interval ? ', roughly' : ''}</title></circle>`,
)}
${worstLabel(rows, middle, y, width - right, narrow)}
<g class="axis">${indexTicks(rows, step, narrow).map(
    (row) => html`<text x="${middle(row)}" y="${axisTop + 14}" text-anchor="middle">${row.index}</text>`,
  )}<text class="axis-title" x="${round((left + width - right) / 2)}" y="${axisTop + 32}" text-anchor="middle">batch normalization, in graph order</text></g>
<line class="cursor" x1="0" x2="0" y1="${top}" y2="${axisTop}"/>
</svg>`
}

function series(
  rows: readonly LayerRow[],
  side: 'before' | 'after',
  middle: (row: LayerRow) => number,
  y: (value: number) => number,
  radius: number,
): Markup | undefined {
  if (rows.every((row) => row[side] === undefined)) return undefined
  const path = line<LayerRow>()
    .defined((row) => Number.isFinite(row[side]?.shiftRatio ?? Number.NaN))
    .x(middle)
    .y((row) => round(y(row[side]?.shiftRatio ?? 1)))
    .digits(1)
  const marks = rows.map((row) => {
    const layer = row[side]
    if (!layer) return ''
    const at = middle(row)
    if (!Number.isFinite(layer.shiftRatio)) {
      const end = round(y(Number.MAX_VALUE))
      return html`<path class="lost" d="M${at - 3} ${end + 6}l3 -6l3 6z"><title>${layerName(row.label)}: ${ratio(layer.shiftRatio)}</title></path>`
    }
    const [low, high] = layer.shiftRatioInterval
    const bar =
      Number.isFinite(low) && Number.isFinite(high)
        ? html`<path class="interval" d="M${at} ${round(y(low))}V${round(y(high))}"/>`
        : ''
    return html`${bar}<circle cx="${at}" cy="${round(y(layer.shiftRatio))}" r="${radius}"><title>${layerName(row.label)}: ${times(layer.shiftRatio)}</title></circle>`
  })
  return html`<g class="series ${side}"><path class="curve" d="${path(rows) ?? ''}"/>${marks}</g>`
}

/** The name of the worst layer, beside its mark. */
function worstLabel(
  rows: readonly LayerRow[],
  middle: (row: LayerRow) => number,
  y: (value: number) => number,
  end: number,
  narrow: boolean,
): Markup | undefined {
  const worst = worstLayer(rows.flatMap(({ before }) => before ?? []))
  const row = rows.find(({ before }) => before !== undefined && before === worst)
  if (!row || !worst || !Number.isFinite(worst.shiftRatio) || worst.shiftRatio < 1.05) return undefined
  const high = worst.shiftRatioInterval[1]
  const text = `${shorten(layerName(row.label), narrow ? 18 : 32)} ${times(worst.shiftRatio)}`
  const room = text.length * 6.6
  const anchor = middle(row) + room / 2 > end ? 'end' : middle(row) < room / 2 + 40 ? 'start' : 'middle'
  return html`<text class="call" x="${middle(row)}" y="${round(Math.min(y(worst.shiftRatio) - 12, y(Number.isFinite(high) ? high : 1) - 6))}" text-anchor="${anchor}">${text}</text>`
}

function noiseMarks(
  rows: readonly LayerRow[],
  middle: (row: LayerRow) => number,
  y: number,
  radius: number,
): Markup {
  const size = Math.min(4.5, radius + 0.6)
  return html`<g class="noise">${rows.map((row) => {
    if (row.reach !== 'direct' && row.reach !== 'linear') return ''
    const at = middle(row)
    return html`<path class="${row.reach}" d="M${at} ${round(y - size)}l${size} ${size}l${-size} ${size}l${-size} ${-size}z"><title>${layerName(row.label)}: noise arrives ${row.reach === 'direct' ? 'directly' : 'through linear nodes'}</title></path>`
  })}</g>`
}

/** Rows whose index is written: all where there is room, else round ones. */
function indexTicks(rows: readonly LayerRow[], step: number, narrow: boolean): LayerRow[] {
  const room = narrow ? 26 : 30
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((n) => n * step >= room) ?? 1000
  return rows.filter(({ position }) => position % every === 0)
}

const stripRows = 200

/** One strip of channels per side: before, after, or what is predicted where nothing was measured. */
function stripsOf(rows: readonly LayerRow[], names: readonly [string, string], id: string): Strip[] {
  const measured = (side: 'before' | 'after') => ({
    has: rows.some((row) => row[side]),
    channels: (row: LayerRow) => (row[side] ? channelRatios(row[side]) : []),
  })
  const sides = [
    { ...measured('before'), title: names[0] },
    { ...measured('after'), title: names[1] },
  ].filter(({ has }) => has)
  if (sides.length === 1) sides[0]!.title = 'measured'
  if (sides.length === 0 && rows.some(({ norm }) => norm?.prediction))
    sides.push({
      has: true,
      title: 'predicted',
      channels: ({ norm }) => norm?.prediction?.channelRatio ?? [],
    })
  return sides.map(({ title, channels }, i) => {
    const symbol = `${id}-strip-${i}`
    const words = `${title}: real / stored variance, channels sorted`
    return { id: symbol, title: words, symbol: channelStrip(rows, channels, symbol) }
  })
}

function channelRatios({ storedVariance, realVariance }: Layer): (number | null)[] {
  return storedVariance.map((stored, c) => {
    const real = realVariance[c]
    return stored === null || real === null || real === undefined ? null : real / stored
  })
}

/**
 * A column per layer, its channels sorted by ratio from bottom to top and coloured by class. A sorted column is a stack of
 * at most one rectangle per class, which keeps the drawing small however wide the layer is.
 */
function channelStrip(
  rows: readonly LayerRow[],
  channels: (row: LayerRow) => readonly (number | null)[],
  id: string,
): Markup {
  const paths = Array.from({ length: ratioClasses + 1 }, () => '')
  rows.forEach((row, column) => {
    const values = channels(row)
    if (values.length === 0) return
    const counts = Array.from({ length: ratioClasses + 1 }, () => 0)
    for (const value of values) counts[ratioClass(value) ?? ratioClasses]!++
    let below = 0
    counts.forEach((count, c) => {
      if (count === 0) return
      const bottom = Math.round((stripRows * below) / values.length)
      below += count
      const top = Math.round((stripRows * below) / values.length)
      if (top > bottom) paths[c] += `M${column} ${stripRows - top}h1v${top - bottom}h-1z`
    })
  })
  return html`<symbol id="${id}" viewBox="0 0 ${rows.length} ${stripRows}" preserveAspectRatio="none"><g shape-rendering="crispEdges">${paths.map((d, c) => (d ? html`<path class="h${c === ratioClasses ? 'x' : c}" d="${d}"/>` : ''))}</g></symbol>`
}

/** The key of the strips: colours with the ratios at their edges. */
export function ratioLegend(): Markup {
  return html`<div class="ratio-key" role="img" aria-label="Colour key of the variance ratio, from below a quarter over 1 to above 4"><span>← less variance at inference</span><span>more →</span><span class="swatches" aria-hidden="true">${Array.from(
    { length: ratioClasses },
    (_, c) => html`<i class="b${c}"><b>${edgeLabels[c] ?? ''}</b></i>`,
  )}</span></div>`
}

/** What the marks of the upper part mean. */
export function seriesLegend(rows: readonly LayerRow[], names: readonly [string, string]): Markup {
  const has = (test: (row: LayerRow) => boolean) => rows.some(test)
  const two = has(({ after }) => after !== undefined)
  const key = (kind: string, text: string) =>
    html`<li><svg class="key" viewBox="0 0 22 12" aria-hidden="true" focusable="false">${keyMark(kind)}</svg>${text}</li>`
  return html`<ul class="legend">${has(({ before }) => before !== undefined) && key('before', two ? names[0] : 'measured')}${two && key('after', names[1])}${has(({ predicted }) => predicted !== undefined) && key('predicted', 'predicted from the file')}${has(({ before }) => before !== undefined) && key('interval', '95 % interval')}${has(({ reach }) => reach === 'direct') && key('direct', 'noise arrives directly')}${has(({ reach }) => reach === 'linear') && key('linear', 'noise arrives through linear nodes')}</ul>`
}

function keyMark(kind: string): Markup {
  if (kind === 'before' || kind === 'after')
    return html`<g class="series ${kind}"><path class="curve" d="M1 6H21"/><circle cx="11" cy="6" r="4"/></g>`
  if (kind === 'predicted') return html`<circle class="predicted" cx="11" cy="6" r="4.6"/>`
  if (kind === 'interval') return html`<g class="series before"><path class="interval" d="M11 0V12"/></g>`
  return html`<g class="noise"><path class="${kind}" d="M11 1.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z"/></g>`
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
