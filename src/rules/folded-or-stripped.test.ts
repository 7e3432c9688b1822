import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { parseModel } from '../ir/text.ts'
import { runRules } from './index.ts'

test('noise that is left is named although the norms are gone', () => {
  const model = parseModel(`net (float32[N, 2, 8, 8] x) => (float32[N, 2, 8, 8] y)
  <float32[2, 2, 1, 1] w = uniform(-1, 1, 3), float32[2] b = {0.5, -0.1}, float ratio = {0.5}, bool on = {1}> {
    c = Conv(x, w, b)
    [drop] d = Dropout(c, ratio, on)
    y = Conv(d, w, b)
  }`)
  const { findings } = runRules({ model, facts: factsOf(model) }, { select: ['folded-or-stripped'] })
  expect(findings).toMatchObject([{ severity: 'info', fingerprint: 'folded-or-stripped:norms:file' }])
  expect(findings[0]?.message).toContain("2 convolutions with a bias, and noise (dropout 'drop' (ratio 0.5))")
})
