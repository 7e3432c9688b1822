import { scaleLinear } from 'd3-scale'
import type { Interval, Measurement, Score } from '../../result/result.ts'
import { counted, percent, percentInterval, significant } from '../format.ts'
import { type Mode, modeNames } from '../words.ts'
import { html, type Markup } from './markup.ts'
import { number, type Page, type Section } from './page.ts'

const modeWords = {
  train: 'noise on, batch statistics',
  eval: 'noise off, running statistics',
  sample: 'noise on, running statistics',
} as const

/** Accuracy, loss and agreement of the three modes, as a plot and as a table. */
export function modesSection({ result, names }: Page): Section | undefined {
  const { measurement, after, comparison } = result
  if (!measurement) return undefined
  const sides = after ? [measurement, after] : [measurement]
  const scores = sides.flatMap(({ modes }) => modeNames.flatMap((mode) => modes[mode] ?? []))
  const isScored = scores.some(({ accuracy, loss }) => accuracy !== undefined || loss !== undefined)
  const isCompared = comparison?.agreement || sides.some(({ modes }) => modes.agreements.length > 0)
  if (!isScored && !isCompared) return undefined
  const table = modesTable(sides, names)
  const plot = accuracyPlot(sides, names)
  const agreement = comparison?.agreement
  const interval = agreement?.top1Interval ? ` (95 %: ${percentInterval(agreement.top1Interval)})` : ''
  return {
    id: 'modes',
    title: 'Modes',
    body: html`<p class="lead">The same weights in three modes. Eval is what inference runs; the closer train and sample come to it, the less the mode matters.</p>
${plot ? html`<div class="split modes">${plot}${table}</div>` : table}
${
  agreement
    ? html`<p>${names[0]} and ${names[1]} give the same answer on ${percent(agreement.top1)} of ${counted(agreement.samples, 'sample')}${interval}; divergence ${significant(agreement.divergence)} nats, mean absolute difference of the outputs ${significant(agreement.meanAbsoluteDifference)}.</p>`
    : ''
}`,
  }
}

function modesTable(sides: readonly Measurement[], names: readonly [string, string]): Markup {
  const scores = sides.flatMap(({ modes }) => modeNames.flatMap((mode) => modes[mode] ?? []))
  const accuracy = scores.some((score) => score.accuracy !== undefined)
  const loss = scores.some((score) => score.loss !== undefined)
  const two = sides.length > 1
  const cells = (side: Measurement, score: Score, mode: Mode) => {
    const agreement = side.modes.agreements.find(
      ({ a, b }) => mode !== 'eval' && [a, b].includes(mode) && [a, b].includes('eval'),
    )
    const none = html`<td>${mode === 'eval' ? '–' : ''}</td>`
    return [
      accuracy ? estimate(score.accuracy, score.accuracyInterval, percent, percentInterval) : '',
      loss ? estimate(score.loss, score.lossInterval, significant, lossInterval) : '',
      agreement ? estimate(agreement.top1, agreement.top1Interval, percent, percentInterval) : none,
      agreement ? estimate(agreement.divergence, null, significant, lossInterval) : none,
    ]
  }
  const bodies = modeNames.map((mode) => {
    const present = sides.flatMap((side, i) => {
      const score = side.modes[mode]
      return score ? [{ side, score, i }] : []
    })
    if (present.length === 0) return ''
    const name = html`<th scope="rowgroup" rowspan="${present.length}">${mode}<small>${modeWords[mode]}</small></th>`
    return html`<tbody>${present.map(
      ({ side, score, i }, row) =>
        html`<tr>${row === 0 ? name : ''}${two ? html`<td class="text side-${i === 0 ? 'before' : 'after'}">${names[i]}</td>` : ''}${cells(side, score, mode)}</tr>
`,
    )}</tbody>
`
  })
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Modes">
<table class="mode"><thead><tr><th class="text" scope="col">mode</th>${two ? html`<th class="text" scope="col">model</th>` : ''}${accuracy ? html`<th scope="col">accuracy, 95 %</th>` : ''}${loss ? html`<th scope="col">loss, 95 %</th>` : ''}<th scope="col">same as eval</th><th scope="col">divergence</th></tr></thead>
${bodies}</table></div>`
}

type Write = (value: number | null | undefined) => string

function estimate(
  value: number | null | undefined,
  interval: Interval | null | undefined,
  write: Write,
  both: (interval: Interval) => string,
): Markup {
  if (value === undefined) return html`<td></td>`
  return html`<td>${number(value, write)}${interval ? html`<small>${both(interval)}</small>` : ''}</td>`
}

function lossInterval([low, high]: Interval): string {
  return `${significant(low)}–${significant(high)}`
}

/** Accuracy by mode with its interval; undefined where there are no labels. */
function accuracyPlot(sides: readonly Measurement[], names: readonly [string, string]): Markup | undefined {
  const entries = modeNames.flatMap((mode, lane) =>
    sides.flatMap(({ modes }, side) => {
      const { accuracy, accuracyInterval } = modes[mode] ?? {}
      return accuracy === undefined || !Number.isFinite(accuracy)
        ? []
        : [{ mode, lane, side, accuracy, accuracyInterval }]
    }),
  )
  if (entries.length === 0) return undefined
  const bounds = entries
    .flatMap(({ accuracy, accuracyInterval }) => [accuracy, ...(accuracyInterval ?? [])])
    .filter(Number.isFinite)
  const two = sides.length > 1
  const width = 380
  const left = 56
  const right = 12
  const top = 8
  const laneHeight = two ? 46 : 36
  const bottom = top + laneHeight * modeNames.length
  const x = scaleLinear()
    .domain([Math.max(0, Math.min(...bounds) - 0.01), Math.min(1, Math.max(...bounds) + 0.01)])
    .nice(5)
    .range([left, width - right])
  const ticks = x.ticks(5)
  const digits = (ticks[1] ?? 1) - (ticks[0] ?? 0) < 0.01 ? 1 : 0
  const at = (value: number) => x(value).toFixed(1)
  const words = entries.map(
    ({ mode, side, accuracy }) => `${mode}${two ? ` ${names[side]}` : ''} ${percent(accuracy)}`,
  )
  return html`<svg class="figure-small" viewBox="0 0 ${width} ${bottom + 40}" role="img" aria-label="Accuracy by mode: ${words.join(', ')}">
<g class="grid">${ticks.map((tick) => html`<line x1="${at(tick)}" x2="${at(tick)}" y1="${top}" y2="${bottom}"/><text x="${at(tick)}" y="${bottom + 16}" text-anchor="middle">${(100 * tick).toFixed(digits)}</text>`)}</g>
<text class="axis-title" x="${(left + width - right) / 2}" y="${bottom + 34}" text-anchor="middle">accuracy, %</text>
${modeNames.map((mode, lane) => html`<text x="${left - 12}" y="${top + laneHeight * (lane + 0.5) + 4}" text-anchor="end">${mode}</text>`)}
${entries.map(({ lane, side, accuracy, accuracyInterval }) => {
  const y = top + laneHeight * (lane + 0.5) + (two ? (side === 0 ? -7 : 7) : 0)
  const bar = accuracyInterval
    ? html`<path class="interval" d="M${at(accuracyInterval[0])} ${y}H${at(accuracyInterval[1])}"/>`
    : ''
  return html`<g class="series ${side === 0 ? 'before' : 'after'}">${bar}<circle cx="${at(accuracy)}" cy="${y}" r="4.5"/></g>`
})}
</svg>`
}
