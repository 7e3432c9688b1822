import type { GraphBuilder } from '../../ir/builder.ts'
import { intAttribute, type Node } from '../../ir/model.ts'
import { elementCount, Tensor } from '../../ir/tensor.ts'
import { inferConv } from '../conv.ts'
import { emitConvInputGradient } from '../conv-gradient/input.ts'
import { type ConvShapes, convShapes, cropped } from '../conv-gradient/shapes.ts'
import { defineOp } from '../define-op.ts'
import type { GradientContext } from '../gradient.ts'
import { sameAsInput } from '../shapes.ts'
import {
  blockedDomain,
  convolve,
  flat,
  fromBlocks,
  meanOfPositions,
  nchwcDomain,
  pickOrZero,
  reorderRows,
  resample,
  toBlocks,
} from './emit.ts'

const blockOf = (node: Node) => intAttribute(node, 'block')!

const shapesOf = ({ node, inputs: [x, weight], outputs: [y] }: GradientContext): ConvShapes =>
  convShapes(node, x!.shape, weight!.shape, y!.shape)

/**
 * Why the blocked layout cannot take a convolution with these shapes forward and back, or undefined if it can.
 */
export function blockedConvProblem(shapes: ConvShapes, block: number): string | undefined {
  const { x, weight, y, strides, dilations, before, after, groups } = shapes
  if (x.length !== 4) return 'not two-dimensional'
  const channels = x[1]!
  const [outputs, perGroup] = weight as [number, number]
  if (outputs % block !== 0) return 'outputs do not fill blocks'
  const plainInput = channels < block && groups === 1
  if (!plainInput && channels % block !== 0) return 'channels do not fill blocks'
  if (groups > 1 && (perGroup % block !== 0 || (outputs / groups) % block !== 0))
    return 'groups do not fill blocks'
  for (let i = 0; i < 2; i++) {
    const [kernel, stride, dilation] = [weight[i + 2]!, strides[i]!, dilations[i]!]
    if (before[i]! > dilation * (kernel - 1) || after[i]! > dilation * (kernel - 1)) return 'wide padding'
    if (stride > 1 && (dilation > 1 || x[i + 2]! % stride !== 0 || y[i + 2]! * stride !== x[i + 2]!))
      return 'stride that does not divide the size'
    if (stride > 1 && before[i]! >= kernel) return 'wide padding'
  }
  return undefined
}

/**
 * Conv of a blocked value (or of a plain one with fewer channels than a block) with a blocked weight; the result is
 * blocked. Shapes and attributes as Conv's; `block` is the size of a block.
 */
export const blockedConv = defineOp({
  opType: 'Conv',
  domain: blockedDomain,
  inputs: ['x', 'weight', 'bias'],
  flow: { x: 'linear', weight: 'nonlinear', bias: 'nonlinear' },
  inferTypes: inferConv,
  gradient: {
    x: (g) => {
      const shapes = shapesOf(g)
      if (shapes.x[1]! % blockOf(g.node) === 0)
        return inputGradient(g.build, g.dy(), g.x(1), shapes, blockOf(g.node))
      const { build } = g
      const dy = build.reshape(fromBlocks(build, g.dy(), flat(shapes.y)), shapes.y)
      const weight = plainWeight(build, g.x(1), shapes.weight, blockOf(g.node))
      return emitConvInputGradient(build, { dy, weight, shapes })
    },
    weight: (g) => weightGradient(g.build, g.x(), g.dy(), shapesOf(g), blockOf(g.node)),
    bias: (g) => {
      const { shape } = g.outputs[0]!
      const { build } = g
      const sums = build.reduceSum(meanOfPositions(build, g.dy(), shape), [0], false)
      return build.mul(sums, g.scalar(elementCount(shape.slice(2))))
    },
  },
  samples: [],
})

export function expandConv(build: GraphBuilder, node: Node): void {
  const { inputs, outputs, attributes } = node
  const { block: _, ...kept } = Object.fromEntries(attributes)
  build.several('Conv', inputs, outputs, kept, nchwcDomain)
}

/**
 * Gradient with respect to x. Without strides: dy convolved with the weight turned around, its channels and outputs
 * exchanged. With strides: every position of x within a stride ("phase") sees its own taps, so one convolution of dy
 * gives all phases as channels, which are then put where they belong.
 */
function inputGradient(
  build: GraphBuilder,
  dy: string,
  weight: string,
  { x, weight: dims, y, strides, dilations, before, groups }: ConvShapes,
  block: number,
): string {
  const [outputs, perGroup, ...kernel] = dims as [number, number, number, number]
  const [fromBlocksOf, toBlocksOf] = [outputs / groups / block, perGroup / block]
  const taps = elementCount(kernel)
  const cells = groups * fromBlocksOf * toBlocksOf * taps
  const exchanged = toBlocks(build, weight, [cells, block, block])
  if (strides.every((stride) => stride === 1)) {
    const turned = reorderRows(build, exchanged, {
      dims: [groups, fromBlocksOf, toBlocksOf, ...kernel],
      order: [0, 2, 1, 3, 4],
      reversed: [3, 4],
      row: block * block,
    })
    const reach = kernel.map((k, i) => dilations[i]! * (k - 1))
    const front = reach.map((r, i) => r - before[i]!)
    const behind = reach.map((r, i) => x[i + 2]! - y[i + 2]! + r - front[i]!)
    return convolve(build, {
      x: dy,
      weight: build.reshape(turned, [x[1]!, outputs / groups, ...kernel]),
      kernel,
      dilations,
      pads: [...front, ...behind],
      groups,
    })
  }
  // dx[s h + a] = sum over m of w[a + p - s m] dy[h + m] for each axis with stride s and padding p.
  const axes = kernel.map((k, i) => {
    const [s, p] = [strides[i]!, before[i]!]
    const low = Math.min(0, Math.ceil((p - k + 1) / s))
    const high = Math.max(0, Math.floor((s - 1 + p) / s))
    const size = x[i + 2]! / s
    return { s, p, low, taps: high - low + 1, size, behind: size - y[i + 2]! + high }
  }) as [Axis, Axis]
  const [v, h] = axes
  const phased = pickOrZero(build, exchanged, {
    key: `phases ${[dims, strides, before, groups, block].join(' ')}`,
    row: block * block,
    count: cells,
    index: () => {
      const picked: number[] = []
      for (let g = 0; g < groups; g++)
        for (let a = 0; a < v.s; a++)
          for (let b = 0; b < h.s; b++)
            for (let to = 0; to < toBlocksOf; to++)
              for (let from = 0; from < fromBlocksOf; from++)
                for (let i = 0; i < v.taps; i++)
                  for (let j = 0; j < h.taps; j++) {
                    const [row, column] = [tapOf(v, a, i), tapOf(h, b, j)]
                    const inside = row >= 0 && row < kernel[0]! && column >= 0 && column < kernel[1]!
                    const cell = (g * fromBlocksOf + from) * toBlocksOf + to
                    picked.push(inside ? (cell * kernel[0]! + row) * kernel[1]! + column : -1)
                  }
      return picked
    },
  })
  const phases = v.s * h.s
  const all = convolve(build, {
    x: dy,
    weight: build.reshape(phased, [groups * phases * perGroup, outputs / groups, v.taps, h.taps]),
    kernel: [v.taps, h.taps],
    pads: [-v.low, -h.low, v.behind, h.behind],
    groups,
  })
  const placed = reorderRows(build, all, {
    dims: [x[0]!, groups, v.s, h.s, toBlocksOf, v.size, h.size],
    order: [0, 1, 4, 5, 2, 6, 3],
    row: block,
  })
  return build.reshape(placed, x)
}

interface Axis {
  readonly s: number
  readonly p: number
  readonly low: number
  readonly taps: number
  readonly size: number
  readonly behind: number
}

const tapOf = ({ s, p, low }: Axis, phase: number, i: number) => phase + p - s * (low + i)

/**
 * Gradient with respect to the weight, itself a convolution: of x with samples as its channels, with dy as its kernel,
 * stride and dilation having changed places.
 */
function weightGradient(
  build: GraphBuilder,
  x: string,
  dy: string,
  shapes: ConvShapes,
  block: number,
): string {
  const { weight, y, strides, dilations, before, groups } = shapes
  const [samples, channels, ...sizes] = shapes.x as [number, number, number, number]
  const [outputs, perGroup, ...kernel] = weight as [number, number, number, number]
  const isPlain = channels < block
  const taps = elementCount(kernel)
  const positions = elementCount(y.slice(2))
  if (taps === 1 && groups === 1 && !isPlain && before.every((pad) => pad === 0) && positions % block === 0) {
    const seen = strides.some((s) => s > 1) ? resample(build, x, { channels, strides }) : x
    return build.reshape(
      pointwiseGradient(build, seen, dy, { samples, channels, outputs, positions, block }),
      weight,
    )
  }
  const area = elementCount(sizes)
  // Samples are to be channels: zeros fill up a block.
  const filled = Math.ceil(samples / block) * block
  const fill = (value: string, [, ...shape]: readonly number[]) => {
    if (filled === samples) return value
    const dims = [filled - samples, ...shape]
    const zeros = build.op('ConstantOfShape', [build.ints(dims)], { value: Tensor.float32([1], [0]) })
    return build.op('Concat', [value, zeros], { axis: 0 })
  }
  const whole = fill(x, shapes.x)
  const plain = isPlain ? whole : fromBlocks(build, whole, [filled, channels, area])
  const bySample = toBlocks(build, plain, [filled / block, block, channels * area])
  const swapped = build.op(
    'Transpose',
    [build.reshape(bySample, [filled / block, groups, perGroup, area * block])],
    { perm: [2, 1, 0, 3] },
  )
  // Just what the windows see, so that as many windows result as the kernel has taps.
  const seen = kernel.map((k, i) => strides[i]! * (y[i + 2]! - 1) + dilations[i]! * (k - 1) + 1)
  const behind = seen.map((size, i) => Math.max(0, size - sizes[i]! - before[i]!))
  const input = build.reshape(swapped, [perGroup, groups * filled, ...sizes])
  const pads = [...before, ...behind]
  const padded = pads.some((pad) => pad > 0)
    ? resample(build, input, { channels: groups * filled, pads })
    : input
  const kernelRows = reorderRows(build, fill(dy, y), {
    dims: [filled / block, block, outputs / block, positions],
    order: [2, 0, 3, 1],
    row: block,
  })
  const all = convolve(build, {
    x: padded,
    weight: build.reshape(kernelRows, [outputs, filled, ...y.slice(2)]),
    kernel: y.slice(2),
    strides: dilations,
    dilations: strides,
    groups,
  })
  const found = seen.map((_, i) => {
    const size = sizes[i]! + before[i]! + behind[i]!
    return Math.floor((size - (strides[i]! * (y[i + 2]! - 1) + 1)) / dilations[i]!) + 1
  })
  const cut = croppedBlocks(build, all, { count: perGroup * (outputs / block), found, kernel, block })
  const rows = isPlain
    ? reorderRows(build, cut, { dims: [perGroup, outputs / block, taps], order: [1, 0, 2], row: block })
    : reorderRows(build, cut, {
        dims: [perGroup / block, block, outputs / block, taps],
        order: [2, 0, 3, 1],
        row: block,
      })
  return build.reshape(rows, weight)
}

/** The first `kernel` of `found` positions of a blocked value with `count` blocks. */
function croppedBlocks(
  build: GraphBuilder,
  value: string,
  {
    count,
    found,
    kernel,
    block,
  }: { count: number; found: readonly number[]; kernel: readonly number[]; block: number },
): string {
  if (found.every((size, i) => size === kernel[i])) return value
  return cropped(
    build,
    build.reshape(value, [count, 1, ...found, block]),
    [...found, block],
    [...kernel, block],
  )
}

/**
 * dw[k, c] = sum over n and p of dy[n, k, p] x[n, c, p], as one convolution of 1 x 1 whose channels are all positions of
 * all samples and whose positions are the channels of x.
 */
function pointwiseGradient(
  build: GraphBuilder,
  x: string,
  dy: string,
  {
    samples,
    channels,
    outputs,
    positions,
    block,
  }: Record<'samples' | 'channels' | 'outputs' | 'positions' | 'block', number>,
): string {
  const [c, k, p] = [channels / block, outputs / block, positions / block]
  // N x C/block x P/block x block of P x block of C: exchange the blocks, then put positions in front of channels.
  const exchanged = toBlocks(build, x, [samples * c * p, block, block])
  const input = reorderRows(build, exchanged, {
    dims: [samples, c, p],
    order: [0, 2, 1],
    row: block * block,
  })
  const kernel = build.op('Transpose', [build.reshape(dy, [samples, k, positions * block])], {
    perm: [1, 0, 2],
  })
  // Channels as two axes of space, so that rows can be shared among threads.
  const rows = 4
  return convolve(build, {
    x: build.reshape(input, [1, samples * positions, rows, channels / rows]),
    weight: build.reshape(kernel, [outputs, samples * positions, 1, 1]),
    kernel: [1, 1],
  })
}

/** A plain weight (K x C/groups x k1 x k2) brought into the blocked layout. */
export const blockWeight = defineOp({
  opType: 'BlockWeight',
  domain: blockedDomain,
  inputs: ['weight'],
  flow: { weight: 'layout' },
  inferTypes: sameAsInput,
  gradient: {
    weight: ({ build, dy, inputs, node }) => plainWeight(build, dy(), inputs[0]!.shape, blockOf(node)),
  },
  samples: [],
})

/** A blocked weight of shape `dims` brought into the plain layout. */
function plainWeight(build: GraphBuilder, weight: string, dims: readonly number[], block: number): string {
  const [outputs, perGroup, ...kernel] = dims as [number, number, number, number]
  const taps = elementCount(kernel)
  const rows =
    perGroup < block || taps === 1
      ? weight
      : reorderRows(build, weight, {
          dims: [(outputs / block) * (perGroup / block), taps, block],
          order: [0, 2, 1],
          row: block,
        })
  return build.reshape(fromBlocks(build, rows, [outputs / block, block, perGroup * taps]), dims)
}

export function expandBlockWeight(build: GraphBuilder, node: Node, dims: readonly number[]): void {
  const [outputs, perGroup, ...kernel] = dims as [number, number, number, number]
  const block = blockOf(node)
  const taps = elementCount(kernel)
  const byOutput = toBlocks(build, node.inputs[0]!, [outputs / block, block, perGroup * taps])
  const rows =
    perGroup < block || taps === 1
      ? byOutput
      : reorderRows(build, byOutput, {
          dims: [(outputs / block) * (perGroup / block), block, taps],
          order: [0, 2, 1],
          row: block,
        })
  build.op('Reshape', [rows, build.ints(dims)], {}, node.outputs[0])
}
