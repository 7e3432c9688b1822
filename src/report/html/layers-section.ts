import { layerFigure, ratioLegend, seriesLegend } from './layer-figure.ts'
import { html } from './markup.ts'
import type { Page, Section } from './page.ts'

export function layersSection({ result, rows, names }: Page): Section | undefined {
  const measured = rows.some(({ before, after }) => before || after)
  if (!measured && rows.every(({ predicted }) => predicted === undefined)) return undefined
  const lead = measured
    ? 'How far the variance that each batch normalization stored is from the one its input really has at inference. Below, the same for every channel.'
    : 'How far the variance that each exposed batch normalization stored is predicted to be from what it will see at inference. Measuring tells the truth, also for the layers behind.'
  return {
    id: 'layers',
    title: measured ? 'Shift by layer' : 'Predicted shift by layer',
    body: html`<p class="lead" id="layers-lead">${lead} ${rows.length > 0 && html`The <a href="#table">table</a> has the numbers.`}</p>
${seriesLegend(rows, names)}
${layerFigure(rows, { names: result.command === 'compare' ? names : ['before', 'after'], id: 'layers' })}
${ratioLegend()}`,
  }
}
