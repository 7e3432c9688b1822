import { expect, test } from 'vitest'
import { parseModel } from '../ir/text.ts'
import { factsOf } from './index.ts'

test('norms and noises inside branches are found with what encloses them', () => {
  const { nested, norms, noises } = factsOf(
    parseModel(`
    net (float32[N, 2] x, bool c) => (y) <float32[2] one = fill(1), float32 r = {0.5}, bool t = {1}>
    {
      [outer] y = If <
        then_branch = a () => (p) {
          [inner] p = If <then_branch = d () => (q) { [bn] q = BatchNormalization(x, one, one, one, one) },
                          else_branch = e () => (f) { f = Identity(x) }> (c)
        },
        else_branch = b () => (g) { [drop] g = Dropout(x, r, t) }
      > (c)
    }`),
  )
  expect(norms).toEqual([])
  expect(noises).toEqual([])
  expect(nested.norms).toMatchObject([{ label: 'bn', inside: ['outer', 'inner'] }])
  expect(nested.noises).toMatchObject([{ label: 'drop', inside: ['outer'] }])
})
