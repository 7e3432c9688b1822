import { aligned, type DataType, dataTypes } from '../../ir/tensor.ts'

/** The order that undoes `axes`. */
export const inverseOf = (axes: readonly number[]): number[] => axes.map((_, axis) => axes.indexOf(axis))

/** Row-major `bytes` of shape `dims` with the axes in the order `axes`: axis i of the result is axis axes[i] of it. */
export function permuted(
  bytes: Uint8Array,
  dims: readonly number[],
  axes: readonly number[],
  dataType: DataType,
): Uint8Array {
  const size = dataTypes[dataType].bits / 8
  const out = new Uint8Array(bytes.length)
  const strides = new Array<number>(dims.length).fill(1)
  for (let i = dims.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * dims[i + 1]!
  const outDims = axes.map((axis) => dims[axis]!)
  const outStrides = axes.map((axis) => strides[axis]!)
  const copy = copier(bytes, out, size)
  const last = outDims.length - 1
  const [count, step] = [outDims[last] ?? 1, outStrides[last] ?? 1]
  const index = new Array<number>(outDims.length).fill(0)
  const total = bytes.length / size
  for (let to = 0, from = 0; to < total; to += count) {
    copy(from, to, count, step)
    // The next row: the odometer of all axes but the last.
    for (let axis = last - 1; axis >= 0; axis--) {
      index[axis]!++
      from += outStrides[axis]!
      if (index[axis]! < outDims[axis]!) break
      from -= outStrides[axis]! * outDims[axis]!
      index[axis] = 0
    }
  }
  return out
}

/** Copies `count` elements that lie `step` apart to a run of them. */
function copier(bytes: Uint8Array, out: Uint8Array, size: number) {
  const source = elementsOf(aligned(bytes, size), size)
  const target = elementsOf(out, size)
  return (from: number, to: number, count: number, step: number) => {
    for (let i = 0; i < count; i++) target[to + i] = source[from + i * step]!
  }
}

function elementsOf({ buffer, byteOffset, length }: Uint8Array, size: number): Uint32Array {
  const Elements = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array }[size]
  if (!Elements) throw new RangeError(`elements of ${size} bytes cannot be moved`)
  // What is moved is not looked at: elements of any size are copied alike.
  return new Elements(buffer as ArrayBuffer, byteOffset, length / size) as Uint32Array
}
