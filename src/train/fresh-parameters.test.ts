import { expect, test } from 'vitest'
import { applyEdits, storedTensor } from '../ir/edit.ts'
import { parseModel } from '../ir/text.ts'
import { freshParameters } from './fresh-parameters.ts'

test('every parameter begins at the scale of its layer, by the seed', () => {
  const model = parseModel(`
  <ir_version: 8, opset_import: ["": 17]>
  net (float32[N, 8, 6, 6] x) => (float32[N, 40] y)
  <float32[64] scale = fill(3), float32[64] shift = fill(2), float32[64] mean = fill(5), float32[64] variance = fill(7),
   float32[64, 8, 3, 3] w = fill(9), float32[64] b = fill(9), float32[50, 64] v = fill(9), float32[40, 50] u = fill(9)>
  {
    a = Conv <pads = [1, 1, 1, 1]> (x, w, b)
    n = BatchNormalization(a, scale, shift, mean, variance)
    p = GlobalAveragePool(n)
    q = Flatten(p)
    h = Gemm <transB = 1> (q, v)
    t = Transpose <perm = [1, 0]> (u)
    y = MatMul(h, t)
  }`)
  const fresh = applyEdits(model, freshParameters(model, 1))
  const values = (name: string, of = fresh) => [...storedTensor(of.graph, name)!.toNumbers()]
  const varianceOf = (name: string) => values(name).reduce((sum, v) => sum + v * v, 0) / values(name).length
  for (const [name, inputs] of [
    ['w', 8 * 9],
    ['v', 64],
    ['u', 50],
  ] as const) {
    // Within five standard errors of a sample variance.
    const tolerance = 5 * Math.sqrt(2 / values(name).length)
    expect(Math.abs((varianceOf(name) * inputs) / 2 - 1)).toBeLessThan(tolerance)
  }
  for (const [name, value] of [
    ['b', 0],
    ['scale', 1],
    ['shift', 0],
    ['mean', 0],
    ['variance', 1],
  ] as const)
    expect(new Set(values(name))).toEqual(new Set([value]))
  expect(values('w', applyEdits(model, freshParameters(model, 1)))).toEqual(values('w'))
  expect(values('w', applyEdits(model, freshParameters(model, 2)))).not.toEqual(values('w'))
})
