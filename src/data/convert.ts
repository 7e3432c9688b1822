import { UserError } from '../ir/errors.ts'
import {
  aligned,
  byteLengthOf,
  type DataType,
  dataTypes,
  elementCount,
  isFloat,
  numberToBfloat16,
  numberToFloat16,
  Tensor,
} from '../ir/tensor.ts'

/** Converts a batch whose sample i is number `numberOf(i)` of its dataset. */
export type Convert = (batch: Tensor, numberOf: (i: number) => number) => Tensor

export interface Conversion {
  /** For messages: where the values come from, and which input of the model they are for. */
  readonly where: string
  readonly input: string
  readonly from: DataType
  readonly to: DataType
  /** Shape of a converted sample. */
  readonly shape: readonly number[]
  /** Which element of the given sample stands at each place of the converted one; undefined: the same. */
  readonly order: Int32Array | undefined
  readonly channels: number
  /** The channel of each place of a converted sample; undefined if there is only one. */
  readonly channelOf: Int32Array | undefined
  /** y = (x * scale - mean) / std, or (x / 255 - mean) / std; mean and std hold one number, or one a channel. */
  readonly scale: number | 'byte' | undefined
  readonly mean: readonly number[] | undefined
  readonly std: readonly number[] | undefined
}

type Numbers =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array

const arrays = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
} as const

/** Largest whole numbers of each type; those of 64 bits as far as float64 counts them exactly. */
const wholeRange: Partial<Record<DataType, readonly [number, number]>> = {
  bool: [0, 1],
  int8: [-128, 127],
  uint8: [0, 255],
  int16: [-32768, 32767],
  uint16: [0, 65535],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint64: [0, Number.MAX_SAFE_INTEGER],
}

/** From here on rounding to the type gives infinity. */
const floatLimit: Partial<Record<DataType, number>> = {
  float16: 65520,
  bfloat16: 2 ** 128 * (1 - 2 ** -9),
  float32: 2 ** 128 * (1 - 2 ** -25),
  float64: Number.POSITIVE_INFINITY,
}

/**
 * Converts batches as `conversion` says. The result throws a UserError for the first sample with a value that is not
 * finite or does not fit the type. Throws a UserError at once for types that data cannot be converted to.
 */
export function converter(conversion: Conversion): Convert {
  const { where, input, from, to, shape, order, channels, channelOf, scale, mean, std } = conversion
  if (!wholeRange[to] && !floatLimit[to])
    throw new UserError(
      `input '${input}' of the model takes ${to}, to which data cannot be converted; ` +
        'export the model with an input of float32 or another plain number type',
    )
  const length = elementCount(shape)
  const isScaled = scale !== undefined || mean !== undefined || std !== undefined
  const means = perChannel(mean, channels, 0)
  const stds = perChannel(std, channels, 1)
  const scaled = (value: number, channel: number): number => {
    const plain = scale === 'byte' ? value / 255 : value * (scale ?? 1)
    return (plain - means[channel]!) / stds[channel]!
  }
  const fits = fitsTo(to)
  const refuse = (value: number, element: number, numberOf: (i: number) => number): UserError => {
    const sample = numberOf(Math.floor(element / length))
    if (!Number.isFinite(value))
      return new UserError(
        `${where} holds ${Number.isNaN(value) ? 'NaN' : value} in sample ${sample}, expected finite numbers; ` +
          'clean the data, or leave that sample out',
      )
    return new UserError(
      `${where} holds ${value} in sample ${sample}, which does not fit input '${input}' of type ${to}; ` +
        'scale the data, or export the model with an input of float32',
    )
  }

  if (from === to && !isScaled && !order) {
    return (batch, numberOf) => {
      if (isFloat(to)) {
        const values = numbersOf(batch)
        for (let i = 0; i < values.length; i++)
          if (!Number.isFinite(values[i]!)) throw refuse(values[i]!, i, numberOf)
      }
      return new Tensor(to, [batch.dims[0]!, ...shape], batch.bytes)
    }
  }

  // Bytes take 256 values a channel: what becomes of each is worked out once.
  const table = from === 'uint8' && isFloat(to) ? byteTable(to, channels, scaled, fits) : undefined

  return (batch, numberOf) => {
    const count = batch.dims[0]!
    const values = numbersOf(batch)
    const given = values.length / count
    const dims = [count, ...shape]
    const bytes = new Uint8Array(byteLengthOf(to, dims))
    if (table) {
      const out = storageOf(to, bytes)
      for (let sample = 0; sample < count; sample++)
        for (let i = 0; i < length; i++) {
          const value = values[sample * given + (order ? order[i]! : i)]!
          out[sample * length + i] = table[channelOf ? channelOf[i]! * 256 + value : value]!
        }
      return new Tensor(to, dims, bytes)
    }
    const write = writer(to, bytes)
    for (let sample = 0; sample < count; sample++)
      for (let i = 0; i < length; i++) {
        const value = values[sample * given + (order ? order[i]! : i)]!
        const result = isScaled ? scaled(value, channelOf ? channelOf[i]! : 0) : value
        if (!fits(result)) throw refuse(value, sample * length + i, numberOf)
        write(sample * length + i, result)
      }
    return new Tensor(to, dims, bytes)
  }
}

function perChannel(values: readonly number[] | undefined, channels: number, otherwise: number): number[] {
  return Array.from({ length: channels }, (_, i) => values?.[values.length === 1 ? 0 : i] ?? otherwise)
}

function fitsTo(type: DataType): (value: number) => boolean {
  const limit = floatLimit[type]
  if (limit !== undefined) return (value) => value < limit && value > -limit
  const [low, high] = wholeRange[type]!
  return (value) => value >= low && value <= high && Number.isInteger(value)
}

/** The numbers of a tensor, without a copy where the machine can read them as they lie. */
function numbersOf(tensor: Tensor): Numbers {
  if (!(tensor.dataType in arrays)) return tensor.toNumbers()
  const array = arrays[tensor.dataType as keyof typeof arrays]
  const bytes = aligned(tensor.bytes, array.BYTES_PER_ELEMENT)
  return new array(bytes.buffer as ArrayBuffer, bytes.byteOffset, tensor.size)
}

/** The bytes as elements of a type, halves as their bits. */
function storageOf(type: DataType, bytes: Uint8Array): Numbers {
  const array = dataTypes[type].bits === 16 ? Uint16Array : arrays[type as keyof typeof arrays]
  return new array(bytes.buffer as ArrayBuffer)
}

function writer(type: DataType, bytes: Uint8Array): (at: number, value: number) => void {
  if (type === 'int64' || type === 'uint64') {
    const out = new BigInt64Array(bytes.buffer as ArrayBuffer)
    return (at, value) => {
      out[at] = BigInt(value)
    }
  }
  const out =
    type in arrays
      ? new arrays[type as keyof typeof arrays](bytes.buffer as ArrayBuffer)
      : storageOf(type, bytes)
  const bitsOf = type === 'float16' ? numberToFloat16 : type === 'bfloat16' ? numberToBfloat16 : undefined
  return (at, value) => {
    out[at] = bitsOf ? bitsOf(value) : value
  }
}

/** Undefined if a value does not fit, for the slow way to find the sample that holds it. */
function byteTable(
  to: DataType,
  channels: number,
  scaled: (value: number, channel: number) => number,
  fits: (value: number) => boolean,
): Numbers | undefined {
  const values = Array.from({ length: channels * 256 }, (_, i) => scaled(i % 256, Math.floor(i / 256)))
  return values.every(fits) ? storageOf(to, Tensor.of(to, [values.length], values).bytes) : undefined
}
