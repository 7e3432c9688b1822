import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'fflate'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { nodeFiles } from '../platform/node.ts'
import type { Batch, Dataset } from './dataset.ts'
import { idxLabelNames, isIdx, openIdx } from './idx.ts'

const folder = mkdtempSync(join(tmpdir(), 'varshift-idx-'))
afterAll(() => rmSync(folder, { recursive: true }))
beforeEach(() => {
  for (const name of ['images', 'labels'])
    for (const end of ['', '.gz'])
      rmSync(join(folder, `train-${name}-idx${name === 'images' ? 3 : 1}-ubyte${end}`), { force: true })
})

function idx(type: number, shape: number[], data: ArrayLike<number>): Uint8Array {
  const head = Buffer.alloc(4 + shape.length * 4)
  head[2] = type
  head[3] = shape.length
  for (const [i, size] of shape.entries()) head.writeUInt32BE(size, 4 + i * 4)
  return Uint8Array.from([...head, ...Array.from(data)])
}

const put = (name: string, bytes: Uint8Array): string => {
  writeFileSync(join(folder, name), bytes)
  return join(folder, name)
}

async function read(dataset: Dataset, batchSize: number, start = 0): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of dataset.batches({ batchSize, start })) batches.push(batch)
  return batches
}

const pictures = idx(
  8,
  [5, 2, 2],
  Array.from({ length: 20 }, (_, i) => i),
)
const labels = idx(8, [5], [9, 8, 7, 6, 5])

test.each([
  ['', ''],
  ['.gz', '.gz'],
  ['.gz', ''],
])('pictures%s with the labels%s beside them', async (end, labelEnd) => {
  put(`train-labels-idx1-ubyte${labelEnd}`, labelEnd ? gzipSync(labels) : labels)
  const path = put(`train-images-idx3-ubyte${end}`, end ? gzipSync(pictures) : pictures)
  const dataset = await openIdx(path, nodeFiles)
  expect(dataset).toMatchObject({ name: `train-images-idx3-ubyte${end}`, size: 5, labelled: true })
  expect(dataset.fields).toEqual([{ name: 'x', dataType: 'uint8', sampleShape: [2, 2] }])
  const [first, second] = await read(dataset, 3, 1)
  expect(first!.inputs.get('x')!.bytes).toEqual(Uint8Array.from({ length: 12 }, (_, i) => i + 4))
  expect(first!.labels).toEqual(Int32Array.of(8, 7, 6))
  expect(second!.labels).toEqual(Int32Array.of(5))
})

test('without labels beside it a file is unlabelled', async () => {
  const dataset = await openIdx(put('train-images-idx3-ubyte', pictures), nodeFiles)
  expect(dataset.labelled).toBe(false)
  expect((await read(dataset, 5))[0]!.labels).toBeUndefined()
  expect(idxLabelNames('t10k-images.idx3-ubyte.gz')).toEqual([
    't10k-labels.idx1-ubyte',
    't10k-labels.idx1-ubyte.gz',
  ])
  expect(idxLabelNames('data')).toEqual([])
})

test('wider types are big endian', async () => {
  const dataset = await openIdx(put('wide', idx(13, [1, 2], [0x3f, 0xc0, 0, 0, 0xc0, 0, 0, 0])), nodeFiles)
  expect((await read(dataset, 1))[0]!.inputs.get('x')!.toNumbers()).toEqual(Float64Array.of(1.5, -2))
})

test.each([
  ['another magic', Uint8Array.of(1, 0, 8, 1, 0, 0, 0, 1, 0), /not an IDX file: it begins with 1 0 8 1/],
  ['an unknown type', idx(10, [1], [0]), /not an IDX file/],
  ['a cut header', pictures.subarray(0, 9), /cut short/],
  ['cut pictures', pictures.subarray(0, 30), /5 x 2 x 2 uint8, 36 bytes, but it holds 30/],
  ['too many bytes', Uint8Array.of(...pictures, 0), /but it holds 37/],
  ['a size that would be negative', idx(8, [0xffffffff, 2, 2], new Uint8Array(20)), /4294967295 x 2 x 2/],
  ['impossible sizes', idx(8, [0xffffffff, 0xffffffff, 9], [0]), /claims/],
  ['no pictures', idx(8, [0, 2, 2], []), /is empty/],
  ['nothing', new Uint8Array(0), /cut short/],
])('%s: refused at once', async (_, bytes, message) => {
  const path = put('damaged', bytes)
  await expect(openIdx(path, nodeFiles)).rejects.toThrow(message)
  await expect(openIdx(path, nodeFiles)).rejects.toHaveProperty('name', 'UserError')
})

test('packed sizes that cannot be are refused at once, others when they are missed', async () => {
  const huge = gzipSync(idx(8, [0xffffff, 1000, 1000], new Uint8Array(50)))
  await expect(openIdx(put('huge.gz', huge), nodeFiles)).rejects.toThrow(/holds at most/)
  const cut = await openIdx(put('cut.gz', gzipSync(pictures.subarray(0, 30))), nodeFiles)
  await expect(read(cut, 2)).rejects.toThrow(/cut.gz is cut short: expected 32 bytes, got 30/)
  const longer = await openIdx(put('longer.gz', gzipSync(Uint8Array.of(...pictures, 0))), nodeFiles)
  await expect(read(longer, 2)).rejects.toThrow(/longer than it says/)
})

test('labels that do not belong to the pictures are refused', async () => {
  const path = put('train-images-idx3-ubyte', pictures)
  put('train-labels-idx1-ubyte', idx(8, [4], [1, 2, 3, 4]))
  await expect(openIdx(path, nodeFiles)).rejects.toThrow(/train-labels-idx1-ubyte holds 4 labels, expected 5/)
})

test('a file is known by its first bytes', () => {
  expect(isIdx(pictures)).toBe(true)
  expect(isIdx(Uint8Array.of(0, 0, 8, 0))).toBe(false)
  expect(isIdx(Uint8Array.of(0, 0))).toBe(false)
})
