import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { gzipSync, zipSync } from 'fflate'
import { afterAll, expect, test } from 'vitest'
import { Tensor } from '../ir/tensor.ts'
import { fileSource, openSource } from '../platform/byte-source.ts'
import { nodeFiles } from '../platform/node.ts'
import type { Batch, Dataset } from './dataset.ts'
import { encodeNpy } from './npy-write.ts'
import { openNpz } from './npz.ts'
import { encodeNpz } from './npz-write.ts'

const folder = mkdtempSync(join(tmpdir(), 'varshift-npz-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'images.npz')

async function opened(bytes: Uint8Array, options = {}): Promise<Dataset> {
  writeFileSync(path, bytes)
  return openNpz(await fileSource(path, nodeFiles), options)
}

async function read(dataset: Dataset, batchSize: number, start = 0): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of dataset.batches({ batchSize, start })) batches.push(batch)
  return batches
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
const x = Tensor.float32([5, 2], range(10))
const ids = Tensor.of('uint8', [5], range(5))
const y = Tensor.int64([5], [4, 3, 2, 1, 0])

/** A member of a zip file: header, name, data. */
const member = (tensor: Tensor): Uint8Array => Buffer.concat(encodeNpy(tensor))

test.each([0, 6] as const)('arrays are fields and labels are labels (deflate %s)', async (deflate) => {
  const dataset = await opened(
    encodeNpz(
      new Map([
        ['x', x],
        ['labels', y],
        ['ids', ids],
      ]),
      { deflate },
    ),
  )
  expect(dataset).toMatchObject({ name: 'images.npz', size: 5, labelled: true })
  expect(dataset.fields).toEqual([
    { name: 'x', dataType: 'float32', sampleShape: [2] },
    { name: 'ids', dataType: 'uint8', sampleShape: [] },
  ])
  const batches = await read(dataset, 2, 1)
  expect(batches.map(({ size }) => size)).toEqual([2, 2])
  expect(batches[1]!.inputs.get('x')!.toNumbers()).toEqual(Float64Array.of(6, 7, 8, 9))
  expect(batches[1]!.inputs.get('ids')!.toNumbers()).toEqual(Float64Array.of(3, 4))
  expect(batches[1]!.labels).toEqual(Int32Array.of(1, 0))
})

test('labels can be called otherwise, be a column, one-hot, or absent', async () => {
  const labelsOf = async (label: Tensor, options = {}): Promise<unknown> =>
    (
      await read(
        await opened(
          encodeNpz(
            new Map([
              ['x', x],
              ['y', label],
            ]),
          ),
          options,
        ),
        5,
      )
    )[0]!.labels
  const expected = Int32Array.of(4, 3, 2, 1, 0)
  expect(await labelsOf(y)).toEqual(expected)
  expect(await labelsOf(new Tensor('int64', [5, 1], y.bytes))).toEqual(expected)
  expect(await labelsOf(Tensor.float32([5], [4, 3, 2, 1, 0]))).toEqual(expected)
  const oneHot = Tensor.float32(
    [5, 5],
    range(25).map((i) =>
      (i + 1) % 5 !== 0 || i === 24 || i === 0 ? +(i % 5 === 4 - Math.floor(i / 5)) : +(i === 4),
    ),
  )
  expect(await labelsOf(oneHot)).toEqual(expected)
  expect(await labelsOf(y, { labelKeys: ['target'] })).toBeUndefined()
  await expect(labelsOf(Tensor.float32([5], [0, 1, 0.5, 0, 0]))).rejects.toThrow(
    /images.npz:y holds 0.5 for sample 2/,
  )
  await expect(labelsOf(Tensor.float32([5, 2], range(10)))).rejects.toThrow(/not one-hot/)
  await expect(labelsOf(Tensor.float32([5, 2, 2], range(20)))).rejects.toThrow(
    /5 x 2 x 2 float32, expected labels/,
  )
  await expect(labelsOf(Tensor.float32([4], range(4)))).rejects.toThrow(/holds 4 labels, expected 5/)
})

test.each([
  ['no arrays', zipSync({ 'data.pkl': new Uint8Array(9) }), /without arrays \(it holds data.pkl\)/],
  ['nothing', zipSync({}), /without arrays \(it is empty\)/],
  ['labels alone', encodeNpz(new Map([['y', y]])), /only labels/],
  [
    'arrays of unlike length',
    encodeNpz(
      new Map([
        ['a', x],
        ['b', Tensor.float32([3], [1, 2, 3])],
      ]),
    ),
    /images.npz:b holds 3/,
  ],
  [
    'a single number',
    encodeNpz(
      new Map([
        ['a', x],
        ['b', Tensor.float32([], [1])],
      ]),
    ),
    /images.npz:b is a single number/,
  ],
  [
    'a member that is no array',
    zipSync({ 'x.npy': Buffer.from('hello, this is no array') }),
    /images.npz:x is not an .npy/,
  ],
  [
    'a cut array',
    zipSync({ 'x.npy': member(x).subarray(0, 150) }, { level: 0 }),
    /images.npz:x: its header tells/,
  ],
  [
    'a cut deflated array',
    zipSync({ 'x.npy': member(x).subarray(0, 150) }),
    /images.npz:x: its header tells/,
  ],
  ['a cut file', encodeNpz(new Map([['x', x]])).subarray(0, 200), /no directory at its end/],
  ['a file of two bytes', Buffer.from('PK'), /no directory/],
])('%s: refused at once', async (_, bytes, message) => {
  await expect(opened(bytes)).rejects.toThrow(message)
  await expect(opened(bytes)).rejects.toHaveProperty('name', 'UserError')
})

test('members that lie about their sizes are refused', async () => {
  const zip = zipSync({ 'x.npy': member(Tensor.float32([50000], new Float64Array(50000))) })
  const directory = zip.length - 22 - 46 - 5
  const changed = (at: number, value: number): Uint8Array => {
    const copy = Buffer.from(zip)
    copy.writeUInt32LE(value, directory + at)
    return copy
  }
  // Claimed sizes that do not fit the array, or cannot come out of the packed bytes.
  await expect(opened(changed(24, 1000))).rejects.toThrow(/claims 1000 bytes and holds more/)
  await expect(opened(changed(24, 200_129))).rejects.toThrow(
    /tells 50000 float32, 200128 bytes, but it holds 200129/,
  )
  await expect(opened(changed(24, 4e9))).rejects.toThrow(/cannot hold the 4000000000 bytes/)
  await expect(opened(changed(20, 4e9))).rejects.toThrow(/does not lie inside/)
  const noHeader = zip.slice()
  noHeader[0] = 0
  await expect(opened(noHeader)).rejects.toThrow(/does not begin where/)
  const wrongSum = await opened(changed(16, 1))
  await expect(read(wrongSum, 1000)).rejects.toThrow(/checksum/)
  const copy = Buffer.from(zip)
  copy.writeUInt16LE(1, directory + 8)
  await expect(opened(copy)).rejects.toThrow(/encrypted/)
  copy.writeUInt16LE(0, directory + 8)
  copy.writeUInt16LE(14, directory + 10)
  await expect(opened(copy)).rejects.toThrow(/zip method 14/)
})

test('an array that swells beyond its claim is refused after its first megabytes', async () => {
  const tensor = Tensor.of('uint8', [1000], new Float64Array(1000))
  const zip = Buffer.from(zipSync({ 'x.npy': Buffer.concat([member(tensor), new Uint8Array(2 ** 26)]) }))
  zip.writeUInt32LE(member(tensor).length, zip.length - 22 - 46 - 5 + 24)
  const reading = opened(zip).then((dataset) => read(dataset, 100))
  await expect(reading).rejects.toThrow(/claims 1128 bytes and holds more/)
})

test('a file that shrinks between two reads is refused', async () => {
  const dataset = await opened(encodeNpz(new Map([['x', Tensor.float32([1000], range(1000))]])))
  truncateSync(path, 300)
  await expect(read(dataset, 1000)).rejects.toThrow(/cut short/)
})

test('a zip file inside a gzip file is refused', async () => {
  const packed = join(folder, 'a.npz.gz')
  writeFileSync(packed, gzipSync(encodeNpz(new Map([['x', x]]))))
  await expect(openSource(packed, nodeFiles).then(openNpz)).rejects.toThrow(/unpack it/)
})

test('whatever byte is changed, the file is read or refused with a UserError', async () => {
  const zip = encodeNpz(
    new Map([
      ['x', x],
      ['y', y],
    ]),
    { deflate: 6 },
  )
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: zip.length - 1 }),
      fc.integer({ min: 0, max: 255 }),
      async (at, byte) => {
        const changed = zip.slice()
        changed[at] = byte
        try {
          await read(await opened(changed), 2)
        } catch (error) {
          expect(error).toHaveProperty('name', 'UserError')
        }
      },
    ),
    { numRuns: 300 },
  )
})
