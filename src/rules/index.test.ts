import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { parseModel } from '../ir/text.ts'
import { type RuleOptions, rules, runRules } from './index.ts'

const model = parseModel(`net (float32[N, 2] x) => (float32[N, 2] y)
<float32[2] scale = {2, 0}, float32[2] zero = fill(0), float32[2] one = fill(1), float32[2] bad = {-1, 1}, float ratio = {0.5}, bool on = {1}> {
  [drop] d = Dropout(x, ratio, on)
  [bn] a = BatchNormalization(d, one, zero, zero, one)
  [twin] b = BatchNormalization(a, scale, zero, zero, one)
  [twin] c = BatchNormalization(b, scale, zero, zero, one)
  [last] y = BatchNormalization(c, one, zero, zero, bad)
}`)
const run = (options?: RuleOptions) => runRules({ model, facts: factsOf(model) }, options)

test('findings come by severity, then in graph order, those about the file last', () => {
  const { findings } = run()
  const severities = findings.map(({ severity }) => ['error', 'warning', 'info'].indexOf(severity))
  expect(severities).toEqual(severities.toSorted())
  expect(findings.filter(({ severity }) => severity === 'error').map(({ at }) => at?.key)).toEqual([
    'b',
    'c',
    'y',
  ])
  expect(findings.at(-1)?.at).toBeUndefined()
})

test('fingerprints are unique and hold no figures', () => {
  const fingerprints = run().findings.map(({ fingerprint }) => fingerprint)
  expect(new Set(fingerprints).size).toBe(fingerprints.length)
  expect(fingerprints).toContain('never-updated-batch-norm:twin')
  expect(fingerprints).toContain('never-updated-batch-norm:twin#2')
})

test('select, ignore and severity choose and change rules', () => {
  const ids = (options: RuleOptions) => [...new Set(run(options).findings.map(({ rule }) => rule))]
  expect(ids({ select: ['degenerate-batch-norm'] })).toEqual(['degenerate-batch-norm'])
  expect(ids({ ignore: ['degenerate-batch-norm'] })).not.toContain('degenerate-batch-norm')
  expect(ids({ severity: { 'degenerate-batch-norm': 'off' } })).not.toContain('degenerate-batch-norm')
  const [found] = run({
    select: ['degenerate-batch-norm'],
    severity: { 'degenerate-batch-norm': 'info' },
  }).findings
  expect(found?.severity).toBe('info')
})

test('the baseline hides known findings and counts them', () => {
  const { findings } = run()
  const [known, ...rest] = findings.map(({ fingerprint }) => fingerprint)
  const fresh = run({ baseline: [known!, 'gone:long-ago'] })
  expect(fresh.findings.map(({ fingerprint }) => fingerprint)).toEqual(rest)
  expect(fresh.suppressed).toBe(1)
})

test('a rule that does not exist is named with its neighbours, wherever it stands', () => {
  for (const options of [
    { select: ['dead-batchnorm-channel'] },
    { ignore: ['dead-batchnorm-channel'] },
    { severity: { 'dead-batchnorm-channel': 'off' } },
  ] as const)
    expect(() => run(options)).toThrow(
      "there is no rule 'dead-batchnorm-channel'; did you mean 'dead-batch-norm-channel'",
    )
})

test('ids are words with hyphens', () => {
  for (const { id } of rules) expect(id).toMatch(/^[a-z]+(-[a-z]+)+$/)
})
