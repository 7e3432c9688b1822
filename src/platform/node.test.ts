import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, expect, test } from 'vitest'
import { UserError } from '../ir/errors.ts'
import { nodeFiles as files } from './node.ts'
import { allOf, partOf } from './parts.ts'

const folder = mkdtempSync(join(tmpdir(), 'varshift-files-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string): string => join(folder, name)
const bytes = Uint8Array.of(1, 2, 3, 4, 5)
writeFileSync(at('five'), bytes)

test('files are read whole and in ranges', async () => {
  expect(await files.read(at('five'))).toEqual(bytes)
  expect(await files.readRange(at('five'), 1, 3)).toEqual(bytes.slice(1, 4))
  expect(files.readRangeSync!(at('five'), 1, 3)).toEqual(bytes.slice(1, 4))
  const file = await files.open(at('five'))
  expect(file.sizeBytes).toBe(5)
  expect(await file.read(5, 0)).toHaveLength(0)
  expect(await file.read(4, 1)).toEqual(Uint8Array.of(5))
  await expect(file.read(4, 2)).rejects.toThrow(/cut short: expected 2 bytes at 4, but the file ends at 5/)
  await expect(file.read(0, 2 ** 50)).rejects.toThrow(UserError)
  await expect(file.read(-1, 2)).rejects.toThrow(RangeError)
  await file.close()
  expect(() => files.readRangeSync!(at('five'), 0, 6)).toThrow(/cut short/)
})

test('parts of a file are read where they lie, until it is changed', async () => {
  writeFileSync(at('parts'), bytes)
  const parts = files.parts(at('parts'))
  expect(parts.sizeBytes).toBe(5)
  expect(parts.read(1, 3)).toEqual(bytes.slice(1, 4))
  const inner = partOf(parts, 1, 3)
  expect(allOf(inner)).toEqual(bytes.slice(1, 4))
  const target = new Uint8Array(2)
  const open = inner.open()
  open.fill(target, 1)
  open.close()
  expect(target).toEqual(bytes.slice(2, 4))
  expect(() => parts.read(4, 2)).toThrow(/cut short/)
  expect(await files.hash!(at('parts'))).toBe((await files.readWithHash!(at('parts'))).sha256)
  writeFileSync(at('parts'), Uint8Array.of(1, 2, 3, 4, 5, 6))
  expect(() => parts.read(0, 1)).toThrow(/was changed while it was in use; read it again/)
  expect(() => files.parts(folder)).toThrow(/it is a folder/)
  expect(() => files.parts(at('missing'))).toThrow(/no such file/)
})

test('what is not there, or not a file, is told plainly', async () => {
  await expect(files.read(at('missing'))).rejects.toThrow(/cannot read .*missing: no such file/)
  await expect(files.read(folder)).rejects.toThrow(/it is a folder, expected a file/)
  await expect(files.list(at('missing'))).rejects.toThrow(/cannot list/)
  await expect(files.list(at('five'))).rejects.toThrow(/not a folder/)
  await expect(files.realPath(at('missing'))).rejects.toThrow(UserError)
  expect(() => files.readRangeSync!(at('missing'), 0, 1)).toThrow(UserError)
  expect(await files.stat(at('missing'))).toBeUndefined()
  expect(await files.stat(at('five/inside'))).toBeUndefined()
  expect(await files.stat('a\0b')).toBeUndefined()
  expect(await files.stat(at('five'))).toEqual({ kind: 'file', sizeBytes: 5 })
  expect(await files.stat(folder)).toEqual({ kind: 'folder', sizeBytes: 0 })
})

test('folders are listed by name, links as what they point to', async () => {
  mkdirSync(at('list/b-folder'), { recursive: true })
  for (const name of ['c', 'B', 'a']) writeFileSync(at(`list/${name}`), '')
  symlinkSync(at('list/b-folder'), at('list/link'))
  symlinkSync(at('nowhere'), at('list/broken'))
  expect((await files.list(at('list'))).map(({ name, kind }) => `${name} ${kind}`)).toEqual([
    'B file',
    'a file',
    'b-folder folder',
    'c file',
    'link folder',
  ])
})

test('a file is written whole, keeps its mode, and a link stays a link', async () => {
  mkdirSync(at('out'))
  await files.writeAtomic(at('out/new'), [bytes, new Uint8Array(0), bytes])
  expect(Uint8Array.from(readFileSync(at('out/new')))).toEqual(Uint8Array.of(...bytes, ...bytes))
  chmodSync(at('out/new'), 0o640)
  symlinkSync(at('out/new'), at('out/link'))
  await files.writeAtomic(
    at('out/link'),
    (async function* () {
      yield bytes
    })(),
  )
  expect(readFileSync(at('out/new'))).toHaveLength(5)
  if (process.platform !== 'win32') expect(statSync(at('out/new')).mode & 0o777).toBe(0o640)
  await files.copy(at('out/new'), at('out/copy'))
  expect(Uint8Array.from(readFileSync(at('out/copy')))).toEqual(bytes)
  expect(readdirSync(at('out')).sort()).toEqual(['copy', 'link', 'new'])
})

test('a failure leaves the old file and nothing else', async () => {
  mkdirSync(at('fail'))
  writeFileSync(at('fail/old'), 'old')
  const failing = function* (): Generator<Uint8Array> {
    yield bytes
    throw Object.assign(new Error('write'), { code: 'ENOSPC' })
  }
  await expect(files.writeAtomic(at('fail/old'), failing())).rejects.toThrow(
    /cannot write .*old: the disk is full/,
  )
  expect(readFileSync(at('fail/old'), 'utf8')).toBe('old')
  await expect(files.writeAtomic(at('fail/none/new'), [bytes])).rejects.toThrow(/no such file or folder/)
  await expect(files.writeAtomic(at('fail'), [bytes])).rejects.toThrow(/not a plain file/)
  await expect(files.copy(at('fail/missing'), at('fail/old'))).rejects.toThrow(/cannot read/)
  expect(readdirSync(at('fail'))).toEqual(['old'])
})

test('files that belong together are written all or none', async () => {
  mkdirSync(at('together'))
  writeFileSync(at('together/old'), 'old')
  const failing = function* (): Generator<Uint8Array> {
    yield bytes
    throw Object.assign(new Error('write'), { code: 'ENOSPC' })
  }
  const names = () => readdirSync(at('together'), { recursive: true, encoding: 'utf8' }).sort()
  const together = (last: Iterable<Uint8Array>, name = 'model') =>
    files.writeTogether([
      { path: at('together/old'), chunks: [bytes] },
      { path: at('together/a/b/copy'), copyOf: at('five') },
      { path: at(`together/${name}`), chunks: last },
    ])
  await expect(together(failing())).rejects.toThrow(/cannot write .*model: the disk is full/)
  await expect(together([bytes], 'old/inside')).rejects.toThrow(/cannot write/)
  await expect(files.writeTogether([{ path: at('together/x'), copyOf: at('missing') }])).rejects.toThrow(
    /cannot read/,
  )
  expect(names()).toEqual(['old'])
  expect(readFileSync(at('together/old'), 'utf8')).toBe('old')
  await together([bytes, bytes])
  expect(names()).toEqual(['a', 'a/b', 'a/b/copy', 'model', 'old'])
  expect(readFileSync(at('together/old'))).toHaveLength(5)
  expect(readFileSync(at('together/model'))).toHaveLength(10)
})

test.skipIf(!statSync('/dev/full', { throwIfNoEntry: false }))(
  'devices are neither read nor replaced',
  async () => {
    await expect(files.read('/dev/full')).rejects.toThrow(/pipe or device/)
    await expect(files.writeAtomic('/dev/full', [bytes])).rejects.toThrow(/not a plain file/)
  },
)

test('pictures are decoded to bytes, whatever their depth and transparency', async () => {
  const rgba = sharp(Buffer.from([10, 20, 30, 255, 40, 50, 60, 0]), {
    raw: { width: 2, height: 1, channels: 4 },
  })
  const png = await rgba.png().toBuffer()
  expect(await files.decodeImage(png, { channels: 3 })).toMatchObject({ width: 2, height: 1, channels: 3 })
  expect([...(await files.decodeImage(png, { channels: 3 })).data]).toEqual([10, 20, 30, 40, 50, 60])
  expect((await files.decodeImage(png, { channels: 1 })).data).toHaveLength(2)
  expect(await files.decodeImage(png, { channels: 3, width: 4, height: 5 })).toMatchObject({
    width: 4,
    height: 5,
  })

  const grey = sharp(Buffer.from([0, 100, 200]), { raw: { width: 3, height: 1, channels: 1 } })
  const deep = await grey.clone().toColourspace('grey16').png().toBuffer()
  expect((await sharp(deep).metadata()).depth).toBe('ushort')
  for (const picture of [await grey.png().toBuffer(), deep]) {
    expect([...(await files.decodeImage(picture, { channels: 1 })).data]).toEqual([0, 100, 200])
    expect([...(await files.decodeImage(picture, { channels: 3 })).data]).toEqual([
      0, 0, 0, 100, 100, 100, 200, 200, 200,
    ])
  }
})

test('what is no picture, or a damaged one, is refused', async () => {
  const png = await sharp({ create: { width: 64, height: 64, channels: 3, background: 'red' } })
    .png()
    .toBuffer()
  await expect(files.decodeImage(Buffer.from('<svg></svg>'), { channels: 3 })).rejects.toThrow(
    /not a PNG or JPEG/,
  )
  await expect(files.decodeImage(png.subarray(0, png.length - 20), { channels: 3 })).rejects.toThrow(
    /not a readable picture/,
  )
  const huge = Buffer.from(png)
  huge.writeUInt32BE(60000, 16)
  huge.writeUInt32BE(60000, 20)
  await expect(files.decodeImage(huge, { channels: 3 })).rejects.toThrow(UserError)
})

test('paths', () => {
  expect(files.nameOf(files.join('a/b', 'c.onnx'))).toBe('c.onnx')
  expect(files.folderOf(files.join('a', 'c.onnx'))).toBe('a')
  expect(files.folderOf('c.onnx')).toBe('.')
})
