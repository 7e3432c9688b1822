import type { Finding, Place } from '../../result/result.ts'
import { nextSteps } from '../advice.ts'
import { findingGroups } from '../findings.ts'
import { counted, integer, layerName } from '../format.ts'
import { html, type Markup } from './markup.ts'
import { layerLink, type Page, type Section } from './page.ts'

/** Findings of one rule shown before the others are folded away. */
const findingsShown = 6

/** The findings by rule: what the rule means, once, and then every place with its path. */
export function findingsSection(page: Page): Section | undefined {
  const { result, rules } = page
  if (result.findings.length === 0 && result.command !== 'check') return undefined
  const kinds = new Map(result.outline?.nodes.map(({ key, kind }) => [key, kind]))
  const groups = findingGroups(result).map(({ rule, severity, findings }) => {
    const info = rules.get(rule)
    const items = findings.map((finding) => findingItem(finding, page, kinds))
    const shown = items.length <= findingsShown + 1 ? items.length : findingsShown
    const rest = items.slice(shown)
    return html`<article class="rule"><header><span class="badge ${severity}">${severity === 'info' ? 'note' : severity}</span><h3><code>${rule}</code></h3>${findings.length > 1 ? html`<span class="count">${counted(findings.length, 'place')}</span>` : ''}</header>
${info ? html`<p>${info.summary} <span class="help">${info.help.text}</span></p>` : ''}
<ul class="found">${items.slice(0, shown)}</ul>${rest.length > 0 ? html`<details><summary>${integer(rest.length)} more</summary><ul class="found">${rest}</ul></details>` : ''}</article>
`
  })
  return {
    id: 'findings',
    title: 'Findings',
    long: true,
    body: html`${groups.length === 0 ? html`<p class="lead">No rule found anything.</p>` : ''}${
      result.suppressed > 0
        ? html`<p class="lead">${counted(result.suppressed, 'finding')} hidden by the baseline.</p>`
        : ''
    }${groups}`,
  }
}

type Kinds = ReadonlyMap<string, string>

function findingItem({ message, at, path }: Finding, { positions }: Page, kinds: Kinds): Markup {
  const offset = at?.byteOffset === undefined ? '' : `byte ${integer(at.byteOffset)}`
  const where = [at?.opType, offset].filter(Boolean).join(', ')
  return html`<li><b>${at ? layerLink(at.label, at.key, positions) : 'The file'}</b>${where ? html`<span class="where">${where}</span>` : ''}
<p class="message">${message}</p>${path && path.length > 0 ? pathList(path, kinds) : ''}</li>
`
}

function pathList(path: readonly Place[], kinds: Kinds): Markup {
  const steps = path.map(({ key, label, opType }, i) => {
    const kind = kinds.get(key) ?? (i === 0 ? 'noise' : i === path.length - 1 ? 'norm' : 'other')
    return html`<li><span class="step ${kind}"><bdi>${layerName(label)}</bdi>${opType ? html`<small>${opType}</small>` : ''}</span></li>`
  })
  return html`<ol class="path" aria-label="Way from the noise to the normalization">${steps}</ol>`
}

/** Commands worth typing next. */
export function nextSection({ result }: Page): Section | undefined {
  const steps = nextSteps(result)
  if (steps.length === 0) return undefined
  return {
    id: 'next',
    title: 'What to do next',
    body: html`<ul class="next">${steps.map(({ command, why }) => html`<li><code>${command}</code> <span>${why}</span></li>`)}</ul>`,
  }
}
