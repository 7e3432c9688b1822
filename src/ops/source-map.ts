import type { GraphBuilder } from '../ir/builder.ts'
import { type DataType, Tensor } from '../ir/tensor.ts'
import { extent } from './shapes.ts'

/** One axis of a result, made from one axis of a value: element `i` is the weighted sum of `sources[i]`. */
export interface SourceMap {
  readonly axis: number
  /** Size of the axis of the value. */
  readonly size: number
  /** For every element of the result where it comes from; empty for one that comes from nowhere. */
  readonly sources: readonly (readonly { readonly at: number; readonly weight: number }[])[]
}

/** Matrices with more elements than this are not made; elements are scattered instead. */
const maxMatrix = 1 << 20

export interface MappedValue {
  readonly value: string
  readonly shape: readonly number[]
}

/**
 * The gradient through a map of one axis: what every element of the result passes back to its sources. A product with
 * the map as a matrix, which moves no axis; for long axes elements are scattered one by one.
 */
export function throughMap(
  build: GraphBuilder,
  { value, shape }: MappedValue,
  { axis, size, sources }: SourceMap,
  dataType: DataType,
): MappedValue {
  const result = shape.with(axis, size)
  const outer = extent(shape, 0, axis)
  const inner = extent(shape, axis + 1)
  const flat = build.reshape(value, [outer, sources.length, inner])
  if (size * sources.length <= maxMatrix) {
    const matrix = new Float64Array(size * sources.length)
    for (const [to, taken] of sources.entries())
      for (const { at, weight } of taken) matrix[at * sources.length + to]! += weight
    const constant = build.constant(Tensor.of(dataType, [size, sources.length], matrix), 'map')
    return { value: build.reshape(build.op('MatMul', [constant, flat]), result), shape: result }
  }
  const zeros = build.op('ConstantOfShape', [build.ints([size, outer, inner])], {
    value: Tensor.of(dataType, [1], [0]),
  })
  const moved = build.op('Transpose', [flat], { perm: [1, 0, 2] })
  let sum = zeros
  // One pass for each of the sources that elements have.
  for (let nth = 0; nth < Math.max(...sources.map((taken) => taken.length)); nth++) {
    const has = sources.flatMap((taken, to) => {
      const source = taken[nth]
      return source ? [{ to, at: source.at, weight: source.weight }] : []
    })
    const weights = Tensor.of(
      dataType,
      [has.length, 1, 1],
      has.map(({ weight }) => weight),
    )
    const all = has.length === sources.length
    const updates = all
      ? moved
      : build.op('Gather', [moved, build.ints(has.map(({ to }) => to))], { axis: 0 })
    const at = build.constant(
      Tensor.int64(
        [has.length, 1],
        has.map((source) => source.at),
      ),
      'at',
    )
    const weighted = has.every(({ weight }) => weight === 1)
      ? updates
      : build.mul(updates, build.constant(weights, 'weights'))
    sum = build.op('ScatterND', [sum, at, weighted], { reduction: 'add' })
  }
  return { value: build.reshape(build.op('Transpose', [sum], { perm: [1, 0, 2] }), result), shape: result }
}

/** A map whose elements each come from one element, or from nowhere (undefined). */
export const pickedFrom = (
  axis: number,
  size: number,
  sources: readonly (number | undefined)[],
): SourceMap => ({
  axis,
  size,
  sources: sources.map((at) => (at === undefined ? [] : [{ at, weight: 1 }])),
})

export interface Border {
  readonly before: number
  readonly after: number
}

/** A value with zeros put around it, or with elements taken away where a border is negative. */
export function bordered(
  build: GraphBuilder,
  value: string,
  borders: readonly Border[],
  zero: string,
): string {
  const axes = borders.flatMap(({ before, after }, axis) => (before !== 0 || after !== 0 ? [axis] : []))
  if (axes.length === 0) return value
  if (axes.every((axis) => borders[axis]!.before <= 0 && borders[axis]!.after <= 0))
    return build.op('Slice', [
      value,
      build.ints(axes.map((axis) => -borders[axis]!.before)),
      build.ints(axes.map((axis) => (borders[axis]!.after === 0 ? 2 ** 31 : borders[axis]!.after))),
      build.ints(axes),
    ])
  const pads = [...borders.map(({ before }) => before), ...borders.map(({ after }) => after)]
  return build.op('Pad', [value, build.ints(pads), zero])
}
