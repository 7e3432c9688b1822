import { UserError } from './errors.ts'

/** Element types of ONNX tensors, under the names that NumPy and ONNX Runtime use. */
export const dataTypes = {
  float32: { bits: 32, onnx: 1 },
  uint8: { bits: 8, onnx: 2 },
  int8: { bits: 8, onnx: 3 },
  uint16: { bits: 16, onnx: 4 },
  int16: { bits: 16, onnx: 5 },
  int32: { bits: 32, onnx: 6 },
  int64: { bits: 64, onnx: 7 },
  string: { bits: 0, onnx: 8 },
  bool: { bits: 8, onnx: 9 },
  float16: { bits: 16, onnx: 10 },
  float64: { bits: 64, onnx: 11 },
  uint32: { bits: 32, onnx: 12 },
  uint64: { bits: 64, onnx: 13 },
  complex64: { bits: 64, onnx: 14 },
  complex128: { bits: 128, onnx: 15 },
  bfloat16: { bits: 16, onnx: 16 },
  float8e4m3fn: { bits: 8, onnx: 17 },
  float8e4m3fnuz: { bits: 8, onnx: 18 },
  float8e5m2: { bits: 8, onnx: 19 },
  float8e5m2fnuz: { bits: 8, onnx: 20 },
  uint4: { bits: 4, onnx: 21 },
  int4: { bits: 4, onnx: 22 },
  float4e2m1: { bits: 4, onnx: 23 },
  float8e8m0: { bits: 8, onnx: 24 },
  uint2: { bits: 2, onnx: 25 },
  int2: { bits: 2, onnx: 26 },
} as const

export type DataType = keyof typeof dataTypes

const byOnnxCode = new Map(
  Object.entries(dataTypes).map(([name, { onnx }]) => [onnx as number, name as DataType]),
)

/** The element type with ONNX's number `code`, or undefined if no released ONNX defines it. */
export const dataTypeOfOnnx = (code: number): DataType | undefined => byOnnxCode.get(code)

export const isFloat = (type: DataType): boolean =>
  type === 'float32' || type === 'float16' || type === 'float64' || type === 'bfloat16'

/** Number of elements of a tensor of shape `dims`; 1 for a scalar. */
export const elementCount = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1)

/** Bytes that a tensor of this type and shape occupies (sub-byte types are packed). */
export const byteLengthOf = (type: DataType, dims: readonly number[]): number =>
  Math.ceil((elementCount(dims) * dataTypes[type].bits) / 8)

/**
 * An immutable array: element type, shape, and row-major little-endian bytes.
 * The bytes may be a view into the file that they came from, and may be fetched only when first asked for.
 * Tensors of type `string` have no bytes; their elements are in `strings`.
 */
export class Tensor {
  readonly dataType: DataType
  readonly dims: readonly number[]
  readonly strings: readonly string[] | undefined
  #bytes: Uint8Array | (() => Uint8Array)

  constructor(
    dataType: DataType,
    dims: readonly number[],
    bytes: Uint8Array | (() => Uint8Array),
    strings?: readonly string[],
  ) {
    this.dataType = dataType
    this.dims = dims
    this.strings = strings
    this.#bytes = bytes
  }

  /** Number of elements. */
  get size(): number {
    return elementCount(this.dims)
  }

  get bytes(): Uint8Array {
    if (typeof this.#bytes === 'function') this.#bytes = this.#bytes()
    return this.#bytes
  }

  /** All elements as float64 (int64 beyond 2^53 loses digits). Throws a UserError for types without plain numbers. */
  toNumbers(): Float64Array {
    return decodeNumbers(this.dataType, this.bytes, this.size)
  }

  /** A tensor of this type holding `values`, rounded to it. */
  static of(dataType: DataType, dims: readonly number[], values: ArrayLike<number>): Tensor {
    if (values.length !== elementCount(dims))
      throw new RangeError(
        `a tensor of shape [${dims.join(', ')}] holds ${elementCount(dims)} elements, got ${values.length}`,
      )
    return new Tensor(dataType, dims, encodeNumbers(dataType, values))
  }

  static float32(dims: readonly number[], values: ArrayLike<number>): Tensor {
    return Tensor.of('float32', dims, values)
  }

  static int64(dims: readonly number[], values: ArrayLike<number>): Tensor {
    return Tensor.of('int64', dims, values)
  }
}

const typedArrays = {
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

const wideArrays: readonly DataType[] = ['int64', 'uint64', 'float16', 'bfloat16']

/** Whether elements of this type can be told as plain numbers. */
export const hasNumbers = (type: DataType): boolean => type in typedArrays || wideArrays.includes(type)

/** A copy of `bytes` if they do not start at a multiple of `alignment`, else the same bytes. */
export function aligned(bytes: Uint8Array, alignment: number): Uint8Array {
  // Not bytes.slice(): that of a Node Buffer is a view.
  return bytes.byteOffset % alignment === 0 ? bytes : new Uint8Array(bytes)
}

function decodeNumbers(type: DataType, bytes: Uint8Array, count: number): Float64Array {
  if (type in typedArrays) {
    const TypedArray = typedArrays[type as keyof typeof typedArrays]
    const source = aligned(bytes, TypedArray.BYTES_PER_ELEMENT)
    return Float64Array.from(new TypedArray(source.buffer as ArrayBuffer, source.byteOffset, count))
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const read: Partial<Record<DataType, (i: number) => number>> = {
    int64: (i) => Number(view.getBigInt64(i * 8, true)),
    uint64: (i) => Number(view.getBigUint64(i * 8, true)),
    float16: (i) => float16ToNumber(view.getUint16(i * 2, true)),
    bfloat16: (i) => bfloat16ToNumber(view.getUint16(i * 2, true)),
  }
  const element = read[type]
  if (!element)
    throw new UserError(
      `a tensor of type ${type} stands where plain numbers are expected; export the model with float32 parameters`,
    )
  return Float64Array.from({ length: count }, (_, i) => element(i))
}

function encodeNumbers(type: DataType, values: ArrayLike<number>): Uint8Array {
  if (type in typedArrays) {
    const array = typedArrays[type as keyof typeof typedArrays].from(values)
    return new Uint8Array(array.buffer)
  }
  const bytes = new Uint8Array((values.length * dataTypes[type].bits) / 8)
  const view = new DataView(bytes.buffer)
  const write: Partial<Record<DataType, (i: number, value: number) => void>> = {
    int64: (i, value) => view.setBigInt64(i * 8, toInt64(value), true),
    uint64: (i, value) => view.setBigUint64(i * 8, BigInt(Math.trunc(value)), true),
    float16: (i, value) => view.setUint16(i * 2, numberToFloat16(value), true),
    bfloat16: (i, value) => view.setUint16(i * 2, numberToBfloat16(value), true),
  }
  const element = write[type]
  if (!element) throw new TypeError(`numbers cannot be written as ${type}`)
  for (let i = 0; i < values.length; i++) element(i, values[i]!)
  return bytes
}

/** The whole number, or the nearest that int64 holds: float64 knows the largest only as 2^63. */
export function toInt64(value: number): bigint {
  if (value >= 2 ** 63) return 2n ** 63n - 1n
  return value <= -(2 ** 63) ? -(2n ** 63n) : BigInt(Math.trunc(value))
}

const scratch = new DataView(new ArrayBuffer(4))

export function bfloat16ToNumber(half: number): number {
  scratch.setUint32(0, half << 16)
  return scratch.getFloat32(0)
}

/** Rounds to nearest, ties to even. */
export function numberToBfloat16(value: number): number {
  scratch.setFloat32(0, value)
  const bits = scratch.getUint32(0)
  if (Number.isNaN(value)) return 0x7fc0
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

export function float16ToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >> 10) & 0x1f
  const fraction = half & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** Rounds to nearest, ties to even; beyond 65504 becomes infinity. */
export function numberToFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  if (magnitude >= 65520) return sign | 0x7c00
  if (magnitude < 2 ** -14) return sign | roundToEven(magnitude * 2 ** 24)
  const exponent = Math.min(15, Math.floor(Math.log2(magnitude)))
  const fraction = roundToEven((magnitude / 2 ** exponent - 1) * 1024)
  return sign | (((exponent + 15) << 10) + fraction)
}

function roundToEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  if (rest > 0.5 || (rest === 0.5 && floor % 2 === 1)) return floor + 1
  return floor
}
