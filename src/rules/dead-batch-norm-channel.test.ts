import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { parseModel } from '../ir/text.ts'
import { runRules } from './index.ts'

test('a layer that is dead as a whole is a warning', () => {
  const model = parseModel(`net (float32[N, 2] x) => (float32[N, 2] y)
  <float32[2] dead = {0, -0.0}, float32[2] b = {0, 3}, float32[2] m = fill(0), float32[2] v = {1, 0}> {
    [bn] y = BatchNormalization(x, dead, b, m, v)
  }`)
  const { findings } = runRules({ model, facts: factsOf(model) }, { select: ['dead-batch-norm-channel'] })
  expect(findings).toMatchObject([
    { severity: 'warning', data: { count: 2, zeros: 1 } },
    { severity: 'info', data: { count: 1 } },
  ])
})
