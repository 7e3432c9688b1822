import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, expect, test } from 'vitest'
import { nodeFiles } from '../platform/node.ts'
import type { Dataset } from './dataset.ts'
import { openImageFolder } from './image-folder.ts'

const folder = mkdtempSync(join(tmpdir(), 'varshift-pictures-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** A picture of one colour, but for its last pixel, which is white. */
async function picture(
  path: string,
  [r, g, b]: [number, number, number],
  width = 3,
  height = 2,
): Promise<void> {
  const data = Buffer.concat([
    ...Array(width * height - 1).fill(Buffer.from([r, g, b])),
    Buffer.alloc(3, 255),
  ])
  const image = sharp(data, { raw: { width, height, channels: 3 } })
  writeFileSync(path, await (path.endsWith('png') ? image.png() : image.jpeg({ quality: 100 })).toBuffer())
}

function made(...parts: string[]): string {
  const path = join(folder, ...parts)
  mkdirSync(path, { recursive: true })
  return path
}

async function read(dataset: Dataset, batchSize = 100) {
  const batches = []
  for await (const batch of dataset.batches({ batchSize })) batches.push(batch)
  return batches
}

test('class folders give labels in the order of their names, take turns, pictures as planes', async () => {
  await picture(join(made('pets', 'dog'), 'b.PNG'.toLowerCase()), [10, 20, 30])
  await picture(join(made('pets', 'cat'), 'z.png'), [40, 50, 60])
  await picture(join(made('pets', 'cat'), 'a.png'), [70, 80, 90])
  writeFileSync(join(folder, 'pets', 'cat', 'notes.txt'), 'not a picture')
  writeFileSync(join(folder, 'pets', 'cat', '.hidden.png'), 'not a picture')
  made('pets', '.git')
  const dataset = await openImageFolder(join(folder, 'pets'), nodeFiles)
  expect(dataset).toMatchObject({ name: 'pets', size: 3, labelled: true, classNames: ['cat', 'dog'] })
  expect(dataset.fields).toEqual([{ name: 'x', dataType: 'uint8', sampleShape: [3, 2, 3], layout: 'NCHW' }])
  const [first, second] = await read(dataset, 2)
  expect(first!.labels).toEqual(Int32Array.of(0, 1))
  expect(second!.labels).toEqual(Int32Array.of(0))
  const plane = (value: number): number[] => [...Array(5).fill(value), 255]
  expect([...first!.inputs.get('x')!.bytes]).toEqual([70, 80, 90, 10, 20, 30].flatMap(plane))
})

test('a flat folder is unlabelled; JPEG, resizing and grey', async () => {
  await picture(join(made('flat'), 'a.jpg'), [200, 200, 200], 16, 16)
  await picture(join(made('flat'), 'b.jpeg'), [100, 100, 100], 8, 8)
  const options = { channels: 1, height: 4, width: 5 } as const
  const dataset = await openImageFolder(join(folder, 'flat'), nodeFiles, options)
  expect(dataset).toMatchObject({ size: 2, labelled: false })
  expect(dataset.fields[0]!.sampleShape).toEqual([1, 4, 5])
  const [batch] = await read(dataset)
  expect(batch!.labels).toBeUndefined()
  const bytes = batch!.inputs.get('x')!.bytes
  expect(Math.abs(bytes[0]! - 200)).toBeLessThan(4)
  expect(Math.abs(bytes[20]! - 100)).toBeLessThan(4)
  await expect(openImageFolder(join(folder, 'flat'), nodeFiles).then((it) => read(it))).rejects.toThrow(
    /b.jpeg has 8 x 8 pixels, expected 16 x 16/,
  )
})

test('what is no picture is refused by name', async () => {
  await picture(join(made('bad'), 'a.png'), [1, 2, 3])
  writeFileSync(join(folder, 'bad', 'b.png'), '<html>not found</html>')
  const dataset = await openImageFolder(join(folder, 'bad'), nodeFiles)
  await expect(read(dataset)).rejects.toThrow(/b.png: not a PNG or JPEG/)
})

test.each([
  ['nothing', [], /holds no PNG or JPEG/],
  ['folders in class folders', ['train/cat/'], /train holds folders, expected the pictures of one class/],
  ['pictures beside class folders', ['a.png', 'cat/b.png'], /holds both pictures/],
])('%s: refused', async (name, paths, message) => {
  const root = made(name)
  for (const path of paths)
    if (path.endsWith('/')) made(name, path)
    else {
      made(name, path, '..')
      await picture(join(root, path), [1, 2, 3])
    }
  await expect(openImageFolder(root, nodeFiles)).rejects.toThrow(message)
})

test.each([
  [{ height: 0, width: 5 }, /0 x 5/],
  [{ height: 4 }, /both height and width/],
  [{ height: 1e9, width: 1e9 }, /1000000000/],
])('a size of %j is refused', async (size, message) => {
  await expect(openImageFolder(folder, nodeFiles, size)).rejects.toThrow(message)
})
