import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { parseModel } from '../ir/text.ts'
import { runRules } from './index.ts'

const find = (nodes: string) => {
  const model = parseModel(`net (float32[N, 3] x, float32[N, 3, 8, 8] image) => (y)
  <float32[3, 2] w = uniform(-1, 1, 3), float32[2, 3, 1, 1] k = uniform(-1, 1, 3), float32[2] b = {0.5, -0.1}, float32[2] none = fill(0),
   float32[2, 1, 1] b3 = {0.5, -0.1}, float32[2] one = fill(1), float32[2] mean = fill(0.3), int64[1] last = {2}> {
    ${nodes}
  }`)
  return runRules({ model, facts: factsOf(model) }, { select: ['bias-before-batch-norm'] }).findings
}
const norm = (of: string) => `[bn] y = BatchNormalization(${of}, one, mean, mean, one)`

test('Gemm, and Conv with its bias in a node of its own, as Keras exports have it', () => {
  expect(find(`[dense] h = Gemm(x, w, b) ${norm('h')}`)).toMatchObject([{ at: { label: 'dense' } }])
  expect(find(`c = Conv(image, k) [add] h = Add(b3, c) ${norm('h')}`)).toMatchObject([
    { at: { label: 'add' } },
  ])
})

test('nodes that only move elements do not hide the bias', () => {
  expect(find(`[dense] h = Gemm(x, w, b) u = Unsqueeze(h, last) ${norm('u')}`)).toHaveLength(1)
})

test('a bias of zeros and one that something else reads are none of its business', () => {
  expect(find(`h = Gemm(x, w, none) ${norm('h')}`)).toEqual([])
  expect(find(`h = Gemm(x, w, b) r = Relu(h) ${norm('h')}`)).toEqual([])
})

test('a stored vector added to anything but a weight layer is none either', () => {
  expect(find(`c = Conv(image, k) r = Relu(c) h = Add(r, b3) ${norm('h')}`)).toEqual([])
})
