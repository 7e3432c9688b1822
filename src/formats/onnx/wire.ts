import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { UserError } from '../../ir/errors.ts'
import { toInt64 } from '../../ir/tensor.ts'

/** One field record of a protobuf message: positions are relative to `bytes`, the whole file. */
export interface Field {
  readonly number: number
  readonly wireType: WireType
  /** First byte of the tag. */
  readonly start: number
  /** First byte of the payload: behind the tag, and behind the length of length-delimited fields. */
  readonly valueStart: number
  /** Behind the last byte. */
  readonly end: number
}

/** How many records may be read, of all messages of a file together. */
export class Budget {
  #left: number

  constructor(records: number) {
    this.#left = records
  }

  /** Throws a UserError that names the byte `at` when all is spent. */
  spend(records: number, at: number): void {
    this.#left -= records
    if (this.#left < 0)
      throw new UserError(
        `the ONNX file holds too many records (more at byte ${at}); no network is like this: the file is damaged or was made to exhaust memory`,
      )
  }
}

/**
 * Fields of the message that lies in `bytes[start, end)`. Throws a UserError where the bytes are not a message, or
 * when the budget is used up.
 */
export function* fieldsOf(
  bytes: Uint8Array,
  start = 0,
  end = bytes.length,
  budget?: Budget,
): Generator<Field> {
  if (start === end) return
  const reader = new BinaryReader(bytes.subarray(start, end))
  while (reader.pos < reader.len) {
    const at = start + reader.pos
    let field: Field
    try {
      const [number, wireType] = reader.tag()
      if (wireType === WireType.LengthDelimited) {
        const length = reader.uint32()
        const valueStart = start + reader.pos
        if (valueStart + length > end)
          throw new RangeError(
            `a field of ${length} bytes does not fit into the ${end - valueStart} that are left`,
          )
        reader.pos += length
        field = { number, wireType, start: at, valueStart, end: valueStart + length }
      } else {
        const valueStart = start + reader.pos
        reader.skip(wireType, number)
        field = { number, wireType, start: at, valueStart, end: start + reader.pos }
      }
    } catch (error) {
      throw new UserError(
        `not a valid ONNX file: protobuf ends or breaks at byte ${at} (${(error as Error).message}); the file may be truncated: compare its size with the original`,
      )
    }
    budget?.spend(1, at)
    yield field
  }
}

export const payload = (bytes: Uint8Array, field: Field): Uint8Array =>
  bytes.subarray(field.valueStart, field.end)

const decoder = new TextDecoder()
export const text = (bytes: Uint8Array, field: Field): string => decoder.decode(payload(bytes, field))

/** The integer of a varint field; those beyond 2^53 lose digits. */
export function integer(bytes: Uint8Array, field: Field): number {
  if (field.wireType !== WireType.Varint)
    throw new UserError(
      `not a valid ONNX file: field ${field.number} at byte ${field.start} should hold an integer`,
    )
  return Number(readVarint(new BinaryReader(payload(bytes, field)), field.start))
}

function readVarint(reader: BinaryReader, at: number): bigint {
  try {
    return BigInt(reader.int64())
  } catch (error) {
    throw new UserError(
      `not a valid ONNX file: the integer at byte ${at} breaks off (${(error as Error).message}); the file may be damaged: fetch it again`,
    )
  }
}

export function float(bytes: Uint8Array, field: Field): number {
  if (field.end - field.valueStart !== 4)
    throw new UserError(
      `not a valid ONNX file: field ${field.number} at byte ${field.start} should hold a float`,
    )
  return new DataView(bytes.buffer, bytes.byteOffset + field.valueStart, 4).getFloat32(0, true)
}

/** Floats of one record of a repeated field, whether packed or not. */
export function* floatsOf(bytes: Uint8Array, field: Field): Generator<number> {
  if (field.wireType !== WireType.LengthDelimited) {
    yield float(bytes, field)
    return
  }
  const packed = payload(bytes, field)
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength)
  for (let at = 0; at + 4 <= packed.length; at += 4) yield view.getFloat32(at, true)
}

/** Integers of one record of a repeated field, whether packed or not. */
export function* varints(bytes: Uint8Array, field: Field): Generator<bigint> {
  const reader = new BinaryReader(payload(bytes, field))
  while (reader.pos < reader.len) yield readVarint(reader, field.start)
}

/** Replaces the records `[start, end)` of some field by other records (none deletes it, several insert). */
export interface Replacement {
  readonly start: number
  readonly end: number
  readonly records: Uint8Array
}

/**
 * The message with some of its records, at any depth, replaced. Lengths of the enclosing messages are mended; every
 * other byte is handed through as a view of `bytes`.
 */
export function splice(bytes: Uint8Array, replacements: readonly Replacement[]): Uint8Array[] {
  const sorted = [...replacements].sort((a, b) => a.start - b.start)
  const chunks: Uint8Array[] = []
  const pieces = rebuild(0, bytes.length, sorted)
  for (const piece of pieces) if (piece.length > 0) chunks.push(piece)
  return chunks

  function rebuild(start: number, end: number, inside: readonly Replacement[]): Uint8Array[] {
    const out: Uint8Array[] = []
    let copied = start
    for (const field of fieldsOf(bytes, start, end)) {
      const here = inside.filter((r) => r.start >= field.start && r.end <= field.end)
      if (here.length === 0) continue
      out.push(bytes.subarray(copied, field.start))
      copied = field.end
      const whole = here.find((r) => r.start === field.start && r.end === field.end)
      if (whole) {
        out.push(whole.records)
        continue
      }
      const inner = rebuild(field.valueStart, field.end, here)
      const length = inner.reduce((sum, piece) => sum + piece.length, 0)
      out.push(
        new BinaryWriter().tag(field.number, WireType.LengthDelimited).uint32(length).finish(),
        ...inner,
      )
    }
    out.push(bytes.subarray(copied, end))
    return out
  }
}

/** Writes messages without copying what is large: chunks whose sum is the message. */
export class MessageWriter {
  readonly chunks: Uint8Array[] = []
  length = 0
  #writer = new BinaryWriter()
  #dirty = false

  #flush(): void {
    if (!this.#dirty) return
    this.#push(this.#writer.finish())
    this.#writer = new BinaryWriter()
    this.#dirty = false
  }

  #push(chunk: Uint8Array): void {
    this.chunks.push(chunk)
    this.length += chunk.length
  }

  #small(number: number, type: WireType): BinaryWriter {
    this.#dirty = true
    return this.#writer.tag(number, type)
  }

  int(number: number, value: number | bigint): this {
    this.#small(number, WireType.Varint).int64(typeof value === 'bigint' ? value : toInt64(value))
    return this
  }

  float(number: number, value: number): this {
    this.#small(number, WireType.Bit32).float(value)
    return this
  }

  string(number: number, value: string): this {
    this.#small(number, WireType.LengthDelimited).string(value)
    return this
  }

  bytes(number: number, value: Uint8Array): this {
    if (value.length < 1024) {
      this.#small(number, WireType.LengthDelimited).bytes(value)
      return this
    }
    this.#small(number, WireType.LengthDelimited).uint32(value.length)
    this.#flush()
    this.#push(value)
    return this
  }

  /** Records that are already encoded. */
  raw(records: Uint8Array): this {
    this.#flush()
    this.#push(records)
    return this
  }

  message(number: number, write: (inner: MessageWriter) => void): this {
    const inner = new MessageWriter()
    write(inner)
    inner.#flush()
    this.#small(number, WireType.LengthDelimited).uint32(inner.length)
    this.#flush()
    for (const chunk of inner.chunks) this.#push(chunk)
    return this
  }

  finish(): Uint8Array[] {
    this.#flush()
    return this.chunks
  }
}

export function concat(chunks: readonly Uint8Array[]): Uint8Array {
  if (chunks.length === 1) return chunks[0]!
  const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}
