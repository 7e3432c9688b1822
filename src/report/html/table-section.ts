import type { Layer } from '../../result/result.ts'
import {
  integer,
  layerName,
  nonFinite,
  predictedTimes,
  ratio,
  ratioInterval,
  signed,
  significant,
  times,
} from '../format.ts'
import { channelMean, type LayerRow, levelOf, levelOfRatio, reachWords } from '../layers.ts'
import { html, type Markup } from './markup.ts'
import type { Page, Section } from './page.ts'
import { ratioClass } from './scales.ts'

type Side = 'before' | 'after'

/** What a cell shows, and what it sorts by where that differs. */
interface LayerFigure {
  readonly value: number | string | null | undefined
  readonly shown: string | Markup
  readonly kind?: string
}

interface LayerColumn {
  readonly title: string
  readonly group?: Side
  readonly text?: boolean
  /** Its name beside the figure; columns without one are not shown there. */
  readonly tip?: string
  /** Too much for paper. */
  readonly screenOnly?: boolean
  cell(row: LayerRow): LayerFigure
}

/** The numbers behind the figures: a line per layer. */
export function tableSection(page: Page): Section | undefined {
  const { rows, names } = page
  if (rows.length === 0) return undefined
  const columns = columnsOf(page)
  const headings = columns.map((column) => html`<th scope="col"${classes(column)}>${column.title}</th>`)
  return {
    id: 'table',
    title: 'All layers',
    long: true,
    body: html`<p class="lead">Variances are means over the channels. Channels and mean shift: from the 10 % to the 90 % quantile over the channels, of real over stored variance and of the shift in stored standard deviations.</p>
<div class="scroll tall" tabindex="0" role="region" aria-label="All layers">
<table class="sortable" aria-labelledby="table-title">
<thead>${groupRow(columns, names)}<tr><th class="text" scope="col">layer</th>${headings}</tr></thead>
<tbody>
${rows.map((row) => layerLine(row, columns))}</tbody></table></div>`,
  }
}

function layerLine(row: LayerRow, columns: readonly LayerColumn[]): Markup {
  const name = layerName(row.label)
  return html`<tr id="layer-${row.position}" data-name="${row.index} · ${name}"><th scope="row" title="${name}"><bdi>${name}</bdi></th>${columns.map(
    (column) => {
      const { value, shown, kind } = column.cell(row)
      const lost = shown === nonFinite
      const broken = lost || (typeof value === 'number' && !Number.isFinite(value))
      const sort = broken ? Number.MAX_VALUE : (value ?? '')
      return html`<td${classes(column, kind)}${column.tip ? html` data-tip="${column.tip}"` : ''}${sort === shown ? '' : html` data-v="${sort}"`}>${lost ? html`<span class="nf">${shown}</span>` : shown}</td>`
    },
  )}</tr>
`
}

function classes({ text, screenOnly }: LayerColumn, kind?: string): Markup | undefined {
  const names = [text ? 'text' : '', screenOnly ? 'more' : '', kind ?? ''].filter(Boolean)
  return names.length > 0 ? html` class="${names.join(' ')}"` : undefined
}

/** A line above the headings that says which side a run of columns is about. */
function groupRow(columns: readonly LayerColumn[], names: readonly [string, string]): Markup | undefined {
  if (columns.every(({ group }) => group === undefined || group === 'before')) return undefined
  const runs: { group: Side | undefined; screenOnly: boolean; span: number }[] = []
  for (const { group, screenOnly = false } of columns) {
    const last = runs.at(-1)
    if (last && last.group === group && last.screenOnly === screenOnly) last.span++
    else runs.push({ group, screenOnly, span: 1 })
  }
  return html`<tr class="groups"><th></th>${runs.map(({ group, screenOnly, span }) =>
    group === undefined
      ? html`<th colspan="${span}"></th>`
      : html`<th colspan="${span}" scope="colgroup" class="side-${group}${screenOnly ? ' more' : ''}">${names[group === 'before' ? 0 : 1]}</th>`,
  )}</tr>`
}

function columnsOf({ result, rows, names }: Page): LayerColumn[] {
  const two = result.after !== undefined
  const reachOrder = { none: 0, nonlinear: 1, linear: 2, direct: 3 }
  const columns: LayerColumn[] = [
    { title: '#', cell: ({ index }) => ({ value: index, shown: integer(index) }) },
    { title: 'channels', cell: ({ channels }) => ({ value: channels, shown: integer(channels) }) },
    {
      title: 'noise',
      text: true,
      tip: 'noise',
      cell: ({ reach, noises }) => ({
        value: reachOrder[reach],
        shown:
          reach === 'none'
            ? ''
            : html`<span title="${noises.map(({ label, kind }) => `${layerName(label)} (${kind})`).join(', ')}">${reachWords[reach]}</span>`,
      }),
    },
  ]
  if (rows.some(({ predicted }) => predicted !== undefined))
    columns.push({
      title: 'predicted',
      tip: 'predicted ratio',
      cell: ({ predicted, norm }) =>
        predicted === undefined
          ? {
              value: '',
              shown: norm?.unpredicted ? html`<span class="low" title="${norm.unpredicted}">none</span>` : '',
            }
          : {
              value: predicted,
              shown: norm?.prediction?.interval
                ? html`<span title="${predictedTimes(norm.prediction)} what it stored">~${ratio(predicted)}</span>`
                : ratio(predicted),
              ...(rows.some(({ before }) => before) ? {} : { kind: levelOfRatio(predicted) }),
            },
    })
  const sides = [
    ...(rows.some(({ before }) => before) ? (['before'] as const) : []),
    ...(two ? (['after'] as const) : []),
  ]
  const first = sides.map((side) => mainColumns(side, two, names))
  const second = sides.map((side) => furtherColumns(side, two, names))
  return [...columns, ...first.flat(), ...second.flat().map((column) => ({ ...column, screenOnly: two }))]
}

/** A column about one side's measurement of a layer; those with a tip are also shown beside the figure. */
function sideColumn(side: Side, two: boolean, names: readonly [string, string]) {
  const name = names[side === 'before' ? 0 : 1]
  return (title: string, read: (layer: Layer) => LayerFigure, tip?: string): LayerColumn => ({
    title,
    ...(two ? { group: side } : {}),
    ...(tip ? { tip: two ? `${tip}, ${name}` : tip } : {}),
    cell: (row) => {
      const layer = row[side]
      return layer ? read(layer) : { value: '', shown: '' }
    },
  })
}

function mainColumns(side: Side, two: boolean, names: readonly [string, string]): LayerColumn[] {
  const of = sideColumn(side, two, names)
  return [
    of(
      'ratio',
      (layer) => ({ value: layer.shiftRatio, shown: ratio(layer.shiftRatio), kind: levelOf(layer) }),
      'shift ratio',
    ),
    of(
      '95 %',
      ({ shiftRatioInterval }) => ({
        value: shiftRatioInterval[1],
        shown: ratioInterval(shiftRatioInterval),
      }),
      '95 %',
    ),
    of(
      'real / stored',
      ({ realOverStored }) => ({
        value: realOverStored,
        shown: html`<span class="swatch b${ratioClass(realOverStored) ?? 'x'}" aria-hidden="true"></span>${times(realOverStored)}`,
      }),
      'real / stored',
    ),
  ]
}

function furtherColumns(side: Side, two: boolean, names: readonly [string, string]): LayerColumn[] {
  const of = sideColumn(side, two, names)
  return [
    of(
      'channels',
      ({ channelRatio: { q10, q90 } }) => ({ value: q90, shown: range(q10, q90, ratio) }),
      two ? undefined : 'channels',
    ),
    of('stored var', ({ storedVariance }) => figure(channelMean(storedVariance), significant)),
    of('real var', ({ realVariance }) => figure(channelMean(realVariance), significant)),
    of(
      'mean shift',
      ({ meanShift: { median, q10, q90 } }) => ({ value: median, shown: range(q10, q90, signed) }),
      two ? undefined : 'mean shift',
    ),
    ...(two
      ? []
      : [
          of('d cos²', ({ dCos2 }) =>
            dCos2 === null ? { value: '', shown: '' } : figure(dCos2, significant),
          ),
          of('enough samples', ({ enoughSamples, samplesNeeded }) => ({
            value: samplesNeeded,
            shown: enoughSamples
              ? 'yes'
              : samplesNeeded === null
                ? 'no'
                : `no: about ${integer(samplesNeeded)}`,
          })),
        ]),
  ]
}

function figure(value: number | null, write: (value: number | null) => string) {
  return { value, shown: write(value) }
}

function range(low: number, high: number, write: (value: number) => string): string {
  const [a, b] = [write(low), write(high)]
  return a === nonFinite || b === nonFinite ? nonFinite : `${a} … ${b}`
}
