import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { parseModel } from '../ir/text.ts'
import { runRules } from './index.ts'

test('one finding a noise says how many norms it reaches, names the first, and shows the way to the nearest', () => {
  const layers = Array.from(
    { length: 5 },
    (_, i) => `[act${i}] r${i} = Sigmoid(${i === 0 ? 'd' : `n${i - 1}`})
    [bn${i}] n${i} = BatchNormalization(r${i}, one, zero, zero, one)`,
  )
  const model = parseModel(`net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] n4)
  <float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] zero = fill(0)> {
    [drop] d = Dropout(x, ratio, on)
    ${layers.join('\n')}
  }`)
  const { findings } = runRules(
    { model, facts: factsOf(model) },
    { select: ['dropout-upstream-of-batch-norm'] },
  )
  expect(findings).toHaveLength(1)
  expect(findings[0]).toMatchObject({
    at: { label: 'drop' },
    path: [{ label: 'drop' }, { label: 'act0' }, { label: 'bn0' }],
    fingerprint: 'dropout-upstream-of-batch-norm:drop',
    data: { norms: ['bn0', 'bn1', 'bn2', 'bn3', 'bn4'], through: 'act0' },
  })
  expect(findings[0]?.message).toMatch(
    /reaches 5 batch normalizations behind non-linear nodes.*: 'bn0', 'bn1', 'bn2' and 2 more/,
  )
})
