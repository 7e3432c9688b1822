import fc from 'fast-check'
import { zipSync } from 'fflate'
import { expect, test } from 'vitest'
import { type ByteSource, inMemory } from './byte-source.ts'
import { isZip, readZipDirectory, zipMember } from './zip.ts'

function sourceOf(bytes: Uint8Array): ByteSource {
  return {
    name: 'a.zip',
    sizeBytes: bytes.length,
    maxBytes: bytes.length,
    async random() {
      return {
        sizeBytes: bytes.length,
        read: async (at, n) => bytes.slice(at, at + n),
        close: async () => {},
      }
    },
    async *chunks() {
      yield bytes
    },
  }
}

async function members(zip: Uint8Array): Promise<Record<string, string>> {
  const source = sourceOf(zip)
  const all: Record<string, string> = {}
  for (const entry of await readZipDirectory(source))
    all[entry.name] = Buffer.from(
      await inMemory(await zipMember(source, entry, entry.name), 1e6, ''),
    ).toString()
  return all
}

const text = { 'a.txt': 'hello hello hello', 'folder/ü.txt': 'x', empty: '' }
const bytes = Object.fromEntries(Object.entries(text).map(([name, value]) => [name, Buffer.from(value)]))

test('stored and deflated members, with a comment or without, are read', async () => {
  expect(await members(zipSync(bytes, { level: 0 }))).toEqual(text)
  expect(await members(zipSync(bytes, { level: 9 }))).toEqual(text)
  const comment = Buffer.from('PK\x05\x06 is how a directory ends')
  const commented = Buffer.concat([zipSync(bytes), comment])
  commented.writeUInt16LE(comment.length, commented.length - comment.length - 2)
  expect(await members(commented)).toEqual(text)
  expect(await readZipDirectory(sourceOf(zipSync({})))).toEqual([])
})

test('zip64 is read, with the sizes in the extra field of each member', async () => {
  expect(await members(asZip64(zipSync(bytes)))).toEqual(text)
})

/** Rewrites the directory of a small zip file so that every size and place is a zip64 one. */
function asZip64(zip: Uint8Array): Uint8Array {
  const view = new DataView(zip.buffer, zip.byteOffset)
  const end = zip.length - 22
  const count = view.getUint16(end + 10, true)
  const start = view.getUint32(end + 16, true)
  const parts: Uint8Array[] = [zip.subarray(0, start)]
  for (let i = 0, at = start; i < count; i++) {
    const nameLength = view.getUint16(at + 28, true)
    const entry = Buffer.from(zip.slice(at, at + 46 + nameLength))
    const extra = Buffer.alloc(28)
    extra.writeUInt16LE(1, 0)
    extra.writeUInt16LE(24, 2)
    for (const [j, place] of [24, 20, 42].entries()) {
      extra.writeBigUInt64LE(BigInt(entry.readUInt32LE(place)), 4 + j * 8)
      entry.writeUInt32LE(0xffffffff, place)
    }
    at += 46 + nameLength + view.getUint16(at + 30, true)
    entry.writeUInt16LE(28, 30)
    parts.push(entry, extra)
  }
  const length = parts.slice(1).reduce((n, part) => n + part.length, 0)
  const end64 = Buffer.alloc(56 + 20 + 22)
  end64.writeUInt32LE(0x06064b50, 0)
  end64.writeBigUInt64LE(44n, 4)
  end64.writeBigUInt64LE(BigInt(count), 32)
  end64.writeBigUInt64LE(BigInt(length), 40)
  end64.writeBigUInt64LE(BigInt(start), 48)
  end64.writeUInt32LE(0x07064b50, 56)
  end64.writeBigUInt64LE(BigInt(start + length), 64)
  end64.writeUInt32LE(0x06054b50, 76)
  end64.fill(0xff, 84, 96)
  return Buffer.concat([...parts, end64])
}

test('a file is known by its first bytes', () => {
  expect(isZip(zipSync(bytes))).toBe(true)
  expect(isZip(zipSync({}))).toBe(true)
  expect(isZip(Buffer.from('PK and more'))).toBe(false)
})

test('whatever stands in the directory, it is read or refused with a UserError', async () => {
  for (const zip of [zipSync(bytes), asZip64(zipSync(bytes))])
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: zip.length - 1 }),
        fc.integer({ min: 0, max: 255 }),
        async (at, byte) => {
          const changed = zip.slice()
          changed[at] = byte
          const outcome = await members(changed).catch((error) => error)
          if (outcome instanceof Error) expect(outcome).toHaveProperty('name', 'UserError')
        },
      ),
      { numRuns: 300 },
    )
})

test('a file cut anywhere is refused', async () => {
  const zip = zipSync(bytes)
  for (let length = 0; length < zip.length; length++)
    await expect(readZipDirectory(sourceOf(zip.subarray(0, length)))).rejects.toThrow(
      /a.zip is a damaged zip file/,
    )
})
