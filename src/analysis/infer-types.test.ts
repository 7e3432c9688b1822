import { expect, test } from 'vitest'
import { parseModel } from '../ir/text.ts'
import { knownValues, typesOf } from './infer-types.ts'

const shapeOf = (text: string, value: string) => typesOf(parseModel(text)).get(value)?.shape

test('shapes that exporters compute resolve, with names of sizes kept', () => {
  const flattened = `
    net (float32[N, 3, 4, 4] x) => (y)
    <int64 zero = {0}, int64[1] axes = {0}, int64[1] rest = {-1}>
    {
      s = Shape(x)
      n = Gather(s, zero)
      u = Unsqueeze(n, axes)
      t = Concat <axis = 0> (u, rest)
      y = Reshape(x, t)
    }`
  expect(shapeOf(flattened, 'y')).toEqual(['N', 48])
  const sizes = `
    net (float32[N, C, 8, 6] x) => (y)
    <int64[1] two = {2}, int64[1] four = {4}, int64[1] zero = {0}, int64 half = {2}>
    {
      s = Shape(x)
      lead = Slice(s, zero, two, zero)
      rest = Slice(s, two, four, zero)
      small = Div(rest, half)
      t = Concat <axis = 0> (lead, small)
      y = ConstantOfShape(t)
    }`
  expect(shapeOf(sizes, 'y')).toEqual(['N', 'C', 4, 3])
})

test('masks that are drawn in a shape of their own', () => {
  const text = `
    net (float32[N, 3, 8, 8] x) => (y)
    <int64[1] start = {0}, int64[1] end = {2}, int64[2] ones = {1, 1}>
    {
      s = Shape(x)
      lead = Slice(s, start, end, start)
      t = Concat <axis = 0> (lead, ones)
      z = ConstantOfShape(t)
      u = RandomUniformLike(z)
      y = Mul(x, u)
    }`
  expect(shapeOf(text, 'u')).toEqual(['N', 3, 1, 1])
  expect(shapeOf(text, 'y')).toEqual(['N', 3, 8, 8])
})

test('what cannot be known stays unknown', () => {
  const text = `
    net (float32[N, 3, H, W] x, int64[2] t, float32[M, 3] m) => (y)
    {
      p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
      r = Reshape(x, t)
      q = other.Thing(x)
      z = NonZero(m)
    }`
  expect(shapeOf(text, 'p')).toEqual(['N', 3, undefined, undefined])
  expect(shapeOf(text, 'r')).toEqual([undefined, undefined])
  expect(typesOf(parseModel(text)).get('q')).toEqual({})
  expect(shapeOf(text, 'z')).toEqual([2, undefined])
})

test('what the file states completes what is inferred', () => {
  const text = `
    net (float32[N, 3] x) => (float32[N, 7] y) <float32[N, 5] q> { q = other.Thing(x) y = other.Thing(q) }`
  expect(shapeOf(text, 'q')).toEqual(['N', 5])
  expect(shapeOf(text, 'y')).toEqual(['N', 7])
})

test('branches and loops', () => {
  const text = `
    net (float32[N, 3] x, bool c) => (y) <int64 n = {4}, bool go = {1}>
    {
      y = If <then_branch = a () => (t) { t = Relu(x) }, else_branch = b () => (e) { e = Neg(x) }> (c)
      z, all = Loop <body = b (int64 i, bool k, float32[?, ?] s) => (d, t, u) { d = Identity(k) t = Relu(x) u = Relu(x) }> (n, go, x)
    }`
  const types = typesOf(parseModel(text))
  expect(types.get('y')).toMatchObject({ dataType: 'float32', shape: ['N', 3] })
  expect(types.get('all')).toMatchObject({ dataType: 'float32', shape: [undefined, 'N', 3] })
})

test('stored tensors are seen through nodes that only reshape or transpose them', () => {
  const text = `
    net (float32[N, 3] x) => (y) <float32[2, 3] w = {1, 2, 3, 4, 5, 6}>
    { t = Transpose(w) y = MatMul(x, t) }`
  const known = knownValues(parseModel(text))
  expect([...known.get('t')!.tensor!.toNumbers()]).toEqual([1, 4, 2, 5, 3, 6])
  expect(known.get('y')?.shape).toEqual(['N', 2])
})

test('a model is analysed once', () => {
  const model = parseModel('net (float32[2] x) => (y) { y = Relu(x) }')
  expect(knownValues(model)).toBe(knownValues(model))
})
