import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { parseModel } from '../ir/text.ts'
import { runRules } from './index.ts'

test('batch statistics are a warning, active noise is a note; one finding each for the file', () => {
  const model = parseModel(`net (float32[N, 4] x) => (float32[N, 4] y)
  <float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] zero = fill(0)> {
    [bn1] a, m1, v1 = BatchNormalization <training_mode = 1> (x, one, zero, zero, one)
    [bn2] b, m2, v2 = BatchNormalization <training_mode = 1> (a, one, zero, zero, one)
    [bn3] c = BatchNormalization(b, one, zero, zero, one)
    [drop1] d = Dropout(c, ratio, on)
    [drop2] y = Dropout(d, ratio, on)
  }`)
  const { findings } = runRules({ model, facts: factsOf(model) }, { select: ['train-mode-in-file'] })
  expect(
    findings.map(({ severity, fingerprint, data }) => [severity, fingerprint, data.norms ?? data.noises]),
  ).toEqual([
    ['warning', 'train-mode-in-file:batch-statistics:file', ['bn1', 'bn2']],
    ['info', 'train-mode-in-file:always-active:file', ['drop1', 'drop2']],
  ])
  expect(findings[0]?.message).toContain('2 of 3 batch normalizations')
  expect(findings.every(({ at }) => at === undefined)).toBe(true)
})
