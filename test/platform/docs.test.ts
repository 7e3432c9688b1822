import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createJiti } from 'jiti'
import { expect, test } from 'vitest'

const index = fileURLToPath(new URL('../../src/index.ts', import.meta.url))
const text = readFileSync(new URL('../../docs/building-networks.md', import.meta.url), 'utf8')
const blocks = [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code!)
const jiti = createJiti(import.meta.url, { alias: { varshift: index } })

/** Runs a block, and checks what its comments promise of a value: ` // 272282`, ` // [0, 0, 1]`, ` // ['a', ..., 'b']`. */
test.each(blocks)('building-networks.md: block %#', async (code) => {
  const promises: [got: unknown, promised: string][] = []
  const checked = code.replace(
    /^( *)(\w[\w.()[\]' ]*) \/\/ (\[.*|\d+)$/gm,
    (_, indent: string, value: string, promised: string) =>
      `${indent}globalThis.promised(${value}, ${JSON.stringify(promised)})`,
  )
  Object.assign(globalThis, { promised: (got: unknown, promised: string) => promises.push([got, promised]) })
  await jiti.evalModule(checked, { async: true, filename: `${index}.docs.ts`, ext: '.ts' })
  for (const [got, promised] of promises) expect(inWords(got)).toMatch(pattern(promised))
  expect(promises.length).toBe(code.match(/ \/\/ (\[|\d+$)/gm)?.length ?? 0)
})

const inWords = (value: unknown) =>
  JSON.stringify(ArrayBuffer.isView(value) ? [...(value as Float64Array)] : value)

/** `...` stands for anything. */
const pattern = (promised: string) =>
  new RegExp(
    `^${promised
      .replaceAll("'", '"')
      .split(' ..., ')
      .map((part) => part.replaceAll(', ', ',').replace(/[.[\]]/g, '\\$&'))
      .join('.*')}$`,
  )

test('every link within the project leads somewhere', () => {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const pages = [
    ...readdirSync(root, { encoding: 'utf8' }),
    ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).map((path) =>
      join('docs', path),
    ),
  ].filter((path) => path.endsWith('.md'))
  const links = pages.flatMap((page) =>
    [...readFileSync(join(root, page), 'utf8').matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, link]) => link!)
      .filter((link) => !/^(\w+:|#)/.test(link))
      .map((link) => ({ page, link })),
  )
  expect(links.length).toBeGreaterThan(50)
  expect(
    links.filter(({ page, link }) => !existsSync(join(root, dirname(page), link.split('#')[0]!))),
  ).toEqual([])
})
