import { deflateSync, Inflate } from 'fflate'
import { UserError } from '../ir/errors.ts'
import { maxFactor, partsSource } from './byte-source.ts'
import { crc32 } from './crc32.ts'
import { allOf, memoryParts, type Parts, partOf } from './parts.ts'
import { damaged, findExtra, readZipDirectory, signatures, viewOf, type ZipEntry } from './zip.ts'

/**
 * What may come out of an archive altogether, as a multiple of its own bytes: model files deflate to a tenth at the
 * best, whatever gives more was made to exhaust memory.
 */
const maxGrowth = 200

/** A replaced member keeps later ones at the same place modulo this: PyTorch aligns its tensors to 64 bytes. */
const alignment = 64

/**
 * A zip file: its members by name, unpacked when asked for, and the same file with some of them replaced. Nothing is
 * ever written to where a name points.
 */
export class Archive {
  readonly entries: ReadonlyMap<string, ZipEntry>
  readonly #zip: Parts
  readonly #name: string
  #unpackedBytes = 0

  private constructor(zip: Parts, name: string, entries: ReadonlyMap<string, ZipEntry>) {
    this.#zip = zip
    this.#name = name
    this.entries = entries
  }

  /** `name` stands for the file in messages. Throws a UserError if the archive is damaged or made to do harm. */
  static async open(zip: Parts, name: string): Promise<Archive> {
    const entries = new Map<string, ZipEntry>()
    for (const entry of await readZipDirectory(partsSource(name, zip))) {
      const parts = entry.name.split(/[\\/]/)
      if (parts.includes('..') || parts[0] === '' || /^[a-z]:/i.test(entry.name))
        throw new UserError(
          `${name}: the path of its member '${entry.name}' leads out of the archive; a model file has no such member: fetch it from its source again`,
        )
      if (entries.has(entry.name)) throw damaged(name, `it has two members called '${entry.name}'`)
      entries.set(entry.name, entry)
    }
    return new Archive(zip, name, entries)
  }

  /** A member for reading parts of it, unpacked first where it is packed. Throws a UserError if there is none. */
  parts(member: string): Parts {
    const entry = this.#entry(member)
    return entry.method === 0 ? this.#packed(entry) : memoryParts(this.read(member))
  }

  /** The member's bytes, a view of the file where that is possible. Throws a UserError if there is none. */
  read(member: string): Uint8Array {
    const entry = this.#entry(member)
    const packed = allOf(this.#packed(entry))
    if (entry.method === 0) return packed
    this.#unpackedBytes += entry.sizeBytes
    if (entry.sizeBytes > packed.length * maxFactor || this.#unpackedBytes > this.#zip.sizeBytes * maxGrowth)
      throw this.#damaged(
        `its member '${member}' claims ${entry.sizeBytes} bytes in ${packed.length} packed ones, more than a model file unpacks to`,
      )
    const bytes = new Uint8Array(entry.sizeBytes)
    let length = 0
    const inflate = new Inflate((chunk) => {
      if (length + chunk.length > bytes.length)
        throw this.#damaged(`its member '${member}' claims ${bytes.length} bytes and holds more`)
      bytes.set(chunk, length)
      length += chunk.length
    })
    try {
      // Small pushes, so that what comes out of one is bounded.
      for (let at = 0; at < packed.length; at += 2 ** 14)
        inflate.push(packed.subarray(at, at + 2 ** 14), at + 2 ** 14 >= packed.length)
    } catch (error) {
      if (error instanceof UserError) throw error
      throw this.#damaged(`its member '${member}' does not unpack (${(error as Error).message})`)
    }
    if (length !== bytes.length)
      throw this.#damaged(`its member '${member}' claims ${bytes.length} bytes and holds ${length}`)
    if (crc32(bytes) !== entry.crc) throw this.#damaged(`the checksum of its member '${member}' is wrong`)
    return bytes
  }

  /** A member that holds UTF-8 text; its checksum is verified. */
  text(member: string): string {
    const bytes = this.read(member)
    const entry = this.#entry(member)
    // What was deflated has been verified. Some writers leave the checksum of stored members out.
    if (entry.method === 0 && entry.crc !== 0 && crc32(bytes) !== entry.crc)
      throw this.#damaged(`the checksum of its member '${member}' is wrong`)
    return new TextDecoder().decode(bytes)
  }

  /**
   * The file with the contents of some members replaced: chunks whose sum it is. All other members stay byte for byte,
   * and at the same place modulo 64 bytes. A replaced member stays stored or deflated as it was.
   */
  write(contents: ReadonlyMap<string, Uint8Array>): Uint8Array[] {
    const bytes = allOf(this.#zip)
    const changed = new Map([...contents].map(([member, content]) => [this.#entry(member), content]))
    if (changed.size === 0) return [bytes]
    const all = [...this.entries.values()].sort((a, b) => a.offset - b.offset)
    const directoryAt = Math.min(...all.map((entry) => entry.directoryAt))
    const directory = bytes.slice(directoryAt)
    const chunks: Uint8Array[] = []
    let done = 0
    let shift = 0
    for (const [i, entry] of all.entries()) {
      const record = directory.subarray(entry.directoryAt - directoryAt)
      setSizes(record, directoryPlaces, { offset: [entry.offset, entry.offset + shift] })
      const content = changed.get(entry)
      if (!content) continue
      const packed = entry.method === 0 ? content : deflateSync(content)
      const change: Sizes = {
        crc: [entry.crc, crc32(content)],
        packed: [entry.packedBytes, packed.length],
        size: [entry.sizeBytes, content.length],
      }
      const dataAt = this.#dataAt(entry)
      const end = all[i + 1]?.offset ?? directoryAt
      const head = bytes.slice(entry.offset, dataAt)
      // What follows the data may be a descriptor that states checksum and sizes once more.
      const rest = bytes.slice(dataAt + entry.packedBytes, end)
      setSizes(record, directoryPlaces, change)
      const isWide = setSizes(head, localPlaces, change)
      setDescriptor(rest, change, isWide)
      const growth = packed.length - entry.packedBytes
      const padding = paddingOf(growth)
      if (padding.length > 0)
        viewOf(head).setUint16(28, viewOf(head).getUint16(28, true) + padding.length, true)
      chunks.push(bytes.subarray(done, entry.offset), head, padding, packed, rest)
      done = end
      shift += growth + padding.length
    }
    chunks.push(bytes.subarray(done, directoryAt), shiftEnd(directory, directoryAt, shift))
    return chunks.filter((chunk) => chunk.length > 0)
  }

  #entry(member: string): ZipEntry {
    const entry = this.entries.get(member)
    if (!entry) throw new UserError(`${this.#name}: member '${member}' is missing; save or fetch it again`)
    return entry
  }

  #dataAt(entry: ZipEntry): number {
    const header = viewOf(this.#zip.read(entry.offset, 30))
    if (header.getUint32(0, true) !== signatures.local)
      throw this.#damaged(`its member '${entry.name}' does not begin where the directory says`)
    return entry.offset + 30 + header.getUint16(26, true) + header.getUint16(28, true)
  }

  #packed(entry: ZipEntry): Parts {
    const at = this.#dataAt(entry)
    if (at + entry.packedBytes > this.#zip.sizeBytes)
      throw this.#damaged(`its member '${entry.name}' ends beyond the end of the file`)
    if (entry.method !== 0 && entry.method !== 8)
      throw new UserError(
        `${this.#name}: its member '${entry.name}' is packed by zip method ${entry.method}, expected stored (0) or deflated (8); pack the archive again`,
      )
    if (entry.method === 0 && entry.sizeBytes !== entry.packedBytes)
      throw this.#damaged(
        `its member '${entry.name}' is stored, but claims ${entry.sizeBytes} bytes in ${entry.packedBytes}`,
      )
    return partOf(this.#zip, at, entry.packedBytes)
  }

  #damaged(reason: string): UserError {
    return damaged(this.#name, reason)
  }
}

/** Values to replace: what a record states now, and what it is to state. */
interface Sizes {
  readonly crc?: readonly [number, number]
  readonly size?: readonly [number, number]
  readonly packed?: readonly [number, number]
  readonly offset?: readonly [number, number]
}

/** Where a record of the directory and a local header keep what `setSizes` sets; APPNOTE 4.3.12 and 4.3.7. */
const directoryPlaces = { crc: 16, size: 24, packed: 20, offset: 42, nameLength: 28, extra: 46 }
const localPlaces = { crc: 14, size: 22, packed: 18, offset: undefined, nameLength: 26, extra: 30 }

/**
 * Replaces values where the record states them: a local header may leave them to a descriptor. Tells whether the record
 * has a zip64 field.
 */
function setSizes(
  record: Uint8Array,
  places: typeof directoryPlaces | typeof localPlaces,
  sizes: Sizes,
): boolean {
  const view = viewOf(record)
  if (sizes.crc && view.getUint32(places.crc, true) === sizes.crc[0])
    view.setUint32(places.crc, sizes.crc[1], true)
  const extraAt = places.extra + view.getUint16(places.nameLength, true)
  let [wideAt, wideEnd] = findExtra(
    view,
    extraAt,
    Math.min(extraAt + view.getUint16(places.nameLength + 2, true), record.length),
    1,
  )
  const isWide = wideAt < wideEnd
  for (const field of ['size', 'packed', 'offset'] as const) {
    const place = places[field]
    if (place === undefined) continue
    const change = sizes[field]
    if (view.getUint32(place, true) === 0xffffffff && wideAt + 8 <= wideEnd) {
      if (change && view.getBigUint64(wideAt, true) === BigInt(change[0]))
        view.setBigUint64(wideAt, BigInt(change[1]), true)
      wideAt += 8
    } else if (change && view.getUint32(place, true) === change[0])
      view.setUint32(place, narrow(change[1]), true)
  }
  return isWide
}

function setDescriptor(bytes: Uint8Array, { crc, packed, size }: Sizes, isWide: boolean): void {
  const view = viewOf(bytes)
  const at = bytes.length >= 4 && view.getUint32(0, true) === signatures.descriptor ? 4 : 0
  if (bytes.length < at + (isWide ? 20 : 12) || view.getUint32(at, true) !== crc![0]) return
  view.setUint32(at, crc![1], true)
  for (const [i, [, value]] of [packed!, size!].entries())
    if (isWide) view.setBigUint64(at + 4 + 8 * i, BigInt(value), true)
    else view.setUint32(at + 4 + 4 * i, narrow(value), true)
}

/** An extra field (PyTorch's own number for padding) that makes up for a member that grew by `growth` bytes. */
function paddingOf(growth: number): Uint8Array {
  const short = ((-growth % alignment) + alignment) % alignment
  if (short === 0) return new Uint8Array(0)
  const padding = new Uint8Array(short < 4 ? short + alignment : short)
  viewOf(padding).setUint16(0, 0x4246, true)
  viewOf(padding).setUint16(2, padding.length - 4, true)
  return padding
}

/** The directory and what follows it, moved by `shift` bytes. */
function shiftEnd(directory: Uint8Array, directoryAt: number, shift: number): Uint8Array {
  const view = viewOf(directory)
  let at = directory.length - 22
  while (view.getUint32(at, true) !== signatures.end) at--
  const offset = view.getUint32(at + 16, true)
  if (offset !== 0xffffffff) view.setUint32(at + 16, narrow(offset + shift), true)
  if (at >= 76 && view.getUint32(at - 20, true) === signatures.locator) {
    const end64 = Number(view.getBigUint64(at - 12, true))
    view.setBigUint64(at - 12, BigInt(end64 + shift), true)
    const inDirectory = end64 - directoryAt
    view.setBigUint64(inDirectory + 48, view.getBigUint64(inDirectory + 48, true) + BigInt(shift), true)
  }
  return directory
}

function narrow(value: number): number {
  if (value >= 0xffffffff)
    throw new UserError(
      'the repaired archive would pass 4 GiB, which its headers cannot state; split the model',
    )
  return value
}
