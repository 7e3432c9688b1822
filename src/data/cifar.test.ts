import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'fflate'
import { afterAll, expect, test } from 'vitest'
import { nodeFiles } from '../platform/node.ts'
import { cifarFilesIn, cifarKindOf, openCifar, openCifarFolder } from './cifar.ts'
import type { Dataset } from './dataset.ts'

const folder = mkdtempSync(join(tmpdir(), 'varshift-cifar-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Rows whose pixels are all `first + row` and whose labels follow `labelOf`. */
function rows(count: number, first: number, labelOf: (row: number) => number[]): Uint8Array {
  return Buffer.concat(
    Array.from({ length: count }, (_, row) =>
      Buffer.from([...labelOf(row), ...Array(3072).fill(first + row)]),
    ),
  )
}

const put = (name: string, bytes: Uint8Array): string => {
  writeFileSync(join(folder, name), bytes)
  return join(folder, name)
}

async function read(dataset: Dataset, batchSize: number, start = 0): Promise<[number, number][][]> {
  const batches: [number, number][][] = []
  for await (const { inputs, labels, size } of dataset.batches({ batchSize, start })) {
    expect(inputs.get('x')!.dims).toEqual([size, 3, 32, 32])
    const pixels = inputs.get('x')!.bytes
    batches.push(Array.from(labels!, (label, i) => [label, pixels[i * 3072 + 3071]!]))
  }
  return batches
}

put(
  'data_batch_1.bin',
  rows(3, 0, (row) => [row]),
)
put('data_batch_2.bin.gz', gzipSync(rows(2, 3, (row) => [row + 3])))
put(
  'data_batch_10.bin',
  rows(2, 5, (row) => [row + 5]),
)
put(
  'test_batch.bin',
  rows(1, 90, () => [9]),
)

test('a folder is read file after file, a start in any of them', async () => {
  const dataset = await openCifarFolder(folder, 'cifar10', 'train', nodeFiles)
  expect(dataset).toMatchObject({ size: 7, labelled: true })
  expect(dataset.name).toMatch(/^varshift-cifar-.*#train$/)
  expect(dataset.classNames?.[9]).toBe('truck')
  expect(dataset.fields[0]).toMatchObject({ name: 'x', sampleShape: [3, 32, 32], layout: 'NCHW' })
  expect(await read(dataset, 4)).toEqual([
    [
      [0, 0],
      [1, 1],
      [2, 2],
      [3, 3],
    ],
    [
      [4, 4],
      [5, 5],
      [6, 6],
    ],
  ])
  for (let start = 0; start < 7; start++) expect((await read(dataset, 1, start))[0]).toEqual([[start, start]])
  const test = await openCifarFolder(folder, 'cifar10', 'test', nodeFiles)
  expect(await read(test, 4)).toEqual([[[9, 90]]])
})

test('CIFAR-100 gives its fine labels', async () => {
  const path = put(
    'some.bin',
    rows(2, 0, (row) => [row, row + 40]),
  )
  const dataset = await openCifar([path], 'cifar100', nodeFiles)
  expect(dataset.name).toBe('some.bin')
  expect(await read(dataset, 9)).toEqual([
    [
      [40, 0],
      [41, 1],
    ],
  ])
})

test('files are put in the order of their numbers; a packed file gives way to the plain one', () => {
  const names = [
    'data_batch_10.bin',
    'data_batch_2.bin.gz',
    'data_batch_2.bin',
    'data_batch_1.bin.gz',
    'readme',
  ]
  expect(cifarFilesIn(names, 'cifar10', 'train')).toEqual([
    'data_batch_1.bin.gz',
    'data_batch_2.bin',
    'data_batch_10.bin',
  ])
  expect(cifarFilesIn(['train.bin', 'test.bin.gz'], 'cifar100', 'test')).toEqual(['test.bin.gz'])
})

test('the kind is told by size and first label', () => {
  expect(cifarKindOf(3073 * 5, Uint8Array.of(9, 200))).toBe('cifar10')
  expect(cifarKindOf(3074 * 5, Uint8Array.of(19, 99))).toBe('cifar100')
  expect(cifarKindOf(3073 * 5, Uint8Array.of(10, 0))).toBeUndefined()
  expect(cifarKindOf(0, Uint8Array.of(0, 0))).toBeUndefined()
})

test('what is damaged or missing is refused', async () => {
  const cut = put('cut.bin', rows(2, 0, () => [1]).subarray(0, 5000))
  await expect(openCifar([cut], 'cifar10', nodeFiles)).rejects.toThrow(
    /cut.bin holds 5000 bytes, expected rows of 3073/,
  )
  const cutGz = put('cut.bin.gz', gzipSync(rows(2, 0, () => [1]).subarray(0, 5000)))
  await expect(openCifar([cutGz], 'cifar10', nodeFiles)).rejects.toThrow(/holds 5000 bytes/)
  await expect(openCifar([put('empty.bin', new Uint8Array(0))], 'cifar10', nodeFiles)).rejects.toThrow(
    /holds 0 bytes/,
  )
  const wrong = await openCifar(
    [
      put(
        'wrong.bin',
        rows(3, 0, (row) => [row * 6]),
      ),
    ],
    'cifar10',
    nodeFiles,
  )
  await expect(read(wrong, 2)).rejects.toThrow(/wrong.bin: sample 2 has label 12, expected 0 to 9/)
  const empty = join(folder, 'empty')
  mkdirSync(empty)
  await expect(openCifarFolder(empty, 'cifar10', 'test', nodeFiles)).rejects.toThrow(/no test files.*#train/)
})

test('a trailer that tells the wrong length is noticed when the file is read', async () => {
  const packed = gzipSync(rows(2, 0, () => [1]))
  new DataView(packed.buffer, packed.byteOffset).setUint32(packed.length - 4, 3073 * 3, true)
  await expect(
    openCifar([put('claims.bin.gz', packed)], 'cifar10', nodeFiles).then((it) => read(it, 50)),
  ).rejects.toThrow(/damaged gzip file: its trailer tells 9219 bytes, 6146 came out/)
})
