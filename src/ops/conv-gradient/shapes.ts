import type { GraphBuilder } from '../../ir/builder.ts'
import type { Node } from '../../ir/model.ts'
import { intAttribute } from '../../ir/model.ts'
import { windowOf } from '../window.ts'

/** A convolution whose sizes are all known: x is N x C x D1 ..., the weight K x C/groups x k1 ..., y is N x K x O1 ... */
export interface ConvShapes {
  readonly x: readonly number[]
  readonly weight: readonly number[]
  readonly y: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  /** Padding in front of and behind each axis. */
  readonly before: readonly number[]
  readonly after: readonly number[]
  readonly groups: number
}

/** The shapes of a Conv node. */
export function convShapes(
  node: Node,
  x: readonly number[],
  weight: readonly number[],
  y: readonly number[],
): ConvShapes {
  const window = windowOf(node, weight.slice(2), x.slice(2))
  const { strides, dilations } = window
  const [before, after] = [window.before as number[], window.after as number[]]
  return { x, weight, y, strides, dilations, before, after, groups: intAttribute(node, 'group') ?? 1 }
}

/** A value cut to `sizes` from its beginning, along the axes behind the first two. */
export function cropped(
  build: GraphBuilder,
  value: string,
  sizes: readonly number[],
  wanted: readonly number[],
): string {
  const axes = sizes.flatMap((size, i) => (size === wanted[i] ? [] : [i]))
  if (axes.length === 0) return value
  return build.op('Slice', [
    value,
    build.ints(axes.map(() => 0)),
    build.ints(axes.map((i) => wanted[i]!)),
    build.ints(axes.map((i) => i + 2)),
  ])
}
