import { expect, test } from 'vitest'
import { parseModel } from '../ir/text.ts'
import { factsOf } from './index.ts'

const stats = '<float32[2] s = {1, 2}, float32[2] b = {3, 4}, float32[2] m = {5, 6}, float32[2] v = {7, 8}>'
const normsOf = (text: string) => factsOf(parseModel(text)).norms

test('vectors, epsilon and label', () => {
  const [norm] = normsOf(
    `net (float32[N, 2] x) => (y) ${stats} { [bn] y = BatchNormalization <epsilon = 0.001> (x, s, b, m, v) }`,
  )
  expect(norm).toMatchObject({ key: 'y', label: 'bn', epsilon: 0.001, batchStatistics: false })
  expect([norm?.scale, norm?.shift, norm?.mean, norm?.variance].map((vector) => [...vector!])).toEqual([
    [1, 2],
    [3, 4],
    [5, 6],
    [7, 8],
  ])
})

test('which form normalises by the batch', () => {
  const batch = (opset: number, outputs: string, attributes = '') =>
    normsOf(
      `<opset_import: ["": ${opset}]> net (float32[N, 2] x) => (y) ${stats} { ${outputs} = BatchNormalization ${attributes} (x, s, b, m, v) }`,
    )[0]?.batchStatistics
  expect(batch(17, 'y')).toBe(false)
  expect(batch(17, 'y, p, q', '<training_mode = 1>')).toBe(true)
  expect(batch(9, 'y, p, q, r, t')).toBe(true)
  expect(batch(9, 'y')).toBe(false)
  expect(batch(6, 'y, p, q, r, t', '<is_test = 1>')).toBe(false)
  expect(batch(6, 'y, p, q, r, t', '<is_test = 0>')).toBe(true)
})

test('statistics behind constants and reshapes, and statistics that the graph computes', () => {
  const [behind, computed] = normsOf(`
    net (float32[N, 2] x) => (y) <float32[1, 2] w = {1, 2}, float32[2] s = fill(1)>
    {
      c = Constant <value = float32[2] {3, 4}> ()
      i = Identity(c)
      r = Squeeze(w)
      z = ConstantOfShape <value = float32[1] {9}> (shape)
      a = BatchNormalization(x, r, s, i, s)
      m = ReduceMean <axes = [0], keepdims = 0> (x)
      y = BatchNormalization(a, s, s, m, s)
    }`)
  expect([...behind!.scale!]).toEqual([1, 2])
  expect([...behind!.mean!]).toEqual([3, 4])
  expect(behind?.epsilon).toBe(1e-5)
  expect(computed?.mean).toBeUndefined()
})

test('the normalisation of training graphs counts', () => {
  const [norm] = normsOf(
    `net (float32[N, 2] x) => (y) ${stats} { y, a, c, d, e = com.microsoft.BatchNormInternal (x, s, b, m, v) }`,
  )
  expect(norm?.batchStatistics).toBe(true)
})
