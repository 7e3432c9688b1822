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
import { concat, type Field, fieldsOf, integer, MessageWriter, payload, text, varints } from './wire.ts'

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

const maxRank = 256

/** The tensor in a TensorProto record. Its data stays where it is until asked for; sizes are checked at once. */
export function readTensor(
  bytes: Uint8Array,
  field: Field,
  external: ExternalData | undefined,
): { name: string; tensor: Tensor } {
  let name = ''
  let code = 0
  let isExternal = false
  const dims: number[] = []
  const data = new Map<number, Field[]>()
  const entries = new Map<string, string>()
  for (const part of fieldsOf(bytes, field.valueStart, field.end)) {
    switch (part.number) {
      case schema.tensor.dims:
        if (part.wireType === 2) for (const dim of varints(payload(bytes, part))) dims.push(Number(dim))
        else dims.push(integer(bytes, part))
        break
      case schema.tensor.dataType:
        code = integer(bytes, part)
        break
      case schema.tensor.name:
        name = text(bytes, part)
        break
      case schema.tensor.dataLocation:
        isExternal = integer(bytes, part) === 1
        break
      case schema.tensor.externalData: {
        let key = ''
        let value = ''
        for (const piece of fieldsOf(bytes, part.valueStart, part.end)) {
          if (piece.number === schema.entry.key) key = text(bytes, piece)
          if (piece.number === schema.entry.value) value = text(bytes, piece)
        }
        entries.set(key, value)
        break
      }
      default: {
        const same = data.get(part.number)
        if (same) same.push(part)
        else data.set(part.number, [part])
      }
    }
  }
  const where = `tensor '${name}' (at byte ${field.start})`
  if (
    dims.length > maxRank ||
    dims.some((dim) => dim < 0 || !Number.isSafeInteger(dim)) ||
    !Number.isSafeInteger(elementCount(dims) * 16)
  )
    throw new UserError(`${where} has an impossible shape [${dims.slice(0, 8).join(', ')}]`)
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
    if (!external)
      throw new UserError(`${where} lies in the external file '${location}'; open the model from its folder`)
    const declared = Number(entries.get('length') ?? length)
    if (!Number.isSafeInteger(offset) || offset < 0 || declared < length)
      throw mismatch(`${declared} in '${location}'`)
    const stretch = { name, location, offset, length }
    external.require(stretch)
    return { name, tensor: new Tensor(dataType, dims, () => external.read(stretch)) }
  }

  if (dataType === 'string') {
    const strings = (data.get(schema.tensor.stringData) ?? []).map((part) => text(bytes, part))
    if (strings.length !== elementCount(dims)) throw mismatch(`${strings.length} strings`)
    return { name, tensor: new Tensor('string', dims, new Uint8Array(), strings) }
  }
  const raw = data.get(schema.tensor.rawData)
  const fixed = data.get(schema.tensor.floatData) ?? data.get(schema.tensor.doubleData)
  if (raw || fixed) {
    const parts = (raw ?? fixed)!.map((part) => payload(bytes, part))
    const got = parts.reduce((sum, part) => sum + part.length, 0)
    if (got !== length) throw mismatch(String(got))
    return { name, tensor: new Tensor(dataType, dims, parts.length === 1 ? parts[0]! : () => concat(parts)) }
  }
  const integers =
    data.get(schema.tensor.int32Data) ??
    data.get(schema.tensor.int64Data) ??
    data.get(schema.tensor.uint64Data) ??
    []
  // A varint takes at least a byte, so this bounds what decoding will allocate.
  const most = integers.reduce((sum, part) => sum + part.end - part.valueStart, 0)
  const stored = dataTypes[dataType].bits < 8 ? length : elementCount(dims)
  if (most < stored) throw mismatch(`at most ${most} integers`)
  return {
    name,
    tensor: new Tensor(dataType, dims, () => decodeIntegers(bytes, integers, dataType, stored, mismatch)),
  }
}

function decodeIntegers(
  bytes: Uint8Array,
  fields: readonly Field[],
  dataType: DataType,
  count: number,
  mismatch: (got: string) => UserError,
): Uint8Array {
  const width = Math.max(1, dataTypes[dataType].bits / 8)
  const out = new Uint8Array(count * width)
  const view = new DataView(out.buffer)
  let n = 0
  for (const field of fields)
    for (const value of varints(payload(bytes, field))) {
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

/**
 * The record of an existing TensorProto with other contents of the same type and size. Data goes into the field that
 * held it (external data becomes embedded); name, documentation and unknown fields stay.
 */
export function replaceContents(bytes: Uint8Array, field: Field, tensor: Tensor): Uint8Array {
  const out = new MessageWriter()
  const s = schema.tensor
  const dataFields: number[] = [
    s.floatData,
    s.int32Data,
    s.rawData,
    s.doubleData,
    s.externalData,
    s.dataLocation,
  ]
  const inner = new MessageWriter()
  let written = false
  for (const part of fieldsOf(bytes, field.valueStart, field.end)) {
    if (!dataFields.includes(part.number)) {
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
