import { expect, test } from 'vitest'
import { UserError } from './errors.ts'
import {
  bfloat16ToNumber,
  type DataType,
  dataTypes,
  float16ToNumber,
  hasNumbers,
  numberToBfloat16,
  numberToFloat16,
  Tensor,
  toInt64,
} from './tensor.ts'

const all16 = Array.from({ length: 2 ** 16 }, (_, bits) => bits)

test('every float16 and bfloat16 is read and written back', () => {
  for (const bits of all16) {
    const half = float16ToNumber(bits)
    if (!Number.isNaN(half)) expect(numberToFloat16(half)).toBe(bits)
    const brain = bfloat16ToNumber(bits)
    if (!Number.isNaN(brain)) expect(numberToBfloat16(brain)).toBe(bits)
  }
  expect(Number.isNaN(float16ToNumber(numberToFloat16(Number.NaN)))).toBe(true)
  expect(Number.isNaN(bfloat16ToNumber(numberToBfloat16(Number.NaN)))).toBe(true)
})

test('numbers go to the nearest float16, ties to the even one', () => {
  const finite = all16.filter((bits) => bits < 0x7c00)
  for (const bits of finite.slice(0, -1)) {
    const [low, high] = [float16ToNumber(bits), float16ToNumber(bits + 1)]
    const middle = (low + high) / 2
    const step = high - low
    expect(numberToFloat16(middle)).toBe(bits % 2 === 0 ? bits : bits + 1)
    expect(numberToFloat16(middle - step / 1024)).toBe(bits)
    expect(numberToFloat16(middle + step / 1024)).toBe(bits + 1)
    expect(numberToFloat16(-middle - step / 1024)).toBe((bits + 1) | 0x8000)
  }
  expect(float16ToNumber(numberToFloat16(65519))).toBe(65504)
  expect(float16ToNumber(numberToFloat16(65520))).toBe(Number.POSITIVE_INFINITY)
  expect(float16ToNumber(numberToFloat16(-1e300))).toBe(Number.NEGATIVE_INFINITY)
  expect(numberToFloat16(-0)).toBe(0x8000)
})

test('numbers survive in every element type that has them', () => {
  const values = [0, 1, 2, 100]
  for (const dataType of Object.keys(dataTypes) as DataType[]) {
    if (!hasNumbers(dataType)) {
      expect(() => new Tensor(dataType, [1], new Uint8Array(16)).toNumbers()).toThrow(UserError)
      continue
    }
    expect([...Tensor.of(dataType, [2, 2], values).toNumbers()]).toEqual(values)
  }
  expect(() => Tensor.of('float32', [3], values)).toThrow(RangeError)
})

test('views that do not start at a multiple of the element size are read', () => {
  const buffer = new Uint8Array(17)
  buffer.set(Tensor.of('float64', [2], [1.5, -2]).bytes, 1)
  expect([...new Tensor('float64', [2], buffer.subarray(1)).toNumbers()]).toEqual([1.5, -2])
  const node = Buffer.from(buffer)
  expect([...new Tensor('float64', [2], node.subarray(1)).toNumbers()]).toEqual([1.5, -2])
})

test('whole numbers beyond those of 64 bits become the nearest', () => {
  expect(toInt64(2 ** 63)).toBe(2n ** 63n - 1n)
  expect(toInt64(-(2 ** 64))).toBe(-(2n ** 63n))
  expect(toInt64(-5)).toBe(-5n)
  expect(Tensor.int64([1], [Number(2n ** 63n - 1n)]).toNumbers()[0]).toBe(2 ** 63)
})

test('bytes are fetched once, when first asked for', () => {
  let fetched = 0
  const tensor = new Tensor('uint8', [2], () => {
    fetched++
    return Uint8Array.of(3, 4)
  })
  expect(tensor.size).toBe(2)
  expect(fetched).toBe(0)
  expect([...tensor.toNumbers(), ...tensor.bytes]).toEqual([3, 4, 3, 4])
  expect(fetched).toBe(1)
})
