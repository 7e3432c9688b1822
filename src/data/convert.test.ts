import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type DataType, Tensor } from '../ir/tensor.ts'
import { type Conversion, converter } from './convert.ts'

const convert = (tensor: Tensor, to: DataType, options: Partial<Conversion> = {}, start = 0): Tensor => {
  const [, ...shape] = tensor.dims
  return converter({
    where: 'a.npz:x',
    input: 'image',
    from: tensor.dataType,
    to,
    shape,
    order: undefined,
    channels: 1,
    channelOf: undefined,
    scale: undefined,
    mean: undefined,
    std: undefined,
    ...options,
  })(tensor, (i) => start + i)
}

test('whole numbers survive every pair of types', () => {
  const types: DataType[] = ['uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32', 'uint64', 'int64']
  const floats: DataType[] = ['float32', 'float16', 'float64', 'bfloat16']
  for (const from of [...types, ...floats])
    for (const to of [...types, ...floats]) {
      const tensor = convert(Tensor.of(from, [2, 2], [0, 1, 100, 127]), to)
      expect(tensor).toMatchObject({ dataType: to, dims: [2, 2] })
      expect(tensor.toNumbers()).toEqual(Float64Array.of(0, 1, 100, 127))
    }
})

test('bytes through the table and floats by the formula agree', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 255 }),
      fc.double({ min: 0.1, max: 3, noNaN: true }),
      (byte, std) => {
        const options = {
          scale: 'byte',
          mean: [0.5, 0.25],
          std: [std],
          channels: 2,
          channelOf: Int32Array.of(0, 1),
        } as const
        const fromByte = convert(Tensor.of('uint8', [1, 2], [byte, byte]), 'float32', options)
        const fromFloat = convert(Tensor.of('float64', [1, 2], [byte, byte]), 'float32', options)
        expect(fromByte.toNumbers()).toEqual(fromFloat.toNumbers())
        expect(fromByte.toNumbers()[1]).toBe(Math.fround((byte / 255 - 0.25) / std))
      },
    ),
  )
  const half = convert(Tensor.of('uint8', [1, 1], [51]), 'float16', { scale: 'byte' })
  expect(half.toNumbers()[0]).toBeCloseTo(0.2, 3)
})

test('elements go where the order says, channels keep their own mean', () => {
  const options = {
    shape: [2, 2],
    order: Int32Array.of(0, 2, 1, 3),
    channels: 2,
    channelOf: Int32Array.of(0, 1, 0, 1),
    mean: [0, 10],
  }
  for (const type of ['float32', 'uint8'] as const) {
    const tensor = convert(Tensor.of(type, [2, 4], [1, 2, 3, 4, 5, 6, 7, 8]), 'float32', options)
    expect(tensor.toNumbers()).toEqual(Float64Array.of(1, -7, 2, -6, 5, -3, 6, -2))
  }
})

test('nothing is copied where nothing changes', () => {
  const tensor = Tensor.float32([1, 2], [1, 2])
  expect(convert(tensor, 'float32').bytes).toBe(tensor.bytes)
})

test.each([
  [[Number.NaN], 'float32', {}, /a.npz:x holds NaN in sample 7, expected finite/],
  [[Number.NEGATIVE_INFINITY], 'float32', {}, /holds -Infinity in sample 7/],
  [[Number.NaN], 'float32', { scale: 2 }, /NaN in sample 7/],
  [[Number.NaN], 'float16', {}, /NaN in sample 7/],
  [[65520], 'float16', {}, /holds 65520 in sample 7, which does not fit input 'image' of type float16/],
  [[3e38], 'float32', { scale: 1e300 }, /does not fit/],
  [[0.5], 'uint8', {}, /holds 0.5 in sample 7, which does not fit/],
  [[256], 'uint8', {}, /256/],
  [[-1], 'uint64', {}, /-1/],
] as const)('%j as %s (%j) is refused', (values, to, options, message) => {
  expect(() => convert(Tensor.float32([3, 1], [0, 0, ...values]), to, options, 5)).toThrow(message)
})

test('bytes that a scale takes out of range are refused where they are', () => {
  const bytes = Tensor.of('uint8', [2, 1], [1, 255])
  expect(() => convert(bytes, 'float16', { scale: 1000 }, 10)).toThrow(/holds 255 in sample 11/)
  expect(convert(Tensor.of('uint8', [1, 1], [2]), 'float16', { scale: 1000 }).toNumbers()[0]).toBe(2000)
})

test('inputs that take no plain numbers are refused', () => {
  expect(() => convert(Tensor.float32([1], [1]), 'string')).toThrow(/takes string/)
})
