import { UserError } from '../../ir/errors.ts'
import { elementCount, float16ToNumber, numberToFloat16 } from '../../ir/tensor.ts'
import type { Files } from '../../platform/files.ts'
import { companionOf } from '../companion.ts'
import type { StoredWeight } from '../keras/weights.ts'
import type { WeightSpec } from './model-json.ts'

/** A file that holds a part of the weights' bytes. */
export interface Shard {
  readonly name: string
  readonly path: string
  readonly sizeBytes: number
}

/** A weight and where its bytes lie among those of all shards, one behind the other. */
export interface PlacedWeight extends WeightSpec {
  readonly offset: number
  readonly sizeBytes: number
}

const maxShards = 20_000

const bytesPerElement = { float32: 4, int32: 4, bool: 1, complex64: 8, uint8: 1, uint16: 2, float16: 2 }

/** The weights of a TensorFlow.js model: bytes of all shards, one behind the other, read when they are needed. */
export class ShardedWeights {
  readonly shards: readonly Shard[]
  /** By name. */
  readonly weights: ReadonlyMap<string, PlacedWeight>
  readonly sizeBytes: number
  readonly #files: Files
  /** Where each shard begins. */
  readonly #starts: readonly number[]

  private constructor(files: Files, shards: readonly Shard[], specs: readonly WeightSpec[]) {
    this.#files = files
    this.shards = shards
    let total = 0
    this.#starts = shards.map(({ sizeBytes }) => {
      total += sizeBytes
      return total - sizeBytes
    })
    this.sizeBytes = total
    this.weights = this.#placed(specs)
  }

  /** Throws a UserError if a shard is missing or outside the model's folder, or if they hold another number of bytes. */
  static async open(
    files: Files,
    modelPath: string,
    names: readonly string[],
    specs: readonly WeightSpec[],
  ): Promise<ShardedWeights> {
    if (names.length > maxShards)
      throw new UserError(
        `the weights manifest names ${names.length} shards, expected at most ${maxShards}; no network is like this`,
      )
    const shards: Shard[] = []
    for (const name of names)
      shards.push({ name, ...(await companionOf(files, modelPath, name, 'the weights manifest')) })
    return new ShardedWeights(files, shards, specs)
  }

  #placed(specs: readonly WeightSpec[]): Map<string, PlacedWeight> {
    const weights = new Map<string, PlacedWeight>()
    let all: Uint8Array | undefined
    let offset = 0
    for (const spec of specs) {
      if (spec.dataType === 'string') all ??= this.read(0, this.sizeBytes, spec.name)
      const sizeBytes = spec.dataType === 'string' ? sizeOfTexts(all!, offset, spec.dims) : sizeOf(spec)
      weights.set(spec.name, { ...spec, offset, sizeBytes })
      offset += sizeBytes
      if (!Number.isSafeInteger(offset))
        throw new UserError(`weight '${spec.name}' is declared larger than any file; convert the model again`)
    }
    if (offset !== this.sizeBytes)
      throw new UserError(
        `the weights manifest declares ${offset} bytes of weights, but its ${this.shards.length} shards hold ${this.sizeBytes}: weights would be read from the wrong place; convert the model again, or copy all shards again`,
      )
    return weights
  }

  /** `length` bytes from `offset`, counted over all shards. `name` is the weight that they belong to. */
  read(offset: number, length: number, name: string): Uint8Array {
    const { readRangeSync } = this.#files
    if (!readRangeSync)
      throw new UserError(`the bytes of weight '${name}' cannot be read here; give the shards in memory`)
    const bytes = new Uint8Array(Math.max(0, length))
    for (const { shard, from, to, at } of this.parts(offset, length))
      bytes.set(readRangeSync(shard.path, from, to - from), at)
    return bytes
  }

  /** All bytes of a shard. */
  bytesOf(shard: Shard): Uint8Array {
    const offset = this.#starts[this.shards.indexOf(shard)]!
    return this.read(offset, shard.sizeBytes, shard.name)
  }

  /** Where `length` bytes from `offset` lie: bytes `from` to `to` of a shard hold those from `at` on. */
  parts(offset: number, length: number): { shard: Shard; from: number; to: number; at: number }[] {
    const parts: { shard: Shard; from: number; to: number; at: number }[] = []
    const end = offset + length
    for (let i = this.#shardAt(offset); i < this.shards.length && this.#starts[i]! < end; i++) {
      const [shard, start] = [this.shards[i]!, this.#starts[i]!]
      const from = Math.max(0, offset - start)
      const to = Math.min(shard.sizeBytes, end - start)
      if (from < to) parts.push({ shard, from, to, at: start + from - offset })
    }
    return parts
  }

  /** The last shard that begins at or before `offset`. */
  #shardAt(offset: number): number {
    let [low, high] = [0, this.shards.length]
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (this.#starts[middle]! <= offset) low = middle
      else high = middle
    }
    return low
  }

  /** The numbers of a weight as little-endian float32 or int32 (bool: bytes), unpacked as TensorFlow.js does. */
  contents(weight: PlacedWeight): Uint8Array {
    const stored = this.read(weight.offset, weight.sizeBytes, weight.name)
    if (!weight.quantization) return stored
    return new Uint8Array(unpacked(stored, weight).buffer)
  }
}

/** Texts state their own length, four bytes before each. */
function sizeOfTexts(bytes: Uint8Array, offset: number, dims: readonly number[]): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = offset
  for (let i = elementCount(dims); i > 0 && at <= bytes.length; i--)
    at += 4 + (at + 4 <= bytes.length ? view.getUint32(at, true) : 0)
  return at - offset
}

function sizeOf({ dims, dataType, quantization }: WeightSpec): number {
  return elementCount(dims) * bytesPerElement[quantization?.dataType ?? (dataType as 'float32')]
}

/** Source: `decodeWeights` of TensorFlow.js 4. */
function unpacked(bytes: Uint8Array, { quantization, dataType }: WeightSpec): Float32Array | Int32Array {
  const { dataType: packed, scale, min } = quantization!
  const codes = packed === 'uint8' ? bytes : new Uint16Array(new Uint8Array(bytes).buffer)
  const numbers = dataType === 'int32' ? new Int32Array(codes.length) : new Float32Array(codes.length)
  for (let i = 0; i < codes.length; i++) {
    const value = packed === 'float16' ? float16ToNumber(codes[i]!) : codes[i]! * scale + min
    numbers[i] = dataType === 'int32' ? Math.round(value) : value
  }
  return numbers
}

/** The float32 `bytes` packed as `weight` is stored, or undefined if that cannot hold them as they are. */
export function packed(bytes: Uint8Array, weight: PlacedWeight): Uint8Array | undefined {
  const { quantization } = weight
  if (!quantization) return bytes
  const values = new Float32Array(new Uint8Array(bytes).buffer)
  const { dataType, scale, min } = quantization
  const most = dataType === 'uint8' ? 2 ** 8 - 1 : 2 ** 16 - 1
  const codes = Array.from(values, (value) =>
    dataType === 'float16'
      ? numberToFloat16(value)
      : Math.min(most, Math.max(0, Math.round((value - min) / scale) || 0)),
  )
  const stored = new Uint8Array(
    (dataType === 'uint8' ? Uint8Array.from(codes) : Uint16Array.from(codes)).buffer,
  )
  return unpacked(stored, weight).every((value, i) => Object.is(value, values[i])) ? stored : undefined
}

/** The weight as what reads layers takes it. */
export function storedWeight(weight: PlacedWeight, weights: ShardedWeights): StoredWeight {
  const { name, dataType, dims } = weight
  if (dataType === 'string' || dataType === 'complex64')
    throw new UserError(`weight '${name}' is of type ${dataType}, expected numbers; convert the model again`)
  return { name, dataType, dims, read: () => weights.contents(weight), locator: weight }
}
