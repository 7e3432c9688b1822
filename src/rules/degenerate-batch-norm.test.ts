import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { parseModel } from '../ir/text.ts'
import { runRules } from './index.ts'

test('each kind of damage is a finding of its own that counts channels', () => {
  const model = parseModel(`net (float32[N, 5] x) => (float32[N, 5] y)
  <float32[5] s = {1, nan, 1, 1, 1}, float32[5] b = fill(0), float32[5] m = {0, inf, 0, 0, 0},
   float32[5] v = {-1, 1, 1e-9, 2e-9, nan}> {
    [bn] y = BatchNormalization <epsilon = 1e-3> (x, s, b, m, v)
  }`)
  const { findings } = runRules({ model, facts: factsOf(model) }, { select: ['degenerate-batch-norm'] })
  expect(findings.map(({ severity, fingerprint, data }) => [severity, fingerprint, data.count])).toEqual([
    ['error', 'degenerate-batch-norm:not-finite:bn', 2],
    ['error', 'degenerate-batch-norm:negative:bn', 1],
    ['info', 'degenerate-batch-norm:tiny:bn', 2],
  ])
  expect(findings[0]?.message).toBe(
    "'bn' stores numbers that are not finite in 2 of 5 channels (mean, variance, scale).",
  )
  expect(findings[2]?.message).toContain('below epsilon (0.001) in 2 of 5 channels, 1e-9 at the least')
})
