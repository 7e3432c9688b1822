import type { Result } from '../result/result.ts'
import { fileName } from './format.ts'
import { detailsSection } from './html/details-section.ts'
import { findingsSection, nextSection } from './html/findings-section.ts'
import { factsOf, notesList } from './html/header.ts'
import { layersSection } from './html/layers-section.ts'
import { embeddedJson, html, trusted } from './html/markup.ts'
import { modesSection } from './html/modes-section.ts'
import { outlineSection } from './html/outline-section.ts'
import { type Page, unbroken } from './html/page.ts'
import { repairSection } from './html/repair-section.ts'
import { script, scriptHash } from './html/script.ts'
import { style } from './html/style.ts'
import { tableSection } from './html/table-section.ts'
import { layerRows } from './layers.ts'
import type { RuleInfo } from './rule-info.ts'
import { sideNames, verdictOf } from './verdict.ts'

export interface HtmlOptions {
  /** Descriptions of the rules, to explain each finding. */
  readonly rules?: readonly RuleInfo[]
}

/** A result as one HTML file that needs nothing else: no network, no fonts, and no script to be read. */
export function renderHtml(result: Result, { rules }: HtmlOptions = {}): string {
  const rows = layerRows(result)
  const page: Page = {
    result,
    rows,
    names: sideNames(result),
    rules: new Map(rules?.map((rule) => [rule.id, rule])),
    positions: new Map(rows.map(({ key, position }) => [key, position])),
  }
  const sections = [
    layersSection(page),
    modesSection(page),
    repairSection(page),
    findingsSection(page),
    nextSection(page),
    outlineSection(page),
    tableSection(page),
    detailsSection(page),
  ].filter((section) => section !== undefined)
  const { tone, sentence } = verdictOf(result)
  const title = `${fileName(result.model.path)} · varshift ${result.command}`
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src '${scriptHash}'; img-src data:; base-uri 'none'; form-action 'none'`
  return `<!doctype html>\n${html`<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="varshift ${result.tool.version}">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${trusted(style)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<div class="top ${tone}">
<p class="kicker"><span><b>varshift</b> ${result.command}</span><span class="file mono"><bdi>${result.model.path}</bdi>${result.command === 'compare' && result.other ? html` and <bdi>${result.other.path}</bdi>` : ''}</span><button class="theme" type="button" aria-label="Switch between light and dark" hidden>Dark</button></p>
<h1>${unbroken(sentence)}</h1>
<dl class="facts">
${factsOf(page)}
</dl>
<nav aria-label="Sections"><ul>${sections.map(({ id, title: text }) => html`<li><a href="#${id}">${text}</a></li>`)}</ul></nav>
</div>
<main id="main">
${notesList(result)}
${sections.map(
  ({
    id,
    title: text,
    body,
    long,
  }) => html`<section id="${id}" aria-labelledby="${id}-title"${trusted(long ? ' class="long"' : '')}>
<h2 id="${id}-title">${text}</h2>
${body}
</section>
`,
)}</main>
<footer>Made by varshift ${result.tool.version}. Shift ratio as in Li et al., arXiv:1801.05134: the larger over the smaller of stored and real variance, channel means.</footer>
<script type="application/json" id="result">${embeddedJson(result)}</script>
<script>${trusted(script)}</script>
</body>
</html>`}\n`
}
