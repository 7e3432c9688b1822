import type { StudyResult, StudyTable } from '../../result/study.ts'
import { integer, significant } from '../format.ts'
import { embeddedJson, html, type Markup, trusted } from '../html/markup.ts'
import { script, scriptHash } from '../html/script.ts'
import { style } from '../html/style.ts'
import { studyFigure, studyStyle } from './figure.ts'
import { gallery } from './gallery.ts'
import { figureText, statusOf } from './words.ts'

/** The result of a study as one HTML file that needs nothing else. */
export function renderStudyHtml(result: StudyResult): string {
  const { study, cells, notRun, budget } = result
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src '${scriptHash}'; img-src data:; base-uri 'none'; form-action 'none'`
  const minutes = cells.reduce((sum, { durationMs }) => sum + (durationMs ?? 0), 0) / 60_000
  return `<!doctype html>\n${html`<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="varshift ${result.tool.version}">
<link rel="icon" href="data:,">
<title>${study.id} · varshift study</title>
<style>${trusted(style + studyStyle)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<div class="top ${notRun === 0 ? 'good' : 'warning'}">
<p class="kicker"><span><b>varshift</b> study</span><span class="file mono">${study.id}</span><button class="theme" type="button" aria-label="Switch between light and dark" hidden>Dark</button></p>
<h1>${study.claim}</h1>
<dl class="facts">
${fact('Cells', `${integer(cells.length - notRun)} of ${integer(cells.length)}`, statusOf(result))}
${fact('Budget', budget, `${significant(minutes)} minutes of computing`)}
${fact('Data', result.data, result.machine)}
</dl>
</div>
<main id="main">
<section aria-labelledby="says"><h2 id="says">What the figures say</h2>
${result.conclusions.length === 0 ? html`<p>Nothing yet: no cell was run.</p>` : html`<ul>${result.conclusions.map((line) => html`<li>${line}</li>`)}</ul>`}
<p class="note">${study.method} Source: ${study.source}. Made by <code>${result.command}</code></p>
</section>
${result.figures.map(
  (figure, i) => html`<section aria-labelledby="figure-${i}"><h2 id="figure-${i}">${figure.title}</h2>
${studyFigure(figure)}${figure.note ? html`<p class="note">${figure.note}</p>` : ''}
</section>
`,
)}${(result.galleries ?? []).map(
  (shown, i) => html`<section aria-labelledby="gallery-${i}"><h2 id="gallery-${i}">${shown.title}</h2>
${gallery(shown)}${shown.note ? html`<p class="note">${shown.note}</p>` : ''}
</section>
`,
)}${result.tables.map(
  (
    table,
    i,
  ) => html`<section class="long" aria-labelledby="table-${i}"><h2 id="table-${i}">${table.title}</h2>
${tableOf(table)}${table.note ? html`<p class="note">${table.note}</p>` : ''}
</section>
`,
)}</main>
<footer>Made by varshift ${result.tool.version}.</footer>
<script type="application/json" id="result">${embeddedJson(result)}</script>
<script>${trusted(script)}</script>
</body>
</html>`}\n`
}

function fact(label: string, value: string, detail: string): Markup {
  return html`<div><dt>${label}</dt><dd class="value">${value}</dd><dd class="detail">${detail}</dd></div>`
}

function tableOf({ columns, rows }: StudyTable): Markup {
  const isText = columns.map((_, c) => rows.some((row) => typeof row[c] === 'string'))
  const head = columns.map(
    (column, c) => html`<th scope="col"${trusted(isText[c] ? ' class="text"' : '')}>${column}</th>`,
  )
  return html`<div class="scroll" tabindex="0" role="region" aria-label="table"><table class="sortable">
<thead><tr>${head}</tr></thead>
<tbody>${rows.map(
    (row) =>
      html`<tr>${row.map((value, c) =>
        typeof value === 'number'
          ? html`<td data-v="${value}">${figureText(value)}</td>`
          : html`<td${trusted(isText[c] ? ' class="text"' : '')}>${figureText(value)}</td>`,
      )}</tr>
`,
  )}</tbody>
</table></div>`
}
