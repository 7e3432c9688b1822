import type { GraphBuilder } from '../../ir/builder.ts'
import { elementCount, Tensor } from '../../ir/tensor.ts'

/**
 * The blocked layout of ONNX Runtime's fastest convolutions ("NCHWc"): a value of shape N x C x H x W lies in memory as
 * N x C/block x H x W x block. Its stated shape stays N x C x H x W, so that element-wise operators need not know.
 * A weight of shape K x C x k1 x k2 lies as K/block x C/block x k1 x k2 x block (of C) x block (of K); where C is smaller
 * than a block, as K/block x C x k1 x k2 x block.
 */
export const blockedDomain = 'varshift.blocked'
export const nchwcDomain = 'com.microsoft.nchwc'

const nchwc = (
  build: GraphBuilder,
  opType: string,
  inputs: readonly string[],
  attributes: Parameters<GraphBuilder['several']>[3],
  output?: string,
): string => build.several(opType, inputs, output ? [output] : 1, attributes, nchwcDomain)[0]!

/** The value, taken as N x C x P with C a multiple of the block, in the blocked layout: N x C/block x P x block. */
export const toBlocks = (
  build: GraphBuilder,
  x: string,
  [n, c, p]: readonly [number, number, number],
): string => nchwc(build, 'ReorderInput', [build.reshape(x, [n, c, p, 1])], { channels_last: 0 })

/** N x C x (all positions). */
export const flat = ([n, c, ...sizes]: readonly number[]): readonly [number, number, number] => [
  n!,
  c!,
  elementCount(sizes),
]

/** The inverse of `toBlocks`. */
export const fromBlocks = (
  build: GraphBuilder,
  x: string,
  [n, c, p]: readonly [number, number, number],
): string =>
  nchwc(build, 'ReorderOutput', [build.reshape(x, [n, c, p, 1])], { channels: c, channels_last: 0 })

export interface BlockedConvolution {
  readonly x: string
  readonly weight: string
  readonly bias?: string | undefined
  /** Added to the result. */
  readonly sum?: string | undefined
  readonly kernel: readonly number[]
  readonly strides?: readonly number[]
  readonly dilations?: readonly number[]
  /** In front of each axis, then behind each. */
  readonly pads?: readonly number[]
  readonly groups?: number
  readonly activation?: 'Relu' | undefined
  /** Name of the result. */
  readonly output?: string | undefined
}

/** ONNX Runtime's own blocked convolution. */
export function convolve(build: GraphBuilder, options: BlockedConvolution): string {
  const {
    x,
    weight,
    bias = '',
    sum = '',
    kernel,
    strides,
    dilations,
    pads,
    groups,
    activation,
    output,
  } = options
  const inputs = [x, weight, ...(bias || sum ? [bias] : []), ...(sum ? [sum] : [])]
  const attributes = { kernel_shape: kernel, strides, dilations, pads, group: groups, activation }
  return nchwc(build, 'Conv', inputs, attributes, output)
}

/** scale x + shift with vectors of C elements, in one pass: a convolution of every channel by itself. */
export const affine = (
  build: GraphBuilder,
  x: string,
  options: { channels: number; scale: string; shift?: string } & Pick<
    BlockedConvolution,
    'sum' | 'activation' | 'output'
  >,
): string => {
  const { channels, scale, shift, ...others } = options
  const weight = build.reshape(scale, [channels, 1, 1, 1])
  return convolve(build, { x, weight, bias: shift, kernel: [1, 1], groups: channels, ...others })
}

/** Zeros around a value, or every `strides`-th element of it: a convolution of every channel by itself with 1. */
export function resample(
  build: GraphBuilder,
  x: string,
  { channels, ...options }: { channels: number; pads?: readonly number[]; strides?: readonly number[] },
): string {
  const weight = build.reshape(ones(build, channels), [channels, 1, 1, 1])
  return convolve(build, { x, weight, kernel: [1, 1], groups: channels, ...options })
}

/** A vector of `count` ones. */
export const ones = (build: GraphBuilder, count: number): string =>
  shared(build, `ones ${count}`, () =>
    build.constant(Tensor.float32([count], new Float32Array(count).fill(1))),
  )

/** Repeats every element `factors` times along the axes of space. */
export const repeat = (build: GraphBuilder, x: string, factors: readonly number[]): string =>
  nchwc(build, 'Upsample', [x], { scales: [1, 1, ...factors] })

export const pool = (
  build: GraphBuilder,
  opType: 'MaxPool' | 'AveragePool',
  x: string,
  kernel: readonly number[],
  output?: string,
): string => nchwc(build, opType, [x], { kernel_shape: kernel, strides: kernel }, output)

/** Mean over all positions: N x C x H x W becomes N x C. */
export const meanOfPositions = (build: GraphBuilder, x: string, [n, c]: readonly number[]): string =>
  build.reshape(nchwc(build, 'GlobalAveragePool', [x], {}), [n!, c!])

/**
 * Sum of a b over all positions: twice N x C x H x W becomes N x C. With N C as its channels, b is the kernel of a
 * convolution of every channel by itself.
 */
export const sumOfProducts = (
  build: GraphBuilder,
  a: string,
  b: string,
  shape: readonly number[],
): string => {
  const [n, c, h, w] = shape as [number, number, number, number]
  const product = convolve(build, {
    x: build.reshape(a, [1, n * c, h, w]),
    weight: build.reshape(b, [n * c, 1, h, w]),
    kernel: [h, w],
    groups: n * c,
  })
  return build.reshape(product, [n, c])
}

/**
 * Axes of rows of `row` elements put in another order: axis i of the result is axis `order[i]` of `dims`, the last axis
 * (`row`) stays. ONNX Runtime gathers rows several times as fast as it transposes.
 */
export function reorderRows(
  build: GraphBuilder,
  x: string,
  {
    dims,
    order,
    row,
    reversed = [],
  }: {
    dims: readonly number[]
    order: readonly number[]
    row: number
    /** Axes of the result that run backwards. */
    reversed?: readonly number[]
  },
): string {
  const strides = dims.map((_, axis) => elementCount(dims.slice(axis + 1)))
  return pickRows(build, x, {
    row,
    count: elementCount(dims),
    sizes: order.map((axis) => dims[axis]!),
    steps: order.map((axis, i) => (reversed.includes(i) ? -strides[axis]! : strides[axis]!)),
    first: order.reduce(
      (at, axis, i) => (reversed.includes(i) ? at + strides[axis]! * (dims[axis]! - 1) : at),
      0,
    ),
  })
}

interface Rows {
  readonly row: number
  readonly count: number
  readonly sizes: readonly number[]
  readonly steps: readonly number[]
  readonly first: number
}

function pickRows(build: GraphBuilder, x: string, { row, count, sizes, steps, first }: Rows): string {
  const index = shared(build, `rows ${sizes.join()} by ${steps.join()} from ${first}`, () => {
    const picked = new Int32Array(elementCount(sizes))
    const at = sizes.map(() => 0)
    let source = first
    for (let i = 0; i < picked.length; i++) {
      picked[i] = source
      for (let axis = sizes.length - 1; axis >= 0; axis--) {
        source += steps[axis]!
        if (++at[axis]! < sizes[axis]!) break
        source -= steps[axis]! * sizes[axis]!
        at[axis] = 0
      }
    }
    return int32(build, picked)
  })
  return build.op('Gather', [build.reshape(x, [count, row]), index], { axis: 0 })
}

/** Rows of `row` elements of x, by index; those of index -1 are zeros. */
export function pickOrZero(
  build: GraphBuilder,
  x: string,
  { key, row, count, index }: { key: string; row: number; count: number; index: () => readonly number[] },
): string {
  const rows = shared(build, `picked ${key}`, () =>
    int32(
      build,
      Int32Array.from(index(), (at) => (at < 0 ? count : at)),
    ),
  )
  const zeros = shared(build, `zeros ${row}`, () =>
    build.constant(Tensor.float32([1, row], new Float32Array(row))),
  )
  const padded = build.op('Concat', [build.reshape(x, [count, row]), zeros], { axis: 0 })
  return build.op('Gather', [padded, rows], { axis: 0 })
}

const int32 = (build: GraphBuilder, values: Int32Array) =>
  build.constant(new Tensor('int32', [values.length], new Uint8Array(values.buffer)), 'rows')

const constants = new WeakMap<GraphBuilder, Map<string, string>>()

/** A constant of the graph being built; asked for again under the same key, it is the same one. */
export function shared(build: GraphBuilder, key: string, make: () => string): string {
  const known = constants.get(build) ?? new Map<string, string>()
  constants.set(build, known)
  const name = known.get(key) ?? make()
  known.set(key, name)
  return name
}
