import { expect, test } from 'vitest'
import { Tensor } from '../ir/tensor.ts'
import { checkLabels, toLabels } from './labels.ts'

test('whole numbers and one-hot rows are labels', () => {
  expect(toLabels(Tensor.int64([3], [0, 5, -1]), 'y', 0)).toEqual(Int32Array.of(0, 5, -1))
  expect(toLabels(Tensor.float32([2, 3], [0, 0, 1, 1, 0, 0]), 'y', 0)).toEqual(Int32Array.of(2, 0))
  expect(toLabels(Tensor.of('bool', [1, 2], [0, 1]), 'y', 0)).toEqual(Int32Array.of(1))
})

test.each([
  [Tensor.float32([2], [1, 0.5]), /y holds 0.5 for sample 101/],
  [Tensor.float32([1], [Number.NaN]), /NaN/],
  [Tensor.of('float64', [1], [2 ** 31]), /2147483648/],
  [Tensor.float32([1, 2], [0, 0]), /not one-hot for sample 100/],
  [Tensor.float32([1, 2], [1, 1]), /not one-hot/],
  [Tensor.float32([1, 2], [1, 0.5]), /not one-hot/],
])('%# anything else is refused', (tensor, message) => {
  expect(() => toLabels(tensor, 'y', 100)).toThrow(message)
})

test('labels are compared with the number of classes', () => {
  checkLabels(Int32Array.of(0, 9), 10)
  const at = { name: 'images.npz', numberOf: (i: number) => 64 + i }
  expect(() => checkLabels(Int32Array.of(0, 10), 10, at)).toThrow(
    /images.npz: sample 65 has label 10, expected 0 to 9/,
  )
  expect(() => checkLabels(Int32Array.of(-1), 10, at)).toThrow(/sample 64 has label -1/)
})
