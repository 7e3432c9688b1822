import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { renderHtml } from '../../src/report/html.ts'
import { renderResultSchema, resultSchemaPath } from '../../src/report/json-schema.ts'
import { renderSarif } from '../../src/report/sarif.ts'
import { renderTerminal } from '../../src/report/terminal.ts'
import { resultSchema } from '../../src/result/result.ts'
import { results, rules } from './results.ts'

/** The reports of the synthetic results, whole. `UPDATE_GOLDEN=1 npx vitest run test/golden` writes them anew. */
function expectGolden(path: string, text: string): void {
  const file = fileURLToPath(new URL(path, import.meta.url))
  if (process.env.UPDATE_GOLDEN) {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
  }
  const known = existsSync(file) ? readFileSync(file, 'utf8') : ''
  if (known === text) return
  const [a, b] = [known.split('\n'), text.split('\n')]
  const line = b.findIndex((content, i) => content !== a[i])
  const hint = `${path} differs from line ${line + 1}; if that is meant: UPDATE_GOLDEN=1 npx vitest run test/golden, then review the diff`
  expect(b.slice(line, line + 3), hint).toEqual(a.slice(line, line + 3))
  expect(text.length, hint).toBe(known.length)
}

describe.each(['check', 'measure', 'fix', 'compare'] as const)('%s', (name) => {
  const result = results[name]

  it('is a valid result', () => {
    expect(resultSchema.parse(JSON.parse(JSON.stringify(result)))).toEqual(JSON.parse(JSON.stringify(result)))
  })

  it('reads well in a terminal', () => {
    expectGolden(`reports/${name}.txt`, renderTerminal(result, { color: false, width: 80, rules }))
  })

  if (name === 'check' || name === 'fix')
    it('makes the same page', () => {
      expectGolden(`reports/${name}.html`, renderHtml(result, { rules }))
    })
})

it('makes the same SARIF log', () => {
  expectGolden('reports/check.sarif', renderSarif(results.check, rules))
})

it('shows hostile names and lost numbers for what they are', () => {
  expectGolden('reports/hostile.txt', renderTerminal(results.hostile, { color: false, width: 80, rules }))
  expectGolden('reports/hostile.html', renderHtml(results.hostile, { rules }))
})

it('publishes the schema of the result as it is', () => {
  expectGolden(`../../${resultSchemaPath}`, renderResultSchema())
})
