import { UserError } from '../ir/errors.ts'
import { type ByteSource, inflateSource, partSource } from './byte-source.ts'
import type { RandomAccess } from './files.ts'
import { allOf, type Parts } from './parts.ts'

/** One member of a zip file. */
export interface ZipEntry {
  readonly name: string
  /** 0 = stored, 8 = deflated. */
  readonly method: number
  readonly packedBytes: number
  /** As the directory claims. */
  readonly sizeBytes: number
  readonly crc: number
  /** Where its local header begins. */
  readonly offset: number
  /** Where its record in the directory begins, from the beginning of the file, and its length. */
  readonly directoryAt: number
  readonly directoryBytes: number
}

export const signatures = {
  local: 0x04034b50,
  descriptor: 0x08074b50,
  directory: 0x02014b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator: 0x07064b50,
}

/** Whether a file that begins with `bytes` is a zip file, perhaps an empty one. */
export const isZip = (bytes: Uint8Array): boolean =>
  bytes[0] === 0x50 && bytes[1] === 0x4b && (bytes[2] === 3 || bytes[2] === 5) && bytes[3] === bytes[2]! + 1

/**
 * Names of members of a zip file, to tell what kind of file it is: those that the directory at its end lists, or, where
 * the file is cut short, those that can be found from its beginning. Never throws.
 */
export function memberNames(zip: Parts): string[] {
  const names = namesInDirectory(zip)
  return names.length > 0 ? names : namesFromBeginning(allOf(zip))
}

function namesInDirectory(zip: Parts): string[] {
  const names: string[] = []
  const tailBytes = Math.min(zip.sizeBytes, 22 + 0xffff)
  const tail = viewOf(zip.read(zip.sizeBytes - tailBytes, tailBytes))
  let endAt = tailBytes - 22
  while (endAt >= 0 && tail.getUint32(endAt, true) !== signatures.end) endAt--
  if (endAt < 0) return names
  // Records of the directory lie one behind the other; a zip64 directory does so too.
  const start = tail.getUint32(endAt + 16, true)
  const end = zip.sizeBytes - tailBytes + endAt
  if (start >= end) return names
  const bytes = zip.read(start, Math.min(end - start, maxDirectoryBytes))
  const view = viewOf(bytes)
  for (let at = 0; at + 46 <= bytes.length && view.getUint32(at, true) === signatures.directory; ) {
    const length = view.getUint16(at + 28, true)
    names.push(new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + length)))
    at += 46 + length + view.getUint16(at + 30, true) + view.getUint16(at + 32, true)
  }
  return names
}

function namesFromBeginning(bytes: Uint8Array): string[] {
  const view = viewOf(bytes)
  const names: string[] = []
  const nextP = (from: number) => bytes.indexOf(0x50, from)
  const nameAt = (at: number, length: number) => new TextDecoder().decode(bytes.subarray(at, at + length))
  for (let at = 0; at + 30 <= bytes.length && view.getUint32(at, true) === signatures.local; ) {
    const length = view.getUint16(at + 26, true)
    names.push(nameAt(at + 30, length))
    // Who writes as a stream tells the size behind the data only: the next header has to be searched for.
    const isStreamed = (view.getUint16(at + 6, true) & 8) !== 0
    at += 30 + length + view.getUint16(at + 28, true) + (isStreamed ? 0 : view.getUint32(at + 18, true))
    while (isStreamed && at >= 0 && at + 4 <= bytes.length && view.getUint32(at, true) !== signatures.local)
      at = nextP(at + 1)
    if (at < 0) break
  }
  return names
}

/** A directory of more bytes is refused: room for some 400,000 members. */
const maxDirectoryBytes = 2 ** 25

/**
 * The members of a zip file as its central directory lists them, zip64 included.
 * Throws a UserError if the directory does not hold together, or if a member is encrypted.
 * Source: PKWARE, APPNOTE.TXT 6.3.10, section 4.3.
 */
export async function readZipDirectory(zip: ByteSource): Promise<ZipEntry[]> {
  if (!zip.random)
    throw new UserError(`${zip.name} is a zip file inside a gzip file; unpack it with gunzip first`)
  const file = await zip.random()
  try {
    return parseDirectory(zip.name, await readDirectory(zip.name, file))
  } finally {
    await file.close()
  }
}

interface Directory {
  readonly bytes: Uint8Array
  readonly count: number
  /** Where the directory begins: members lie before it. */
  readonly offset: number
}

async function readDirectory(name: string, file: RandomAccess): Promise<Directory> {
  const { sizeBytes } = file
  // The end record has 22 bytes and a comment of up to 65,535.
  const tailBytes = Math.min(sizeBytes, 22 + 0xffff)
  const tail = await file.read(sizeBytes - tailBytes, tailBytes)
  const view = viewOf(tail)
  let at = tailBytes - 22
  while (
    at >= 0 &&
    !(view.getUint32(at, true) === signatures.end && view.getUint16(at + 20, true) <= tailBytes - at - 22)
  )
    at--
  if (at < 0) throw damaged(name, 'it has no directory at its end, so it is cut short')
  let count = view.getUint16(at + 10, true)
  let length = view.getUint32(at + 12, true)
  let offset = view.getUint32(at + 16, true)
  let end = sizeBytes - tailBytes + at

  if ((count === 0xffff || length === 0xffffffff || offset === 0xffffffff) && end >= 76) {
    const locator = viewOf(await file.read(end - 20, 20))
    if (locator.getUint32(0, true) === signatures.locator) {
      end = wide(locator, 8, name)
      if (end + 56 > sizeBytes) throw damaged(name, 'its zip64 directory lies beyond its end')
      const end64 = viewOf(await file.read(end, 56))
      if (end64.getUint32(0, true) !== signatures.end64) throw damaged(name, 'its zip64 directory is missing')
      count = wide(end64, 32, name)
      length = wide(end64, 40, name)
      offset = wide(end64, 48, name)
    }
  }
  if (offset + length > end) throw damaged(name, 'its directory does not lie inside it')
  if (length > maxDirectoryBytes || count * 46 > length)
    throw damaged(name, `its directory claims ${count} members in ${length} bytes`)
  return { bytes: await file.read(offset, length), count, offset }
}

function parseDirectory(name: string, { bytes, count, offset: end }: Directory): ZipEntry[] {
  const view = viewOf(bytes)
  const entries: ZipEntry[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== signatures.directory)
      throw damaged(name, `member ${i} of its directory is not one`)
    const flags = view.getUint16(at + 8, true)
    const method = view.getUint16(at + 10, true)
    const nameAt = at + 46
    const extraAt = nameAt + view.getUint16(at + 28, true)
    const extraEnd = extraAt + view.getUint16(at + 30, true)
    const next = extraEnd + view.getUint16(at + 32, true)
    if (next > bytes.length) throw damaged(name, `member ${i} of its directory is cut short`)
    const member = new TextDecoder().decode(bytes.subarray(nameAt, extraAt))
    if (flags & 1)
      throw new UserError(
        `${name}: its member '${member}' is encrypted, expected plain members; save it without`,
      )

    // In this order, and only those that are too large for their place, zip64 holds: size, packed size, offset.
    const wideAt = findExtra(view, extraAt, extraEnd, 1)
    let [field, fieldEnd] = wideAt
    const value = (place: number): number => {
      const narrow = view.getUint32(place, true)
      if (narrow !== 0xffffffff) return narrow
      if (field + 8 > fieldEnd) throw damaged(name, `the sizes of its member '${member}' are missing`)
      field += 8
      return wide(view, field - 8, name)
    }
    const sizeBytes = value(at + 24)
    const packedBytes = value(at + 20)
    const offset = value(at + 42)
    if (offset + 30 + packedBytes > end) throw damaged(name, `its member '${member}' does not lie inside it`)
    entries.push({
      name: member,
      method,
      packedBytes,
      sizeBytes,
      crc: view.getUint32(at + 16, true),
      offset,
      directoryAt: end + at,
      directoryBytes: next - at,
    })
    at = next
  }
  return entries
}

/** Where the extra field number `id` begins and ends; an empty place if there is none. */
export function findExtra(view: DataView, from: number, end: number, id: number): [number, number] {
  for (let at = from; at + 4 <= end; ) {
    const next = at + 4 + view.getUint16(at + 2, true)
    if (view.getUint16(at, true) === id) return [at + 4, Math.min(next, end)]
    at = next
  }
  return [end, end]
}

/** The bytes of a member, called `name` in messages; ranged reads if it is stored. Throws a UserError. */
export async function zipMember(zip: ByteSource, entry: ZipEntry, name: string): Promise<ByteSource> {
  const file = await zip.random!()
  const header = viewOf(await file.read(entry.offset, 30).finally(() => file.close()))
  if (header.getUint32(0, true) !== signatures.local)
    throw damaged(name, 'it does not begin where the directory says')
  const start = entry.offset + 30 + header.getUint16(26, true) + header.getUint16(28, true)
  if (start + entry.packedBytes > zip.sizeBytes!) throw damaged(name, 'it ends beyond the end of the file')
  const packed = partSource(name, () => zip.random!(), start, entry.packedBytes)
  if (entry.method === 8) return inflateSource(packed, entry.sizeBytes, entry.crc)
  if (entry.method !== 0)
    throw new UserError(
      `${name} is packed by zip method ${entry.method}, expected stored (0) or deflated (8); ` +
        'save it with numpy.savez or numpy.savez_compressed',
    )
  if (entry.sizeBytes !== entry.packedBytes)
    throw damaged(name, `it is stored, but claims ${entry.sizeBytes} bytes in ${entry.packedBytes}`)
  return packed
}

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

function wide(view: DataView, at: number, name: string): number {
  const value = Number(view.getBigUint64(at, true))
  if (!Number.isSafeInteger(value)) throw damaged(name, 'a size in it is impossible')
  return value
}

export const damaged = (name: string, reason: string): UserError =>
  new UserError(`${name} is a damaged zip file: ${reason}; fetch or save it again`)
