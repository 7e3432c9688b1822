import { bytes, counted, integer, layerName, significant } from '../format.ts'
import { html } from './markup.ts'
import type { Page, Section } from './page.ts'

export function detailsSection({ result }: Page): Section {
  const { model, other, tool, seed, measurement, version, noises } = result
  const modelFacts = (
    info: typeof model,
    title: string,
  ) => html`<dt>${title}</dt><dd><code><bdi>${info.path}</bdi></code></dd>
<dt>Format</dt><dd>${info.format} · opset ${info.opset} · IR ${info.irVersion}${info.producer && ` · ${info.producer}`}</dd>
<dt>Size</dt><dd>${bytes(info.sizeBytes)} · ${counted(info.nodes, 'node')} · ${counted(info.norms, 'batch normalization')} · ${counted(info.noises, 'noise')}</dd>
${info.sha256 && html`<dt>SHA-256</dt><dd><code>${info.sha256}</code></dd>`}`
  return {
    id: 'details',
    title: 'Details',
    body: html`<dl class="pairs">
${modelFacts(model, 'Model')}
${other && modelFacts(other, result.command === 'fix' ? 'Repaired model' : 'Second model')}
${measurement && html`<dt>Data</dt><dd>${measurement.data.name}: ${counted(measurement.data.samples, 'sample')}${measurement.data.available !== undefined && ` of ${integer(measurement.data.available)}`}, batches of ${integer(measurement.data.batchSize)}, ${measurement.data.labelled ? 'labelled' : 'no labels'}</dd>`}
${seed !== undefined && html`<dt>Seed</dt><dd>${seed}</dd>`}
<dt>Tool</dt><dd>${tool.name} ${tool.version}, result schema ${version}; the result itself is embedded in this file (<code>script#result</code>, numbers to seven digits)</dd>
</dl>
${
  noises.length > 0
    ? html`<details><summary>${counted(noises.length, 'noise')}</summary><div class="scroll" tabindex="0" role="region" aria-label="Noises"><table class="sortable"><thead><tr><th class="text" scope="col">noise</th><th class="text" scope="col">kind</th><th scope="col">parameter</th><th scope="col">relative variance</th><th class="text" scope="col">one draw for each</th></tr></thead><tbody>
${noises.map(
  ({
    label,
    kind,
    parameter,
    value,
    relativeVariance,
    sharing,
  }) => html`<tr><th scope="row"><bdi>${layerName(label)}</bdi></th><td class="text">${kind}</td><td>${parameter} ${value === null ? 'not fixed by the file' : significant(value)}</td><td>${relativeVariance === null ? '' : significant(relativeVariance)}</td><td class="text">${sharing}</td></tr>
`,
)}</tbody></table></div></details>`
    : ''
}`,
  }
}
