import { type Dim, intAttribute, intsAttribute } from '../ir/model.ts'
import type { Known, TypeContext } from './define-op.ts'

/** Shapes with this many elements are followed element by element (`Known.contents`). */
export const maxContents = 1024

export type Shape = readonly Dim[]

/** The shape of a broadcast of all: undefined if one rank is unknown. Dims that may or may not be 1 stay unknown. */
export function broadcastShapes(shapes: readonly (Shape | undefined)[]): Shape | undefined {
  if (shapes.some((shape) => shape === undefined)) return undefined
  const known = shapes as readonly Shape[]
  const rank = Math.max(0, ...known.map((shape) => shape.length))
  return Array.from({ length: rank }, (_, axis) =>
    known
      .map((shape) => (axis < rank - shape.length ? 1 : shape[axis - rank + shape.length]))
      .reduce(broadcastDims, 1),
  )
}

function broadcastDims(a: Dim, b: Dim): Dim {
  if (a === 1) return b
  if (b === 1 || a === b) return a
  if (typeof a === 'number') return a
  if (typeof b === 'number') return b
  return undefined
}

/** `axis` counted from the front; undefined if it lies outside. */
export function axisOf(axis: number, rank: number): number | undefined {
  const counted = axis < 0 ? axis + rank : axis
  return counted >= 0 && counted < rank ? counted : undefined
}

export function axesOf(axes: readonly number[], rank: number): readonly number[] | undefined {
  const counted = axes.map((axis) => axisOf(axis, rank))
  return counted.every((axis) => axis !== undefined) ? counted : undefined
}

/** The product, with one name at most: undefined if it is not known. */
export function productOf(dims: Shape): Dim {
  let numbers = 1
  let name: Dim
  for (const dim of dims) {
    if (dim === 0) return 0
    if (typeof dim === 'number') numbers *= dim
    else if (dim === undefined || name !== undefined) name = ''
    else name = dim
  }
  if (name === undefined) return numbers
  return numbers === 1 && name !== '' ? name : undefined
}

/** `dims` divided by `divisors`, where names that occur in both cancel; undefined if it is not known. */
export function quotientOf(dims: Shape, divisors: Shape): Dim {
  const rest = [...dims]
  const left: Dim[] = []
  for (const divisor of divisors) {
    const same = typeof divisor === 'string' ? rest.indexOf(divisor) : -1
    if (same >= 0) rest.splice(same, 1)
    else left.push(divisor)
  }
  const product = productOf(rest)
  const divisor = productOf(left)
  if (divisor === 1) return product
  if (typeof product !== 'number' || typeof divisor !== 'number' || divisor === 0) return undefined
  return product % divisor === 0 ? product / divisor : undefined
}

/** Contents that are all numbers. */
export function numbersIn(known: Known | undefined): readonly number[] | undefined {
  const contents = known?.contents
  return contents?.every((dim) => typeof dim === 'number') ? (contents as readonly number[]) : undefined
}

/** Number of elements of a vector, a scalar counting as one. */
export function lengthOf(known: Known | undefined): Dim {
  if (known?.contents) return known.contents.length
  return known?.shape ? productOf(known.shape) : undefined
}

/** An integer list that is an attribute in early versions and an input since: the list, or undefined if not known. */
export function intsFrom(
  { node, inputs }: TypeContext,
  attribute: string,
  index: number,
): { given: boolean; values: readonly number[] | undefined } {
  const values = intsAttribute(node, attribute)
  if (values) return { given: true, values }
  const single = intAttribute(node, attribute)
  if (single !== undefined) return { given: true, values: [single] }
  if (node.inputs[index]) return { given: true, values: numbersIn(inputs[index]) }
  return { given: false, values: undefined }
}

/** `count` unknown dims or contents. Throws a RangeError for a count that cannot be. */
export function unknownShape(count: number): Shape {
  if (!(count >= 0 && count <= maxContents)) throw new RangeError(`no shape has ${count} dimensions`)
  return new Array<Dim>(count).fill(undefined)
}

/** The first input's type, as most elementwise operators have it. */
export const sameAsInput = ({ inputs }: TypeContext): readonly Known[] => [
  { dataType: inputs[0]?.dataType, shape: inputs[0]?.shape },
]

/** The broadcast of all inputs with the element type of the first that has one. */
export const broadcastOfInputs = ({ inputs }: TypeContext): readonly Known[] => [
  {
    dataType: inputs.find((input) => input.dataType)?.dataType,
    shape: broadcastShapes(inputs.map((input) => input.shape)),
  },
]

/** Row-major element count of the part of `shape` from `from` to before `to`. */
export const extent = (shape: readonly number[], from: number, to = shape.length): number => {
  let n = 1
  for (let i = from; i < to; i++) n *= shape[i]!
  return n
}
