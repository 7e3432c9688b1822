import { UserError } from '../ir/errors.ts'
import { byteLengthOf, type DataType, elementCount, Tensor } from '../ir/tensor.ts'

const names: Partial<Record<DataType, string>> = {
  float32: 'F32',
  float64: 'F64',
  float16: 'F16',
  bfloat16: 'BF16',
  int8: 'I8',
  int16: 'I16',
  int32: 'I32',
  int64: 'I64',
  uint8: 'U8',
  bool: 'BOOL',
}
const types = new Map(Object.entries(names).map(([type, name]) => [name, type as DataType]))

/** A header beyond this is refused, as the format's own library does. */
const maxHeaderBytes = 100_000_000

/**
 * Named tensors and a few texts as a safetensors file: the length of a JSON header in eight bytes, the header, then
 * the elements of all tensors. Source: github.com/huggingface/safetensors, format description.
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array[] {
  const header: Record<string, unknown> = { __metadata__: metadata }
  let offset = 0
  for (const [name, tensor] of tensors) {
    const end = offset + tensor.bytes.length
    header[name] = { dtype: names[tensor.dataType], shape: tensor.dims, data_offsets: [offset, end] }
    offset = end
  }
  const text = JSON.stringify(header)
  const bytes = new TextEncoder().encode(text)
  // Padded with spaces, so that elements start at a multiple of eight.
  const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8).fill(0x20)
  padded.set(bytes)
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(padded.length), true)
  return [length, padded, ...[...tensors.values()].map((tensor) => tensor.bytes)]
}

/** Throws a UserError if `bytes` are no whole safetensors file. Tensors are views into `bytes`. */
export function decodeSafetensors(bytes: Uint8Array): {
  readonly tensors: ReadonlyMap<string, Tensor>
  readonly metadata: Readonly<Record<string, string>>
} {
  const damaged = (what: string) => new UserError(`no whole safetensors file: ${what}`)
  if (bytes.length < 8) throw damaged(`it has ${bytes.length} bytes`)
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true))
  if (length > maxHeaderBytes || length > bytes.length - 8)
    throw damaged(`its header is to have ${length} bytes, the file has ${bytes.length}`)
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, 8 + length)))
  } catch {
    throw damaged('its header is no JSON')
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    throw damaged('its header is no object')
  const tensors = new Map<string, Tensor>()
  let metadata: Record<string, string> = {}
  for (const [name, entry] of Object.entries(header as Record<string, Record<string, unknown>>)) {
    if (name === '__metadata__') {
      metadata = Object.fromEntries(Object.entries(entry ?? {}).map(([key, value]) => [key, String(value)]))
      continue
    }
    const type = types.get(String(entry?.dtype))
    const shape = entry?.shape
    const offsets = entry?.data_offsets
    const isList = (list: unknown): list is number[] =>
      Array.isArray(list) && list.every((n) => Number.isSafeInteger(n) && n >= 0)
    if (!type || !isList(shape) || !isList(offsets) || offsets.length !== 2)
      throw damaged(`its entry '${name}' cannot be understood`)
    const [from, to] = offsets as [number, number]
    if (to > bytes.length - 8 - length || to - from !== byteLengthOf(type, shape) || elementCount(shape) < 0)
      throw damaged(`tensor '${name}' does not lie in the file as its header says`)
    tensors.set(name, new Tensor(type, shape, bytes.subarray(8 + length + from, 8 + length + to)))
  }
  return { tensors, metadata }
}
