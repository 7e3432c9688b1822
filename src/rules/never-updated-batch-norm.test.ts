import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { parseModel } from '../ir/text.ts'
import { runRules } from './index.ts'

const find = (scale: string, shift: string, mean: string, variance: string) => {
  const model = parseModel(`net (float32[N, 2] x) => (float32[N, 2] y)
  <float32[2] s = {${scale}}, float32[2] b = {${shift}}, float32[2] m = {${mean}}, float32[2] v = {${variance}}> {
    [bn] y = BatchNormalization(x, s, b, m, v)
  }`)
  return runRules({ model, facts: factsOf(model) }, { select: ['never-updated-batch-norm'] }).findings
}

test('a trained shift is enough; one channel that moved is enough to stay quiet', () => {
  expect(find('1, 1', '0, 0.2', '0, 0', '1, 1')).toMatchObject([{ severity: 'error', at: { label: 'bn' } }])
  expect(find('1, 1', '0, 0.2', '0, 1e-9', '1, 1')).toEqual([])
  expect(find('1, 2', '0, 0', '0, 0', '1, 1.0000001')).toEqual([])
})
