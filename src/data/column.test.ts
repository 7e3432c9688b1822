import { expect, test } from 'vitest'
import type { ByteSource } from '../platform/byte-source.ts'
import { type ArrayForm, arrayColumn, memoryColumn } from './column.ts'

function sourceOf(bytes: number[]): ByteSource {
  const data = Uint8Array.from(bytes)
  return {
    name: 'a.bin',
    sizeBytes: data.length,
    maxBytes: data.length,
    async random() {
      return { sizeBytes: data.length, read: async (at, n) => data.slice(at, at + n), close: async () => {} }
    },
    async *chunks() {
      yield data
    },
  }
}

const form: ArrayForm = {
  dataType: 'uint8',
  littleEndian: true,
  fortranOrder: false,
  shape: [3, 2],
  offset: 1,
}
const source = sourceOf([99, 0, 1, 2, 3, 4, 5])

async function rowsOf(options: Partial<ArrayForm>, from: number, count: number): Promise<number[]> {
  const rows = await arrayColumn(source, 'x', 'a.bin:x', { ...form, ...options }).rows(from)
  const tensor = await rows.take(count)
  await rows.close()
  return [...tensor.toNumbers()]
}

test('rows in either order and byte order, from any sample on', async () => {
  expect(await rowsOf({}, 1, 2)).toEqual([2, 3, 4, 5])
  expect(await rowsOf({ fortranOrder: true }, 0, 3)).toEqual([0, 3, 1, 4, 2, 5])
  expect(await rowsOf({ fortranOrder: true }, 2, 1)).toEqual([2, 5])
  const wide = { dataType: 'uint16', shape: [3] } as const
  expect(await rowsOf({ ...wide, littleEndian: false }, 1, 2)).toEqual([0x203, 0x405])
  expect(await rowsOf(wide, 0, 1)).toEqual([0x100])
})

test('sizes that the source does not have are refused before they are used', () => {
  for (const shape of [[3], [4, 2], [2 ** 40, 2 ** 10]])
    expect(() => arrayColumn(source, 'x', 'a.bin:x', { ...form, shape })).toThrow(/a.bin:x: its header tells/)
  expect(() => arrayColumn(source, 'x', 'a.bin:x', { ...form, shape: [] })).toThrow(/single number/)
  expect(() => arrayColumn(source, 'x', 'a.bin:x', { ...form, shape: [0, 2] })).toThrow(/is empty/)
})

test('numbers in memory', async () => {
  const rows = await memoryColumn('y', 'y.txt', Int32Array.of(5, 6, 7)).rows(1)
  expect(await rows.take(1)).toMatchObject({ dataType: 'int32', dims: [1] })
  expect([...(await rows.take(1)).toNumbers()]).toEqual([7])
})
