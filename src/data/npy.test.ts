import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { gzipSync } from 'fflate'
import { afterAll, expect, test } from 'vitest'
import { type DataType, Tensor } from '../ir/tensor.ts'
import { openSource } from '../platform/byte-source.ts'
import { nodeFiles } from '../platform/node.ts'
import type { Dataset } from './dataset.ts'
import { openNpy } from './npy.ts'
import { encodeNpy } from './npy-write.ts'

const folder = mkdtempSync(join(tmpdir(), 'varshift-npy-'))
afterAll(() => rmSync(folder, { recursive: true }))

async function opened(bytes: Uint8Array, name = 'a.npy'): Promise<Dataset> {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return openNpy(await openSource(path, nodeFiles))
}

/** All values, read in batches. */
async function values(dataset: Dataset, batchSize = 1000, start = 0): Promise<number[]> {
  const all: number[] = []
  for await (const { inputs } of dataset.batches({ batchSize, start }))
    all.push(...inputs.get('x')!.toNumbers())
  return all
}

function npy(descr: string, fortran: boolean, shape: string, data: Uint8Array | number[]): Uint8Array {
  const text = `{'descr': '${descr}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': ${shape}, }\n`
  return Uint8Array.from([0x93, ...Buffer.from('NUMPY'), 1, 0, text.length, 0, ...Buffer.from(text), ...data])
}

test('what is written is read back, in any batches, packed or not', async () => {
  const types: DataType[] = [
    'float32',
    'float64',
    'float16',
    'uint8',
    'int8',
    'int16',
    'uint16',
    'int32',
    'uint32',
  ]
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<DataType>(...types, 'int64', 'uint64', 'bool'),
      fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 5 }),
      fc.boolean(),
      async (dataType, shape, batchSize, packed) => {
        const count = shape.reduce((n, size) => n * size)
        const expected = Array.from({ length: count }, (_, i) =>
          dataType === 'bool' ? i % 2 : (i * 7) % 100,
        )
        const plain = Buffer.concat(encodeNpy(Tensor.of(dataType, shape, expected)))
        const dataset = await opened(packed ? gzipSync(plain) : plain)
        expect(dataset.size).toBe(shape[0])
        expect(dataset.fields).toEqual([{ name: 'x', dataType, sampleShape: shape.slice(1) }])
        expect(await values(dataset, batchSize)).toEqual(expected)
        expect(await values(dataset, batchSize, 1)).toEqual(expected.slice(count / shape[0]!))
      },
    ),
    { numRuns: 60 },
  )
})

test('big endian numbers are turned', async () => {
  const data = Buffer.alloc(8)
  data.writeFloatBE(1.5, 0)
  data.writeFloatBE(-2, 4)
  expect(await values(await opened(npy('>f4', false, '(2,)', data)))).toEqual([1.5, -2])
  expect(await values(await opened(npy('>u2', false, '(2,)', [1, 2, 3, 4])))).toEqual([0x102, 0x304])
})

test('Fortran order is turned into C order', async () => {
  // numpy.asfortranarray(numpy.arange(12).reshape(2, 3, 2)), as numpy.save writes it.
  const bytes = npy('|u1', true, '(2, 3, 2)', [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11])
  const expected = Array.from({ length: 12 }, (_, i) => i)
  expect(await values(await opened(bytes))).toEqual(expected)
  expect(await values(await opened(bytes), 1)).toEqual(expected)
  expect(await values(await opened(gzipSync(bytes), 'f.npy.gz'), 1, 1)).toEqual(expected.slice(6))
  const wide = npy('>i2', true, '(2, 2)', [0, 1, 0, 3, 0, 2, 0, 4])
  expect(await values(await opened(wide))).toEqual([1, 2, 3, 4])
})

test.each([
  ['cut short', npy('<f4', false, '(3, 2)', new Uint8Array(20)), /3 x 2 float32, \d+ bytes, but it holds/],
  ['too long', npy('<f4', false, '(3, 2)', new Uint8Array(28)), /damaged/],
  ['a huge claim', npy('<f4', false, '(300000000, 2000)', new Uint8Array(20)), /damaged/],
  [
    'a huge claim, packed',
    gzipSync(npy('<f4', false, '(300000000, 2000)', new Uint8Array(20))),
    /holds at most/,
  ],
  ['no samples', npy('<f4', false, '(0, 2)', []), /is empty/],
  ['a single number', npy('<f4', false, '()', [0, 0, 0, 0]), /single number/],
  ['a cut header', npy('<f4', false, '(3, 2)', []).subarray(0, 30), /cut short/],
  ['a few bytes', Uint8Array.of(0x93, 0x4e), /cut short/],
])('%s is refused at once', async (_, bytes, message) => {
  await expect(opened(bytes)).rejects.toThrow(message)
  await expect(opened(bytes)).rejects.toHaveProperty('name', 'UserError')
})

test('a packed file that is cut short, changed, or longer than it says is refused when read', async () => {
  const plain = npy(
    '<u2',
    false,
    '(500, 2)',
    Array.from({ length: 2000 }, (_, i) => (i * i) % 251),
  )
  const packed = gzipSync(plain)
  const changed = packed.slice()
  changed[packed.length - 8]! ^= 1
  const longer = gzipSync(Buffer.concat([plain, new Uint8Array(50)]))
  for (const bytes of [packed.subarray(0, -200), packed.subarray(0, -5), changed, longer]) {
    const dataset = await opened(bytes, 'b.npy.gz')
    await expect(values(dataset, 64)).rejects.toHaveProperty('name', 'UserError')
  }
})

test('packed files of several members are read', async () => {
  const plain = npy('|u1', false, '(6,)', [1, 2, 3, 4, 5, 6])
  const cut = plain.length - 3
  const bytes = Buffer.concat([gzipSync(plain.subarray(0, cut)), gzipSync(plain.subarray(cut))])
  expect(await values(await opened(bytes), 4)).toEqual([1, 2, 3, 4, 5, 6])
})

test('a batch beyond what a typed array holds is refused', async () => {
  const path = join(folder, 'large.npy')
  // A sparse file: 3 samples of 1 GiB that take no room.
  const header = npy('|u1', false, '(3, 1073741824)', [])
  writeFileSync(path, header)
  const { truncateSync } = await import('node:fs')
  truncateSync(path, header.length + 3 * 2 ** 30)
  const dataset = await openNpy(await openSource(path, nodeFiles))
  await expect(values(dataset, 3)).rejects.toThrow(/smaller batch size/)
})
