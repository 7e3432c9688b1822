import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { factsOf } from '../../src/analysis/index.ts'
import { parseModel } from '../../src/ir/text.ts'
import type { Finding } from '../../src/result/result.ts'
import { resultSchema } from '../../src/result/result.ts'
import { rules, runRules } from '../../src/rules/index.ts'

function findingsIn(text: string, rule: string): Finding[] {
  const model = parseModel(text)
  return runRules({ model, facts: factsOf(model) }, { select: [rule] }).findings
}

const folder = fileURLToPath(new URL('../../src/rules', import.meta.url))
const helpers = ['define-rule', 'document', 'exposure', 'index', 'nearest', 'places', 'words']

test('the index lists every rule of the folder', () => {
  const units = readdirSync(folder)
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .map((name) => name.replace(/\.ts$/, ''))
    .filter((name) => !helpers.includes(name))
  expect(rules.map(({ id }) => id).sort()).toEqual(units.sort())
})

describe.each(rules.map((rule) => [rule.id, rule] as const))('%s', (id, rule) => {
  test('is documented in whole sentences', () => {
    for (const part of ['summary', 'why', 'ignoreWhen', 'fix', 'source'] as const)
      expect(rule[part], part).toMatch(/^\S(.|\n){15,}\.$/)
    expect(rule.summary.length).toBeLessThan(200)
    expect(rule.examples.quiet.length).toBeGreaterThan(0)
    expect(rule.examples.finding.length).toBeGreaterThan(0)
  })

  test.each(rule.examples.quiet.map((text, i) => [i + 1, text] as const))('quiet example %i', (_, text) => {
    expect(findingsIn(text, id)).toEqual([])
  })

  test.each(rule.examples.finding.map((text, i) => [i + 1, text] as const))(
    'finding example %i',
    (_, text) => {
      const findings = findingsIn(text, id)
      expect(findings.length).toBeGreaterThan(0)
      for (const found of findings) {
        expect(() => resultSchema.shape.findings.element.parse(found)).not.toThrow()
        expect(found.rule).toBe(id)
        expect(found.message).toMatch(/^[^{}]+\.$/)
        expect(found.message).not.toMatch(/undefined|null|NaN|\[object/)
        expect(found.fingerprint).toMatch(new RegExp(`^${id}:`))
        if (found.path) expect(found.path.length).toBeGreaterThanOrEqual(2)
      }
    },
  )
})

test('every message of every rule is shown by an example', () => {
  for (const { id, messages, examples } of rules) {
    const seen = examples.finding.flatMap((text) => findingsIn(text, id).map(({ message }) => message))
    for (const [name, template] of Object.entries(messages)) {
      const pattern = template.split(/\{\w+\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
      const shown = seen.some((message) => new RegExp(`^${pattern.join('.*')}$`).test(message))
      expect(shown, `${id}: ${name}`).toBe(true)
    }
  }
})
