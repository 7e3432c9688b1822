import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'fflate'
import { afterAll, expect, test } from 'vitest'
import { Tensor } from '../ir/tensor.ts'
import { nodeFiles } from '../platform/node.ts'
import type { Dataset } from './dataset.ts'
import { encodeNpy } from './npy-write.ts'
import { encodeNpz } from './npz-write.ts'
import { type OpenOptions, openDataset } from './open.ts'

const folder = mkdtempSync(join(tmpdir(), 'varshift-open-'))
afterAll(() => rmSync(folder, { recursive: true }))

const put = (name: string, bytes: Uint8Array | string): string => {
  mkdirSync(join(folder, name, '..'), { recursive: true })
  writeFileSync(join(folder, name), bytes)
  return join(folder, name)
}
const open = (spec: string, options?: OpenOptions): Promise<Dataset> => openDataset(spec, nodeFiles, options)

async function labelsOf(dataset: Dataset, start = 0): Promise<number[]> {
  const all: number[] = []
  for await (const { labels } of dataset.batches({ batchSize: 2, start })) all.push(...(labels ?? []))
  return all
}

const x = Tensor.float32([3, 2], [1, 2, 3, 4, 5, 6])
const npy = Buffer.concat(encodeNpy(x))
const idx = (shape: number[]): Uint8Array => {
  const count = shape.reduce((n, size) => n * size)
  return Uint8Array.from([
    0,
    0,
    8,
    shape.length,
    ...shape.flatMap((size) => [0, 0, 0, size]),
    ...Array(count).keys(),
  ])
}
const cifar = Buffer.concat([
  Buffer.from([3]),
  Buffer.alloc(3072, 7),
  Buffer.from([4]),
  Buffer.alloc(3072, 8),
])
/** The first row looks like the header of an IDX file. */
const darkCifar = Buffer.from(cifar)
darkCifar.set([0, 0, 8, 3], 0)

test.each([
  ['a.dat', npy, { size: 3, labelled: false }],
  ['a.dat.packed', gzipSync(npy), { size: 3 }],
  [
    'b',
    encodeNpz(
      new Map([
        ['x', x],
        ['labels', Tensor.int64([3], [0, 1, 2])],
      ]),
    ),
    { size: 3, labelled: true },
  ],
  ['pictures', idx([4, 2, 2]), { size: 4, labelled: false }],
  ['pictures-packed', gzipSync(idx([4, 2, 2])), { size: 4 }],
  ['rows', cifar, { size: 2, labelled: true }],
  ['rows-packed', gzipSync(cifar), { size: 2 }],
  ['dark-rows', darkCifar, { size: 2 }],
  ['dark-rows-packed', gzipSync(darkCifar), { size: 2 }],
] as const)('%s is known by its bytes', async (name, bytes, expected) => {
  expect(await open(put(name, bytes))).toMatchObject({ ...expected, name })
})

test('folders and prefixes', async () => {
  put('idx/train-images-idx3-ubyte.gz', gzipSync(idx([4, 2, 2])))
  put('idx/train-labels-idx1-ubyte.gz', gzipSync(idx([4])))
  put('idx/t10k-images-idx3-ubyte', idx([2, 2, 2]))
  const folderOfIdx = join(folder, 'idx')
  expect(await open(folderOfIdx)).toMatchObject({ size: 4, labelled: true })
  expect(await open(`idx:${folderOfIdx}#test`)).toMatchObject({ size: 2, labelled: false })
  expect(await open(`idx:${folderOfIdx}/t10k-images-idx3-ubyte`)).toMatchObject({ size: 2 })

  const batch = put('cifar/data_batch_1.bin', cifar)
  const test = put('cifar/test_batch.bin', cifar.subarray(0, 3073))
  expect(await open(join(folder, 'cifar'))).toMatchObject({ size: 2, name: 'cifar#train' })
  expect(await open(`${join(folder, 'cifar')}#test`)).toMatchObject({ size: 1, name: 'cifar#test' })
  expect(await open(`cifar10:${join(folder, 'cifar')}#test`)).toMatchObject({ size: 1 })
  expect(await open(`cifar10:${batch},${test}`)).toMatchObject({
    size: 3,
    name: 'data_batch_1.bin,test_batch.bin',
  })

  expect(await open('shapes:count=20,size=8')).toMatchObject({ size: 20, labelled: true })
})

test('labels of their own replace those of the data', async () => {
  const dataset = await open(put('unlabelled.npy', npy), { labels: put('y.txt', '7\n8\n9\n') })
  expect(dataset.labelled).toBe(true)
  expect(await labelsOf(dataset)).toEqual([7, 8, 9])
  expect(await labelsOf(dataset, 1)).toEqual([8, 9])
})

test.each([
  ['an empty file', '', /is empty/],
  ['a text', 'hello world', /not data that varshift knows; expected .npz/],
  ['a web page', '<!DOCTYPE html><html>', /web page/],
  ['a pointer', 'version https://git-lfs.github.com/spec/v1\noid sha256:0', /git lfs pull/],
  ['a picture', Buffer.from('\x89PNG\r\n\x1a\n0000', 'latin1'), /give its folder/],
  ['a pickle', Buffer.from([0x80, 4, 0x95]), /pickle/],
  ['a packed text', gzipSync(Buffer.from('hello world')), /not data/],
  ['two bytes', Buffer.from([0x1f, 0x8b]), /damaged gzip/],
])('%s is refused', async (name, bytes, message) => {
  const path = put(name, bytes)
  await expect(open(path)).rejects.toThrow(message)
  await expect(open(path)).rejects.toHaveProperty('name', 'UserError')
})

test('what is not there is refused', async () => {
  const missing = join(folder, 'missing')
  for (const spec of [missing, `cifar10:${missing}`, `idx:${missing}`, `${missing}#test`, 'a\0b'])
    await expect(open(spec)).rejects.toThrow(/no such file|zero byte/)
  const data = put('unlabelled.npy', npy)
  await expect(open(data, { labels: missing })).rejects.toThrow(/no such file/)
  await expect(open(`${data}#test`)).rejects.toThrow(/is a file, expected a folder/)
  mkdirSync(join(folder, 'void'))
  await expect(open(join(folder, 'void'))).rejects.toThrow(/holds no PNG/)
  await expect(open(`${join(folder, 'void')}#test`)).rejects.toThrow(/no part 'test'/)
  await expect(open(`idx:${join(folder, 'void')}`)).rejects.toThrow(/holds no train-images/)
  await expect(open(`cifar100:${join(folder, 'void')}`)).rejects.toThrow(/no train files of cifar100/)
})
