import fc from 'fast-check'
import { deflateSync, gzipSync } from 'fflate'
import { expect, test } from 'vitest'
import {
  type ByteSource,
  gunzipSource,
  inflateSource,
  inMemory,
  partSource,
  peek,
  readFrom,
} from './byte-source.ts'
import { crc32 } from './crc32.ts'

/** A source over bytes in memory, given out `pieceBytes` at a time. */
function sourceOf(bytes: Uint8Array, pieceBytes = 2 ** 20): ByteSource {
  return {
    name: 'a.bin',
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
      for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes)
    },
  }
}

/** Bytes that pack well in one half and not at all in the other. */
const sample = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i < length / 2 ? i >> 5 : Math.imul(i, 0x9e3779b1) >>> 24))

const all = (source: ByteSource): Promise<Uint8Array> => inMemory(source, 2 ** 24, 'take less')

test('gzip and deflate are unpacked however the packed bytes are cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3000 }),
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 1, max: 3 }),
      async (length, pieceBytes, members) => {
        const bytes = sample(length)
        const cut = Math.ceil(length / members)
        const parts = Array.from({ length: Math.ceil(length / cut) }, (_, i) =>
          gzipSync(bytes.subarray(i * cut, (i + 1) * cut), { filename: 'name' }),
        )
        expect(await all(await gunzipSource(sourceOf(Buffer.concat(parts), pieceBytes)))).toEqual(bytes)
        const deflated = sourceOf(deflateSync(bytes), pieceBytes)
        expect(await all(inflateSource(deflated, length, crc32(bytes)))).toEqual(bytes)
      },
    ),
    { numRuns: 40 },
  )
})

test('damage anywhere in a gzip file is noticed', async () => {
  const bytes = sample(2000)
  const packed = gzipSync(bytes, { mtime: 0 })
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 10, max: packed.length - 1 }),
      fc.integer({ min: 0, max: 7 }),
      async (at, bit) => {
        const changed = packed.slice()
        changed[at]! ^= 1 << bit
        const outcome = await gunzipSource(sourceOf(changed))
          .then(all)
          .catch((error) => error)
        // Bits that only fill up the last byte before the trailer mean nothing.
        if (outcome instanceof Uint8Array) expect(outcome).toEqual(bytes)
        else expect(outcome).toHaveProperty('name', 'UserError')
      },
    ),
    { numRuns: 100 },
  )
  for (let length = 0; length < packed.length; length += 37)
    await expect(gunzipSource(sourceOf(packed.subarray(0, length))).then(all)).rejects.toThrow(/damaged/)
})

test('a member that claims too little or too much is refused', async () => {
  const bytes = new Uint8Array(100_000)
  const packed = sourceOf(deflateSync(bytes))
  await expect(all(inflateSource(packed, 1000, 0))).rejects.toThrow(/claims 1000 bytes and holds more/)
  await expect(all(inflateSource(packed, 100_001, 0))).rejects.toThrow(/claims 100001 bytes and holds 100000/)
  await expect(all(inflateSource(packed, 100_000, 1))).rejects.toThrow(/checksum/)
  expect(() => inflateSource(packed, 2 ** 40, 0)).toThrow(/cannot hold/)
})

test('a gzip bomb is unpacked piece by piece', async () => {
  const bomb = await gunzipSource(sourceOf(gzipSync(new Uint8Array(2 ** 26), { level: 9 })))
  let largest = 0
  for await (const { length } of bomb.chunks()) largest = Math.max(largest, length)
  expect(largest).toBeLessThanOrEqual(2 ** 24 + 2 ** 15)
  await expect(inMemory(bomb, 2 ** 20, 'take less')).rejects.toThrow(/more than the 1048576 bytes.*take less/)
})

test('readers go on where they stopped, and know the end', async () => {
  const bytes = sample(300)
  const raw = sourceOf(bytes, 7)
  for (const source of [raw, await gunzipSource(sourceOf(gzipSync(bytes), 7))]) {
    const reader = await readFrom(source, 10)
    expect(await reader.take(5)).toEqual(bytes.slice(10, 15))
    expect(await reader.take(280)).toEqual(bytes.slice(15, 295))
    await expect(reader.finish()).rejects.toThrow(/longer than it says/)
    await expect(reader.take(6)).rejects.toThrow(/cut short: expected 301 bytes, got 300/)
    await reader.close()
    const end = await readFrom(source, 299)
    await end.take(1)
    await end.finish()
    await end.close()
    await expect(readFrom(source, 400).then((reader) => reader.take(1))).rejects.toThrow(/cut short/)
  }
  expect(await peek(raw, 20)).toEqual(bytes.slice(0, 20))
  expect(await peek(sourceOf(bytes.subarray(0, 3)), 20)).toEqual(bytes.slice(0, 3))
})

test('a part is read as if it were whole', async () => {
  const bytes = sample(100)
  const part = partSource('part', sourceOf(bytes).random!, 20, 30)
  expect(await all(part)).toEqual(bytes.slice(20, 50))
  const file = await part.random!()
  expect(await file.read(25, 5)).toEqual(bytes.slice(45, 50))
  expect(() => file.read(25, 6)).toThrow(/part is cut short/)
})
