import { printable } from '../format.ts'

/** Text that is HTML already. Only `html` and `trusted` make it, so whatever else meets a template is escaped. */
export class Markup {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  toString(): string {
    return this.#text
  }
}

type Part = Markup | string | number | null | undefined | false | readonly Part[]

/**
 * A template of HTML or SVG. Values are escaped, for text and quoted attributes alike, and made printable; lists are
 * joined; null, undefined and false vanish. Attributes must be quoted.
 */
export function html(strings: TemplateStringsArray, ...values: readonly Part[]): Markup {
  let text = strings[0]!
  values.forEach((value, i) => {
    text += textOf(value) + strings[i + 1]!
  })
  return new Markup(text)
}

function textOf(part: Part): string {
  if (part === null || part === undefined || part === false) return ''
  if (part instanceof Markup) return part.toString()
  if (Array.isArray(part)) return part.map(textOf).join('')
  return escapeHtml(String(part))
}

/** Text written by this package, taken as it is. Never for anything that comes out of a result. */
export function trusted(text: string): Markup {
  return new Markup(text)
}

export function escapeHtml(text: string): string {
  return printable(text).replace(/[&<>"'`]/g, (character) => `&#${character.charCodeAt(0)};`)
}

/** JSON for a `<script type="application/json">`: no character in it can end the script or begin a comment. */
export function embeddedJson(value: unknown): Markup {
  const text = JSON.stringify(value, (_, entry: unknown) => shortened(entry))
  return new Markup(
    text.replace(
      /[<>&\u2028\u2029]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    ),
  )
}

/** Measured values come from float32 tensors, so seven digits say all; whole numbers stay exact. */
function shortened(entry: unknown): unknown {
  if (typeof entry !== 'number' || !Number.isFinite(entry) || Number.isInteger(entry)) return entry
  return Number(entry.toPrecision(7))
}
