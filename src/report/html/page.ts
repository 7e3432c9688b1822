import type { Result } from '../../result/result.ts'
import { layerName, nonFinite } from '../format.ts'
import type { LayerRow } from '../layers.ts'
import type { RuleInfo } from '../rule-info.ts'
import { html, type Markup } from './markup.ts'

/** What every section is made from. */
export interface Page {
  readonly result: Result
  readonly rows: readonly LayerRow[]
  readonly names: readonly [string, string]
  readonly rules: ReadonlyMap<string, RuleInfo>
  /** Position of each layer in the figures and tables, by key. */
  readonly positions: ReadonlyMap<string, number>
}

/** A titled part of the page. */
export interface Section {
  readonly id: string
  readonly title: string
  readonly body: Markup
  readonly long?: boolean
}

/** Keeps figures together with their unit and both sides of an arrow on one line. */
export function unbroken(text: string): string {
  return text.replaceAll(' → ', '\u00a0→\u00a0').replaceAll(' %', '\u00a0%')
}

/** A layer's name, as a link to its line in the table where it has one. */
export function layerLink(label: string, key: string, positions: ReadonlyMap<string, number>): Markup {
  const position = positions.get(key)
  const name = html`<bdi>${layerName(label)}</bdi>`
  return position === undefined ? name : html`<a href="#layer-${position}">${name}</a>`
}

export function cell(value: number | null, write: (value: number | null) => string): Markup {
  return html`<td data-v="${value !== null && Number.isFinite(value) ? value : Number.MAX_VALUE}">${number(value, write)}</td>`
}

export function number(value: number | null, write: (value: number | null) => string): Markup | string {
  const text = write(value)
  return text === nonFinite ? html`<span class="nf">${text}</span>` : text
}
