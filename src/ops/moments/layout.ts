import type { Dim } from '../../ir/model.ts'
import {
  broadcastIndex,
  collapsed,
  expanded,
  isClosed,
  isQuiet,
  maxEntries,
  quiet,
  rearranged,
  type Spread,
} from './spread.ts'

const isNumber = (dim: Dim): dim is number => typeof dim === 'number'
const product = (dims: readonly number[]) => dims.reduce((n, d) => n * d, 1)

/** Axes moved: axis i of the result is axis order[i] of the value. */
export function transposed(spread: Spread, order: readonly number[]): Spread {
  const dims = order.map((axis) => spread.dims[axis]!)
  const strides = spread.dims.map((_, axis) => product(spread.dims.slice(axis + 1)))
  const index = new Int32Array(product(dims))
  for (let i = 0; i < index.length; i++) {
    let rest = i
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      index[i] = index[i]! + (rest % dims[axis]!) * strides[order[axis]!]!
      rest = Math.floor(rest / dims[axis]!)
    }
  }
  return rearranged(spread, dims, index)
}

/** The same entries under another template. */
export const renamed = (spread: Spread, dims: readonly number[]): Spread =>
  rearranged(
    spread,
    dims,
    Int32Array.from({ length: product(dims) }, (_, i) => i),
  )

/**
 * A value of shape `from` read as shape `to`. Axes are grouped so that each group holds the same elements on both
 * sides; a group in which entries differ is refined to all its elements. Undefined if the groups cannot be told.
 */
export function reshaped(
  spread: Spread,
  from: readonly Dim[] | undefined,
  to: readonly Dim[] | undefined,
): Spread | undefined {
  if (!to) return undefined
  if (spread.dims.every((dim) => dim === 1))
    return renamed(
      spread,
      to.map(() => 1),
    )
  if (!from) return undefined
  const dims = to.map(() => 1)
  const fine = [...spread.dims]
  for (const { a, b } of axisGroups(from, to)) {
    if (a.every((axis) => spread.dims[axis] === 1)) continue
    if (a.length === 1 && b.length === 1) {
      dims[b[0]!] = spread.dims[a[0]!]!
      continue
    }
    const [inSizes, outSizes] = [a.map((axis) => from[axis]), b.map((axis) => to[axis])]
    if (!inSizes.every(isNumber) || !outSizes.every(isNumber)) return undefined
    if (product(inSizes) !== product(outSizes)) return undefined
    for (const axis of a) fine[axis] = from[axis] as number
    for (const axis of b) dims[axis] = to[axis] as number
  }
  if (product(fine) > maxEntries || product(fine) !== product(dims)) return undefined
  return renamed(expanded(spread, fine), dims)
}

/** Splits both shapes into runs of axes that hold the same elements: axes `a` of the first, `b` of the second. */
function axisGroups(from: readonly Dim[], to: readonly Dim[]): { a: number[]; b: number[] }[] {
  const same = (i: number, j: number) => from[i] !== undefined && from[i] === to[j]
  let start = 0
  while (start < from.length && start < to.length && same(start, start)) start++
  let end = 0
  while (
    end < from.length - start &&
    end < to.length - start &&
    same(from.length - 1 - end, to.length - 1 - end)
  )
    end++
  const groups: { a: number[]; b: number[] }[] = []
  for (let axis = 0; axis < start; axis++) groups.push({ a: [axis], b: [axis] })
  let i = start
  let j = start
  const [lastA, lastB] = [from.length - end, to.length - end]
  while (i < lastA || j < lastB) {
    const group = { a: [] as number[], b: [] as number[] }
    let [left, right] = [1, 1]
    let known = true
    const takeA = () => {
      const dim = from[i]
      if (isNumber(dim)) left *= dim
      else known = false
      group.a.push(i++)
    }
    const takeB = () => {
      const dim = to[j]
      if (isNumber(dim)) right *= dim
      else known = false
      group.b.push(j++)
    }
    if (i < lastA) takeA()
    if (j < lastB) takeB()
    while (i < lastA || j < lastB) {
      if (known && left === right && group.a.length > 0 && group.b.length > 0) break
      if (!known || left === right) {
        if (i < lastA) takeA()
        if (j < lastB) takeB()
      } else if (left < right && i < lastA) takeA()
      else if (j < lastB) takeB()
      else takeA()
    }
    groups.push(group)
  }
  for (let k = 0; k < end; k++) groups.push({ a: [lastA + k], b: [lastB + k] })
  return groups
}

/** Entries `picks` along one axis, in that order; an axis with one entry keeps it. */
export function picked(
  spread: Spread,
  axis: number,
  picks: readonly number[] | undefined,
): Spread | undefined {
  const size = spread.dims[axis]!
  if (size === 1) return spread
  if (!picks || picks.some((at) => at < 0 || at >= size)) return undefined
  const dims = spread.dims.with(axis, picks.length)
  const inner = product(dims.slice(axis + 1))
  const index = new Int32Array(product(dims))
  for (let i = 0; i < index.length; i++) {
    const o = Math.floor(i / (inner * picks.length))
    const p = picks[Math.floor(i / inner) % picks.length]!
    index[i] = (o * size + p) * inner + (i % inner)
  }
  return rearranged(spread, dims, index)
}

/** One entry along every axis but `kept`. */
export const along = (spread: Spread, kept: number): Spread =>
  collapsed(
    spread,
    spread.dims.map((dim, axis) => (axis === kept ? dim : 1)),
  )

/** `size` entries along `axis`, where there was one for all or already as many. */
export function refined(spread: Spread, axis: number, size: Dim): Spread | undefined {
  if (spread.dims[axis] === size) return spread
  if (spread.dims[axis] !== 1 || typeof size !== 'number') return undefined
  return expanded(spread, spread.dims.with(axis, size))
}

/** For layout nodes that nothing follows entry by entry: all positions alike. */
export function uniform(spread: Spread, rank: number | undefined): Spread | undefined {
  if (rank === undefined) return undefined
  if (isQuiet(spread) && !isClosed(spread)) return quiet(rank)
  return spread.dims.every((dim) => dim === 1) ? renamed(spread, new Array<number>(rank).fill(1)) : undefined
}

/** The values of a stored tensor as a template of rank `rank` and the entries of `dims` that they hold for. */
export function entriesOf(
  values: ArrayLike<number>,
  shape: readonly number[],
  dims: readonly number[],
): Float64Array {
  const index = broadcastIndex(dims, shape)
  return Float64Array.from(index, (i) => values[i]!)
}
