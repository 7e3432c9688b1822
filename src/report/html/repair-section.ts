import { scaleLinear } from 'd3-scale'
import { line } from 'd3-shape'
import { counted, duration, ratio, times } from '../format.ts'
import { distillationWords, preservedWords, trainingWords, triedFigures } from '../words.ts'
import { html, type Markup } from './markup.ts'
import { cell, layerLink, type Page, type Section } from './page.ts'
import { shiftScale } from './scales.ts'

const outcomeTones = {
  kept: 'good',
  'nothing-to-repair': 'good',
  forced: 'warning',
  rejected: 'warning',
  refused: 'bad',
} as const
export function repairSection({ result, positions }: Page): Section | undefined {
  const done = result.repair
  if (!done) return undefined
  const facts = html`<dl class="pairs">
<dt>Repair</dt><dd><code>${done.id}</code> <span class="badge ${outcomeTones[done.outcome]}">${done.outcome.replaceAll('-', ' ')}</span></dd>
<dt>Why</dt><dd>${done.reason}</dd>
<dt>Used</dt><dd>${counted(done.samples, 'sample')}, ${counted(done.passes, 'pass', 'passes')}</dd>
${done.changes.length > 0 && html`<dt>Changed</dt><dd>running mean and variance of ${counted(done.changes.length, 'layer')}; ${preservedWords[done.preserves]}</dd>`}
${done.noises && html`<dt>Noise</dt><dd><ul class="next">${done.noises.map(({ label, from, to }) => html`<li><code><bdi>${label}</bdi></code> ${from ?? 'nothing'} → ${to ?? 'nothing'}</li>`)}</ul></dd>`}
${done.distillation && html`<dt>Distilled</dt><dd>${distillationWords(done.distillation)}</dd>`}
${done.training && html`<dt>Trained</dt><dd>${trainingWords(done.training)}</dd>`}
${done.tried && html`<dt>Tried</dt><dd><ul class="next">${done.tried.map(({ id, why, durationMs, ...figures }) => html`<li><code>${id}</code> ${[...triedFigures(figures), duration(durationMs)].join(', ')}: ${why}</li>`)}</ul></dd>`}
<dt>Written</dt><dd>${done.output === null ? 'nothing' : html`<code><bdi>${done.output}</bdi></code>`}</dd>
</dl>`
  const curve = done.largestRatioByPass.length > 1 ? passesPlot(done.largestRatioByPass) : undefined
  return {
    id: 'repair',
    title: 'Repair',
    body: html`${curve ? html`<div class="split">${facts}${curve}</div>` : facts}
${
  done.changes.length > 0
    ? html`<details><summary>What changed in each layer</summary>
<p class="lead">New over old running variance: least, quantiles and most over the channels; and the largest change of the running mean in stored standard deviations.</p>
<div class="scroll tall" tabindex="0" role="region" aria-label="Changes by layer">
<table class="sortable">
<thead><tr><th class="text" scope="col">layer</th><th scope="col">least</th><th scope="col">10 %</th><th scope="col">median</th><th scope="col">90 %</th><th scope="col">most</th><th scope="col">mean</th></tr></thead>
<tbody>
${done.changes.map(
  ({
    label,
    key,
    varianceRatio,
    meanChange,
  }) => html`<tr><th scope="row">${layerLink(label, key, positions)}</th>${(['min', 'q10', 'median', 'q90', 'max'] as const).map((q) => cell(varianceRatio[q], times))}${cell(meanChange, ratio)}</tr>
`,
)}</tbody></table></div></details>`
    : ''
}`,
  }
}

function passesPlot(values: readonly number[]): Markup {
  const width = 420
  const height = 150
  const y = shiftScale(values, [height - 34, 14])
  const x = scaleLinear()
    .domain([0, values.length - 1])
    .range([48, width - 40])
  const path = line<number>()
    .defined(Number.isFinite)
    .x((_, i) => x(i))
    .y((value) => y(value))
    .digits(1)
  return html`<svg class="figure-small" viewBox="0 0 ${width} ${height}" role="img" aria-label="Largest layer shift ratio before the first pass and after each: ${values.map((value) => ratio(value)).join(', ')}">
<g class="grid">${y.ticks.map((tick) => html`<line x1="36" x2="${width - 10}" y1="${y(tick).toFixed(1)}" y2="${y(tick).toFixed(1)}"/><text x="28" y="${(y(tick) + 4).toFixed(1)}" text-anchor="end">${tick}</text>`)}</g>
<g class="series after"><path class="curve" d="${path(values) ?? ''}"/>${values.map((value, i) => (Number.isFinite(value) ? html`<circle${i === 0 && html` class="first"`} cx="${x(i).toFixed(1)}" cy="${y(value).toFixed(1)}" r="4"/>` : ''))}</g>
${values.map((value, i) => html`<text class="call" x="${x(i).toFixed(1)}" y="${(y(value) - 9).toFixed(1)}" text-anchor="middle">${ratio(value)}</text><text x="${x(i).toFixed(1)}" y="${height - 14}" text-anchor="middle">${i === 0 ? 'before' : `pass ${i}`}</text>`)}
</svg>`
}
