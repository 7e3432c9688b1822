import { aligned, type DataType, dataTypes } from '../../ir/tensor.ts'

/** The order that undoes `axes`. */
export const inverseOf = (axes: readonly number[]): number[] => axes.map((_, axis) => axes.indexOf(axis))

/** Elements that lie side by side in the source are moved so many at once: a line of the processor's cache. */
const block = 16

/** Row-major `bytes` of shape `dims` with the axes in the order `axes`: axis i of the result is axis axes[i] of it. */
export function permuted(
  bytes: Uint8Array,
  dims: readonly number[],
  axes: readonly number[],
  dataType: DataType,
): Uint8Array {
  const size = dataTypes[dataType].bits / 8
  const out = new Uint8Array(bytes.length)
  const [source, target] = [elementsOf(aligned(bytes, size), size), elementsOf(out, size)]
  const strides = stridesOf(dims)
  const outDims = axes.map((axis) => dims[axis]!)
  const outStrides = stridesOf(outDims)
  // Runs along the last axis of the source; the other axes in the order of the result, so that it is written in order.
  const run = axes.indexOf(dims.length - 1)
  const [length, step] = [outDims[run] ?? 1, outStrides[run] ?? 1]
  const others = axes.flatMap((axis, i) =>
    i === run ? [] : [{ size: outDims[i]!, from: strides[axis]!, to: outStrides[i]! }],
  )
  const runs = target.length / Math.max(1, length)
  for (let start = 0; start < length; start += block) {
    const end = Math.min(length, start + block)
    const index = others.map(() => 0)
    for (let n = 0, from = 0, to = 0; n < runs; n++) {
      for (let i = start; i < end; i++) target[to + i * step] = source[from + i]!
      // The next run: the odometer of the other axes.
      for (let axis = others.length - 1; axis >= 0; axis--) {
        const other = others[axis]!
        from += other.from
        to += other.to
        if (++index[axis]! < other.size) break
        from -= other.from * other.size
        to -= other.to * other.size
        index[axis] = 0
      }
    }
  }
  return out
}

function stridesOf(dims: readonly number[]): number[] {
  const strides = dims.map(() => 1)
  for (let i = dims.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * dims[i + 1]!
  return strides
}

function elementsOf({ buffer, byteOffset, length }: Uint8Array, size: number): Uint32Array {
  const Elements = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array }[size]
  if (!Elements) throw new RangeError(`elements of ${size} bytes cannot be moved`)
  // What is moved is not looked at: elements of any size are copied alike.
  return new Elements(buffer as ArrayBuffer, byteOffset, length / size) as Uint32Array
}
