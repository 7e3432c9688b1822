import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { parseModel } from '../ir/text.ts'
import { runRules } from './index.ts'

test('says through which nodes a nested norm is reached', () => {
  const model = parseModel(`net (float32[N, 2] x, bool a, bool b) => (float32[N, 2] y)
  <float32[2] one = fill(1), float32[2] mean = fill(0.3)> {
    [outer] y = If (a) <
      then_branch = t () => (p) {
        [inner] p = If (b) <
          then_branch = u () => (q) { [bn] q = BatchNormalization(x, one, mean, mean, one) },
          else_branch = v () => (r) { r = Identity(x) }>
      },
      else_branch = e () => (s) { s = Identity(x) }>
  }`)
  const { findings } = runRules({ model, facts: factsOf(model) }, { select: ['hidden-in-subgraph'] })
  expect(findings).toMatchObject([{ at: { label: 'bn' }, fingerprint: 'hidden-in-subgraph:outer/inner:bn' }])
  expect(findings[0]?.message).toContain("lies inside 'outer', in 'inner'")
})
