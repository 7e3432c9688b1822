import { expect, test } from 'vitest'
import { parseModel } from '../ir/text.ts'
import { factsOf } from './index.ts'
import { outlineOf } from './outline.ts'

const model = parseModel(`
  net (float32[N, 4, 8, 8] x) => (float32[N, 2] y)
  <float32 r = {0.5}, bool t = {1}, float32[4] one = fill(1), float32[4] zero = fill(0),
   float32[4, 4, 3, 3] w = uniform(-1, 1, 1), float32[2, 256] d = uniform(-1, 1, 2), float32 keep = {0.5}, int64[2] flat = {0, -1}>
  {
    [conv] c = Conv <pads = [1, 1, 1, 1]> (x, w)
    u = RandomUniformLike(c)
    b = Less(u, keep)
    m = Cast <to = 1> (b)
    k = Div(m, keep)
    [noise] n = Mul(c, k)
    [bn] a = BatchNormalization(n, one, zero, zero, one)
    [relu] e = Relu(a)
    [add] s = Add(e, x)
    p = Transpose <perm = [0, 1, 3, 2]> (s)
    f = Reshape(p, flat)
    e2 = Add(one, zero)
    [head] y = Gemm <transB = 1> (f, d)
  }`)

test('nodes that move elements, constants and the insides of noises are left out', () => {
  const { nodes, edges } = outlineOf(model, factsOf(model))
  expect(nodes.map(({ label, kind, rank }) => [label, kind, rank])).toEqual([
    ['x', 'input', 0],
    ['conv', 'weight', 1],
    ['noise', 'noise', 2],
    ['bn', 'norm', 3],
    ['relu', 'activation', 4],
    ['add', 'merge', 5],
    ['head', 'weight', 6],
    ['y', 'output', 7],
  ])
  expect(edges).toEqual(
    [
      [0, 1],
      [1, 2],
      [2, 3],
      [3, 4],
      [0, 5],
      [4, 5],
      [5, 6],
      [6, 7],
    ].sort(
      (a, b) =>
        a[1]! - b[1]! ||
        edges.findIndex((e) => `${e}` === `${a}`) - edges.findIndex((e) => `${e}` === `${b}`),
    ),
  )
})

test('a large graph is thinned out, noises and norms last', () => {
  const { nodes } = outlineOf(model, factsOf(model), { limit: 6 })
  expect(nodes.map(({ kind }) => kind)).toEqual(['input', 'noise', 'norm', 'merge', 'output'])
})
