import { z } from 'zod'
import { UserError } from '../../ir/errors.ts'
import { byteLengthOf, type DataType } from '../../ir/tensor.ts'
import { allOf, type Parts } from '../../platform/parts.ts'
import { defineFormat } from '../define-format.ts'
import { replacementsOf } from './edits.ts'
import { normsOfState, withoutGraph } from './state.ts'
import { contiguousStrides, type Storage, type StoredTensor } from './storage.ts'

/** The format itself allows no longer header. */
const maxHeaderBytes = 100_000_000

const dataTypes: Readonly<Record<string, DataType>> = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U64: 'uint64',
  U32: 'uint32',
  U16: 'uint16',
  U8: 'uint8',
  BOOL: 'bool',
  F8_E4M3: 'float8e4m3fn',
  F8_E5M2: 'float8e5m2',
}

const entry = z.object({
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
})

/** Bytes of the header, which begins at byte 8 with a brace. */
function headerLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < 10 || bytes[8] !== 0x7b) return undefined
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
  return length >= 2n && length <= BigInt(maxHeaderBytes) ? Number(length) : undefined
}

/**
 * safetensors: a JSON header of names, types, shapes and offsets, then raw tensors. As a state dictionary of PyTorch.
 * Source: github.com/huggingface/safetensors, "Format".
 */
export const safetensors = defineFormat({
  id: 'safetensors',
  name: 'safetensors state dictionary',
  support: {
    reads: 'tensors by name',
    runs: 'no: it holds no graph',
    repairs: 'running statistics that were found elsewhere (`fix --from`)',
    writes: 'the statistics that changed, all else as it was',
  },
  readsParts: true,
  detect: (head) => headerLength(head) !== undefined,
  async read(file, path) {
    const tensors = readHeader(file)
    const { model, stored } = normsOfState(tensors, 'safetensors')
    return {
      path,
      sizeBytes: file.sizeBytes,
      model,
      withoutGraph,
      companions: [],
      write(edits) {
        const changes = replacementsOf(edits, model, stored).map(({ view, tensor }) => ({
          at: Number(view.storage.key),
          bytes: tensor.bytes,
        }))
        const bytes = allOf(file)
        const chunks: Uint8Array[] = []
        let done = 0
        for (const change of new Map(changes.sort((a, b) => a.at - b.at).map((c) => [c.at, c])).values()) {
          chunks.push(bytes.subarray(done, change.at), change.bytes)
          done = change.at + change.bytes.length
        }
        return done === 0 ? [bytes] : [...chunks, bytes.subarray(done)]
      },
    }
  },
})

/** The tensors by name; each is a storage of its own, called after its place in the file. */
function readHeader(file: Parts): Map<string, StoredTensor> {
  const { sizeBytes } = file
  const length = headerLength(file.read(0, 10))!
  const start = 8 + length
  if (start > sizeBytes)
    throw new UserError(
      `its header claims ${length} bytes, the file holds ${sizeBytes - 8}; fetch or save it again`,
    )
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder().decode(file.read(8, length)))
  } catch (error) {
    throw new UserError(`its header is no JSON (${(error as Error).message}); fetch or save the file again`)
  }
  const tensors = new Map<string, StoredTensor>()
  for (const [name, held] of Object.entries(header as Record<string, unknown>)) {
    if (name === '__metadata__') continue
    const parsed = entry.safeParse(held)
    const dataType = parsed.success ? dataTypes[parsed.data.dtype] : undefined
    // Types that no batch normalization has.
    if (parsed.success && !dataType) continue
    if (!parsed.success || !dataType)
      throw new UserError(
        `tensor '${name}' has no type, shape and offsets in the header; fetch or save the file again`,
      )
    const {
      shape,
      data_offsets: [from, to],
    } = parsed.data
    if (to < from || start + to > sizeBytes || to - from !== byteLengthOf(dataType, shape))
      throw new UserError(
        `tensor '${name}' of ${dataType} [${shape.slice(0, 8).join(', ')}] claims bytes ${from} to ${to} of ${sizeBytes - start}, expected ${byteLengthOf(dataType, shape)}; fetch or save the file again`,
      )
    const storage: Storage = {
      key: String(start + from),
      sizeBytes: to - from,
      read: () => file.read(start + from, to - from),
    }
    tensors.set(name, { name, dataType, sizes: shape, strides: contiguousStrides(shape), offset: 0, storage })
  }
  return tensors
}
