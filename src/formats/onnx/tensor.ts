import { UserError } from '../../ir/errors.ts'
import {
  byteLengthOf,
  type DataType,
  dataTypeOfOnnx,
  dataTypes,
  elementCount,
  Tensor,
} from '../../ir/tensor.ts'
import * as schema from './schema.ts'
import {
  type Budget,
  concat,
  type Field,
  fieldsOf,
  integer,
  MessageWriter,
  payload,
  text,
  varints,
} from './wire.ts'

/** A stretch of a file beside the model that holds a tensor's elements. */
export interface ExternalTensor {
  /** Name of the tensor. */
  readonly name: string
  /** Path of the file, relative to the model's folder, as the model states it. */
  readonly location: string
  readonly offset: number
  readonly length: number
}

/** What reading a model needs from the files beside it; nothing is opened before a tensor's elements are asked for. */
export interface ExternalData {
  /** Called for every external tensor while the model is read. */
  require(tensor: ExternalTensor): void
  read(tensor: ExternalTensor): Uint8Array
}

/** A shape of more axes is a sign of damage: no runtime takes it. */
export const maxRank = 256

/** The records of one data field: the first, how many, and their payloads' bytes together. */
interface Records {
  readonly first: Field
  count: number
  length: number
}

const integerFields: readonly number[] = [
  schema.tensor.int32Data,
  schema.tensor.int64Data,
  schema.tensor.uint64Data,
]
const dataFields: readonly number[] = [
  schema.tensor.rawData,
  schema.tensor.floatData,
  schema.tensor.doubleData,
  ...integerFields,
]

/** The tensor in a TensorProto record. Its data stays where it is until asked for; sizes are checked at once. */
export function readTensor(
  bytes: Uint8Array,
  field: Field,
  external: ExternalData | undefined,
  budget?: Budget,
): { name: string; tensor: Tensor } {
  let name = ''
  let code = 0
  let isExternal = false
  const dims: number[] = []
  const strings: string[] = []
  const data = new Map<number, Records>()
  const entries = new Map<string, string>()
  const addDim = (dim: number | bigint) => {
    if (dims.push(Number(dim)) > maxRank)
      throw new UserError(
        `tensor '${name}' (at byte ${field.start}) has more than ${maxRank} axes; no tensor is like this: the file is damaged`,
      )
  }
  for (const part of fieldsOf(bytes, field.valueStart, field.end, budget)) {
    switch (part.number) {
      case schema.tensor.dims:
        if (part.wireType === 2) for (const dim of varints(bytes, part)) addDim(dim)
        else addDim(integer(bytes, part))
        break
      case schema.tensor.dataType:
        code = integer(bytes, part)
        break
      case schema.tensor.name:
        name = text(bytes, part)
        break
      case schema.tensor.stringData:
        strings.push(text(bytes, part))
        break
      case schema.tensor.dataLocation:
        isExternal = integer(bytes, part) === 1
        break
      case schema.tensor.externalData: {
        let key = ''
        let value = ''
        for (const piece of fieldsOf(bytes, part.valueStart, part.end, budget)) {
          if (piece.number === schema.entry.key) key = text(bytes, piece)
          if (piece.number === schema.entry.value) value = text(bytes, piece)
        }
        if (key === 'location' || key === 'offset' || key === 'length') entries.set(key, value)
        break
      }
      default: {
        if (!dataFields.includes(part.number)) break
        const length = part.end - part.valueStart
        const same = data.get(part.number)
        if (same) {
          same.count++
          same.length += length
        } else data.set(part.number, { first: part, count: 1, length })
      }
    }
  }
  const where = `tensor '${name}' (at byte ${field.start})`
  if (
    dims.some((dim) => dim < 0 || !Number.isSafeInteger(dim)) ||
    !Number.isSafeInteger(elementCount(dims) * 16)
  )
    throw new UserError(
      `${where} has an impossible shape [${dims.slice(0, 8).join(', ')}]; the file is damaged: fetch or export it again`,
    )
  const dataType = dataTypeOfOnnx(code)
  if (dataType === undefined)
    throw new UserError(
      `${where} has the element type ${code}, which no released ONNX defines; is the file from a newer release?`,
    )
  const length = byteLengthOf(dataType, dims)
  const mismatch = (got: string) =>
    new UserError(
      `${where} of ${dataType} [${dims.join(', ')}] needs ${length} bytes, the file holds ${got}; it may be truncated`,
    )

  if (isExternal) {
    const location = entries.get('location') ?? ''
    const offset = Number(entries.get('offset') ?? 0)
    const declared = Number(entries.get('length') ?? length)
    if (!external)
      throw new UserError(`${where} lies in the external file '${location}'; open the model from its folder`)
    if (!Number.isSafeInteger(offset) || offset < 0)
      throw new UserError(
        `${where} starts at offset '${entries.get('offset')}' of '${location}', expected a whole number of bytes; the file is damaged: export it again`,
      )
    if (!(declared >= length)) throw mismatch(`'${entries.get('length')}' in '${location}'`)
    const stretch = { name, location, offset, length }
    external.require(stretch)
    return { name, tensor: new Tensor(dataType, dims, () => external.read(stretch)) }
  }

  if (dataType === 'string') {
    if (strings.length !== elementCount(dims)) throw mismatch(`${strings.length} strings`)
    return { name, tensor: new Tensor('string', dims, new Uint8Array(), strings) }
  }
  const of = (number: number) => data.get(number)
  const fixed = of(schema.tensor.rawData) ?? of(schema.tensor.floatData) ?? of(schema.tensor.doubleData)
  if (fixed) {
    if (fixed.length !== length) throw mismatch(String(fixed.length))
    const contents =
      fixed.count === 1
        ? payload(bytes, fixed.first)
        : () => concat([...records(bytes, field, fixed)].map((part) => payload(bytes, part)))
    return { name, tensor: new Tensor(dataType, dims, contents) }
  }
  const integers = integerFields.map(of).find((found) => found !== undefined)
  // A varint takes at least a byte, so this bounds what decoding will allocate.
  const most = integers?.length ?? 0
  const stored = dataTypes[dataType].bits < 8 ? length : elementCount(dims)
  if (most < stored) throw mismatch(`at most ${most} integers`)
  const parts = () => (integers ? records(bytes, field, integers) : [])
  return {
    name,
    tensor: new Tensor(dataType, dims, () => decodeIntegers(bytes, parts(), dataType, stored, mismatch)),
  }
}

/** The records of a data field, found again: a field of many records is rare and may be made to exhaust memory. */
function* records(bytes: Uint8Array, tensor: Field, { first, count }: Records): Generator<Field> {
  if (count === 1) yield first
  else
    for (const part of fieldsOf(bytes, tensor.valueStart, tensor.end))
      if (part.number === first.number) yield part
}

function decodeIntegers(
  bytes: Uint8Array,
  fields: Iterable<Field>,
  dataType: DataType,
  count: number,
  mismatch: (got: string) => UserError,
): Uint8Array {
  const width = Math.max(1, dataTypes[dataType].bits / 8)
  const out = new Uint8Array(count * width)
  const view = new DataView(out.buffer)
  let n = 0
  for (const field of fields)
    for (const value of varints(bytes, field)) {
      if (n === count) throw mismatch(`more than ${count} integers`)
      if (width === 8) view.setBigInt64(n * 8, BigInt.asIntN(64, value), true)
      else if (width === 4) view.setInt32(n * 4, Number(BigInt.asIntN(32, value)), true)
      else if (width === 2) view.setUint16(n * 2, Number(BigInt.asUintN(16, value)), true)
      else out[n] = Number(BigInt.asUintN(8, value))
      n++
    }
  if (n !== count) throw mismatch(`${n} integers`)
  return out
}

/** Writes `tensor` as the fields of a TensorProto. */
export function writeTensor(out: MessageWriter, name: string, tensor: Tensor): void {
  for (const dim of tensor.dims) out.int(schema.tensor.dims, dim)
  out.int(schema.tensor.dataType, dataTypes[tensor.dataType].onnx)
  if (name) out.string(schema.tensor.name, name)
  if (tensor.strings)
    for (const value of tensor.strings) out.bytes(schema.tensor.stringData, new TextEncoder().encode(value))
  else out.bytes(schema.tensor.rawData, tensor.bytes)
}

/** The same of a tensor whose data is the whole of the file `location`. */
export function writeExternalTensor(
  out: MessageWriter,
  name: string,
  tensor: Tensor,
  location: string,
): void {
  const s = schema.tensor
  for (const dim of tensor.dims) out.int(s.dims, dim)
  out.int(s.dataType, dataTypes[tensor.dataType].onnx).string(s.name, name)
  for (const [key, value] of [
    ['location', location],
    ['offset', '0'],
    ['length', String(tensor.bytes.length)],
  ] as const)
    out.message(s.externalData, (entry) => {
      entry.string(schema.entry.key, key).string(schema.entry.value, value)
    })
  out.int(s.dataLocation, 1)
}

/**
 * The record of an existing TensorProto with other contents of the same type and size. Data goes into the field that
 * held it (external data becomes embedded); name, documentation and unknown fields stay.
 */
export function replaceContents(bytes: Uint8Array, field: Field, tensor: Tensor): Uint8Array {
  const out = new MessageWriter()
  const s = schema.tensor
  const replaced: readonly number[] = [...dataFields, s.externalData, s.dataLocation]
  const inner = new MessageWriter()
  let written = false
  for (const part of fieldsOf(bytes, field.valueStart, field.end)) {
    if (!replaced.includes(part.number)) {
      inner.raw(bytes.subarray(part.start, part.end))
      continue
    }
    if (written) continue
    written = true
    const typed =
      (part.number === s.floatData && tensor.dataType === 'float32') ||
      (part.number === s.doubleData && tensor.dataType === 'float64')
    inner.bytes(typed ? part.number : s.rawData, tensor.bytes)
  }
  if (!written) inner.bytes(s.rawData, tensor.bytes)
  return concat(out.bytes(field.number, concat(inner.finish())).finish())
}
