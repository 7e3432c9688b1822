import { Gunzip, Inflate } from 'fflate'
import { UserError } from '../ir/errors.ts'
import { crc32 } from './crc32.ts'
import type { Files, RandomAccess } from './files.ts'
import type { Parts } from './parts.ts'

/** Bytes that can be read from the beginning as often as wanted: a file, a part of one, or what is packed in one. */
export interface ByteSource {
  /** For messages, for example `train-images-idx3-ubyte.gz`. */
  readonly name: string
  /** What the source holds (a member of a zip file: claims, verified in unpacking); undefined where unknown. */
  readonly sizeBytes: number | undefined
  /** What the source can hold at most, for refusing sizes that a header claims before acting on them. */
  readonly maxBytes: number
  /** What the end of a gzip file tells, modulo 2^32: verified in unpacking if it has one member. */
  readonly claimedBytes?: number
  /** All bytes, in pieces of at most some megabytes. A UserError where the source turns out damaged. */
  chunks(): AsyncGenerator<Uint8Array, void, void>
  /** Ranged reads; absent for what is packed. */
  random?(): Promise<RandomAccess>
}

const chunkBytes = 2 ** 20

/** The bytes of the file at `path`, unpacked if they begin as gzip does. */
export async function openSource(path: string, files: Files): Promise<ByteSource> {
  const source = await fileSource(path, files)
  return isGzip(await peek(source, 2)) ? gunzipSource(source) : source
}

/** The bytes of the file at `path` as they are. */
export async function fileSource(path: string, files: Files): Promise<ByteSource> {
  const file = await files.open(path)
  const { sizeBytes } = file
  await file.close()
  return randomSource(files.nameOf(path), sizeBytes, () => files.open(path))
}

/** `length` bytes from `offset` of a source that allows ranged reads. */
export function partSource(
  name: string,
  random: () => Promise<RandomAccess>,
  offset: number,
  length: number,
): ByteSource {
  return randomSource(name, length, async () => {
    const whole = await random()
    return {
      sizeBytes: length,
      read(at, count) {
        if (at + count > length) throw cutShort(name, at + count, length)
        return whole.read(offset + at, count)
      },
      close: () => whole.close(),
    }
  })
}

/** Bytes that can be read without waiting. */
export const partsSource = (name: string, parts: Parts): ByteSource =>
  randomSource(name, parts.sizeBytes, async () => ({
    sizeBytes: parts.sizeBytes,
    async read(at, count) {
      if (at + count > parts.sizeBytes) throw cutShort(name, at + count, parts.sizeBytes)
      return parts.read(at, count)
    },
    async close() {},
  }))

function randomSource(name: string, sizeBytes: number, random: () => Promise<RandomAccess>): ByteSource {
  return {
    name,
    sizeBytes,
    maxBytes: sizeBytes,
    random,
    async *chunks() {
      const file = await random()
      try {
        for (let at = 0; at < sizeBytes; at += chunkBytes)
          yield await file.read(at, Math.min(chunkBytes, sizeBytes - at))
      } finally {
        await file.close()
      }
    },
  }
}

/** A deflated byte becomes at most 1032: zlib's documentation, "maximum compression factor". */
export const maxFactor = 1032

/** A push of so many packed bytes can give 16 MiB at once, which bounds the memory that unpacking takes. */
const packedChunkBytes = 2 ** 14

export const isGzip = (bytes: Uint8Array): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b

/**
 * What is packed in a gzip file (RFC 1952), one or several members. Length and checksum of a single member are
 * verified at its end, and the file's last four bytes become `claimedBytes`.
 */
export async function gunzipSource(packed: ByteSource): Promise<ByteSource> {
  const { name, sizeBytes = 0 } = packed
  const damaged = (reason: string): UserError =>
    new UserError(`${name} is a damaged gzip file: ${reason}; fetch it again or test it with gzip -t`)
  // Ten bytes of header, an empty block, and eight bytes of trailer.
  if (sizeBytes < 20) throw damaged(`it has ${sizeBytes} bytes, the smallest has 20`)
  const file = await packed.random!()
  const trailer = await file.read(sizeBytes - 8, 8).finally(() => file.close())
  const view = new DataView(trailer.buffer, trailer.byteOffset)
  const [crc, claimedBytes] = [view.getUint32(0, true), view.getUint32(4, true)]

  async function* chunks(): AsyncGenerator<Uint8Array, void, void> {
    let [members, checksum, length] = [1, 0, 0]
    const unpacked: Uint8Array[] = []
    const gunzip = new Gunzip((chunk) => unpacked.push(chunk))
    gunzip.onmember = () => members++
    for await (const chunk of unpack(packed, gunzip, unpacked, damaged)) {
      checksum = crc32(chunk, checksum)
      length += chunk.length
      yield chunk
    }
    if (members === 1 && (checksum !== crc || length % 2 ** 32 !== claimedBytes))
      throw damaged(`its trailer tells ${claimedBytes} bytes, ${length} came out or they were changed`)
  }
  return { name, sizeBytes: undefined, maxBytes: sizeBytes * maxFactor, claimedBytes, chunks }
}

/** What is deflated in a member of a zip file. Length and checksum are verified, the length as soon as it is passed. */
export function inflateSource(packed: ByteSource, sizeBytes: number, crc: number): ByteSource {
  const { name } = packed
  const damaged = (reason: string): UserError =>
    new UserError(`${name} is damaged: ${reason}; save the file again or test it with unzip -t`)
  const maxBytes = (packed.sizeBytes ?? 0) * maxFactor
  if (sizeBytes > maxBytes)
    throw damaged(`${packed.sizeBytes} packed bytes cannot hold the ${sizeBytes} bytes that it claims`)

  async function* chunks(): AsyncGenerator<Uint8Array, void, void> {
    let [checksum, length] = [0, 0]
    const unpacked: Uint8Array[] = []
    const inflate = new Inflate((chunk) => unpacked.push(chunk))
    for await (const chunk of unpack(packed, inflate, unpacked, damaged)) {
      checksum = crc32(chunk, checksum)
      length += chunk.length
      if (length > sizeBytes) throw damaged(`it claims ${sizeBytes} bytes and holds more`)
      yield chunk
    }
    if (length !== sizeBytes) throw damaged(`it claims ${sizeBytes} bytes and holds ${length}`)
    if (checksum !== crc) throw damaged('its checksum does not fit its bytes')
  }
  return { name, sizeBytes, maxBytes: sizeBytes, chunks }
}

/** Pushes `packed` through `stream` piece by piece, yielding what it leaves in `unpacked` before going on. */
async function* unpack(
  packed: ByteSource,
  stream: { push(chunk: Uint8Array, final?: boolean): void },
  unpacked: Uint8Array[],
  damaged: (reason: string) => UserError,
): AsyncGenerator<Uint8Array, void, void> {
  const push = (chunk: Uint8Array, final: boolean): Uint8Array[] => {
    try {
      stream.push(chunk, final)
    } catch (error) {
      throw damaged(error instanceof Error ? error.message : String(error))
    }
    return unpacked.splice(0)
  }
  for await (const chunk of packed.chunks())
    for (let at = 0; at < chunk.length; at += packedChunkBytes)
      yield* push(chunk.subarray(at, at + packedChunkBytes), false)
  yield* push(new Uint8Array(0), true)
}

/** The first bytes of a source, at most `length` of them. */
export async function peek(source: ByteSource, length: number): Promise<Uint8Array> {
  const start: number[] = []
  for await (const chunk of source.chunks()) {
    start.push(...chunk.subarray(0, length - start.length))
    if (start.length === length) break
  }
  return Uint8Array.from(start)
}

/** Reads on from some offset of a source. */
export interface ByteReader {
  /** The next `length` bytes, exactly; a UserError if the source ends before. Memory follows what is really there. */
  take(length: number): Promise<Uint8Array>
  /** Verifies that the source ends here, and that what was unpacked is sound. */
  finish(): Promise<void>
  close(): Promise<void>
}

/** Reads `source` from `offset` on. Packed sources are unpacked from their beginning. Close it when done. */
export async function readFrom(source: ByteSource, offset: number): Promise<ByteReader> {
  if (!source.random) return streamReader(source, offset)
  const file = await source.random()
  let at = offset
  return {
    async take(length) {
      if (at + length > file.sizeBytes) throw cutShort(source.name, at + length, file.sizeBytes)
      const bytes = await file.read(at, length)
      at += length
      return bytes
    },
    async finish() {
      if (at !== file.sizeBytes) throw tooLong(source.name, at)
    },
    close: () => file.close(),
  }
}

async function streamReader(source: ByteSource, offset: number): Promise<ByteReader> {
  const chunks = source.chunks()
  let rest: Uint8Array = new Uint8Array(0)
  let at = 0
  const advance = async (): Promise<boolean> => {
    const { value, done } = await chunks.next()
    rest = value ?? new Uint8Array(0)
    return !done
  }
  const walk = async (length: number, visit: (piece: Uint8Array) => void): Promise<void> => {
    for (let left = length; left > 0; ) {
      if (rest.length === 0 && !(await advance())) throw cutShort(source.name, at + left, at)
      const piece = rest.subarray(0, left)
      rest = rest.subarray(piece.length)
      at += piece.length
      left -= piece.length
      visit(piece)
    }
  }
  const close = async (): Promise<void> => {
    await chunks.return()
  }
  try {
    await walk(offset, () => {})
  } catch (error) {
    await close()
    throw error
  }
  return {
    async take(length) {
      const pieces: Uint8Array[] = []
      await walk(length, (piece) => pieces.push(piece))
      return joined(pieces, length)
    },
    async finish() {
      do if (rest.length > 0) throw tooLong(source.name, at)
      while (await advance())
    },
    close,
  }
}

/** All bytes of a source in memory, at most `maxBytes`. */
export async function inMemory(source: ByteSource, maxBytes: number, remedy: string): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const chunk of source.chunks()) {
    length += chunk.length
    if (length > maxBytes)
      throw new UserError(
        `${source.name} holds more than the ${maxBytes} bytes that are read at once; ${remedy}`,
      )
    pieces.push(chunk)
  }
  return joined(pieces, length)
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let at = 0
  for (const piece of pieces) {
    bytes.set(piece, at)
    at += piece.length
  }
  return bytes
}

const cutShort = (name: string, expected: number, got: number): UserError =>
  new UserError(`${name} is cut short: expected ${expected} bytes, got ${got}; fetch or save it again`)

const tooLong = (name: string, expected: number): UserError =>
  new UserError(
    `${name} is longer than it says: expected its end at byte ${expected}; fetch or save it again`,
  )
