import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { longResult, results, rules } from '../../test/golden/results.ts'
import type { Result } from '../result/result.ts'
import { script, scriptHash } from './html/script.ts'
import { renderHtml } from './html.ts'

const cases: [string, Result][] = [
  ...Object.entries(results),
  ['long check', longResult('check')],
  ['long fix', longResult('fix')],
  ['hostile from JSON', JSON.parse(JSON.stringify(results.hostile)) as Result],
]

const voidTags = new Set(['meta', 'link', 'br', 'hr', 'img', 'input'])
const known = new Set(
  (
    'html head meta link title style body a p span b button h1 h2 h3 dl div dt dd nav ul ol li main section article header footer script ' +
    'svg g path line rect circle text symbol use table thead tbody tr th td small details summary code bdi i'
  ).split(' '),
)

interface Tag {
  readonly name: string
  readonly attributes: ReadonlyMap<string, string>
}

/** The tags of a page, and what is not well formed about it: unknown names, unquoted attributes, tags left open. */
function readTags(page: string): { readonly tags: readonly Tag[]; readonly faults: readonly string[] } {
  const raw = page
    .replaceAll(/(<(?:script|style)[^>]*>)[\s\S]*?(<\/(?:script|style)>)/g, '$1$2')
    .replace('<!doctype html>', '')
  const open: string[] = []
  const tags: Tag[] = []
  const faults: string[] = []
  let at = 0
  for (const match of raw.matchAll(
    /<(\/?)([a-z][a-z0-9]*)((?: [a-z][a-zA-Z0-9-]*(?:="[^"<>]*")?)*)(\/?)>/g,
  )) {
    const [whole, closing, name = '', attributes = '', selfClosing] = match
    if (/[<>]/.test(raw.slice(at, match.index))) faults.push(`stray text before ${whole}`)
    at = match.index + whole.length
    if (!known.has(name)) faults.push(`unknown ${whole}`)
    if (closing) {
      if (open.pop() !== name) faults.push(`${whole} closes nothing`)
      continue
    }
    if (!selfClosing && !voidTags.has(name)) open.push(name)
    const pairs = [...attributes.matchAll(/ ([a-zA-Z0-9-]+)(?:="([^"]*)")?/g)]
    tags.push({ name, attributes: new Map(pairs.map(([, key = '', value = '']) => [key, value])) })
  }
  if (raw.slice(at).trim() !== '') faults.push('text after the end')
  return { tags, faults: [...faults, ...open.map((name) => `${name} stays open`)] }
}

describe.each(cases)('%s', (_, result) => {
  const page = renderHtml(result, { rules })
  const { tags, faults } = readTags(page)
  const all = (test: (tag: Tag) => boolean) =>
    tags.filter(test).map(({ name, attributes }) => [name, ...attributes])

  it('is well formed', () => {
    expect(faults).toEqual([])
  })

  it('asks for nothing outside itself', () => {
    const asking = ['src', 'srcset', 'action', 'data', 'poster', 'background', 'style']
    expect(all(({ attributes }) => asking.some((key) => attributes.has(key)))).toEqual([])
    expect(all(({ attributes }) => [...attributes.keys()].some((key) => key.startsWith('on')))).toEqual([])
    expect(
      all(({ attributes }) => !/^(?:#[a-z0-9-]+|data:,)$/.test(attributes.get('href') ?? '#none')),
    ).toEqual([])
    const style = page.slice(page.indexOf('<style>'), page.indexOf('</style>'))
    expect(style).not.toMatch(/url\(|@import|@font-face/)
  })

  it('holds one script and one block of data, and lets nothing else run', () => {
    const scripts = tags.filter(({ name }) => name === 'script')
    expect(scripts.map(({ attributes }) => attributes.get('type'))).toEqual(['application/json', undefined])
    expect(page.match(/<script/g)).toHaveLength(2)
    expect(page.match(/<\/script/g)).toHaveLength(2)
    expect(page).toContain(`script-src &#39;${scriptHash}&#39;`)
  })

  it('has every id once and a target for every reference', () => {
    const ids = tags.flatMap(({ attributes }) => attributes.get('id') ?? [])
    const targets = new Set(ids)
    expect(targets.size).toBe(ids.length)
    const references = tags.flatMap(({ attributes }) => [
      ...(attributes.get('href')?.startsWith('#') ? [attributes.get('href')!.slice(1)] : []),
      ...['aria-labelledby', 'aria-describedby'].flatMap((key) => attributes.get(key) ?? []),
    ])
    expect(references.filter((id) => !targets.has(id))).toEqual([])
  })

  it('draws finite numbers only', () => {
    const drawn = 'x y x1 x2 y1 y2 cx cy r d width height viewBox data-step data-v colspan rowspan'.split(' ')
    expect(
      all(({ attributes }) =>
        drawn.some((key) => /NaN|Infinity|undefined|null/.test(attributes.get(key) ?? '')),
      ),
    ).toEqual([])
    expect(page.slice(page.indexOf('<body>'), page.indexOf('<script'))).not.toMatch(/undefined|\[object/)
  })

  it('names its figures and heads its tables', () => {
    const named = ['aria-hidden', 'aria-label', 'aria-labelledby']
    expect(
      all(({ name, attributes }) => name === 'svg' && !named.some((key) => attributes.has(key))),
    ).toEqual([])
    expect(
      all(
        ({ name, attributes }) =>
          name === 'th' && attributes.size > 0 && !attributes.has('scope') && !attributes.has('colspan'),
      ),
    ).toEqual([])
    expect(tags.filter(({ name }) => name === 'h1')).toHaveLength(1)
  })

  it('embeds the result', () => {
    const [, json] = /<script type="application\/json" id="result">([^<]*)<\/script>/.exec(page)!
    const read = JSON.parse(json!) as Result
    expect(read.model).toEqual(result.model)
    expect(read.findings).toEqual(JSON.parse(JSON.stringify(result.findings)))
  })
})

it('knows the hash of its script', () => {
  expect(scriptHash).toBe(`sha256-${createHash('sha256').update(script).digest('base64')}`)
})

it('stays small enough to send by mail at the size of PreResNet-110', () => {
  expect(renderHtml(longResult('fix'), { rules }).length).toBeLessThan(3e6)
})

it('leaves out the sections for which there is nothing', () => {
  const { outline: _, ...check } = results.check
  const page = renderHtml({ ...check, norms: [], noises: [], findings: [] })
  const sections = [...page.matchAll(/<section id="([a-z]+)"/g)].map(([, id]) => id)
  expect(sections).toEqual(['findings', 'details'])
})
