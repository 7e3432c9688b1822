import { type Dim, intAttribute, stringAttribute } from '../ir/model.ts'
import { elementCount } from '../ir/tensor.ts'
import { defineOp, type Known, type MomentsContext, type TypeContext } from './define-op.ts'
import { maximum } from './moments/functions.ts'
import { along } from './moments/layout.ts'
import type { Spread } from './moments/spread.ts'
import { perEntry } from './moments/sums.ts'
import { averagePoolGradient, globalMaxPoolGradient, maxPoolGradient } from './pool-gradient.ts'
import { insideShares, kernelOf, outputSizes, windowOf } from './window.ts'

function inferPool({ node, inputs: [x] }: TypeContext): readonly Known[] {
  const kernel = kernelOf(node)
  const shape = x?.shape
  if (!kernel || !shape) return [{ dataType: x?.dataType }]
  const sizes = shape.slice(2)
  const out = outputSizes(windowOf(node, kernel, sizes), sizes, stringAttribute(node, 'auto_pad'))
  return node.outputs.map((_, i) => ({
    dataType: i === 0 ? x?.dataType : 'int64',
    shape: [shape[0], shape[1], ...out],
  }))
}

/** Mean over a window; padding counts only if `count_include_pad` says so. */
export const averagePool = defineOp({
  opType: 'AveragePool',
  role: 'pool',
  inputs: ['x'],
  flow: { x: 'linear' },
  inferTypes: inferPool,
  moments: ({ node, inputs, spreads: [x], assume }) => {
    const kernel = kernelOf(node)
    if (!x || !kernel) return []
    const sizes: readonly Dim[] = inputs[0]?.shape?.slice(2) ?? kernel.map(() => undefined)
    const window = windowOf(node, kernel, sizes)
    const inside = kernel.reduce((n, _, axis) => {
      const shares = insideShares(window, axis, sizes[axis])
      return n * shares.reduce((a, b) => a + b, 0)
    }, 1)
    const taps = kernel.reduce((n, k) => n * k, 1)
    // With padding counted every window divides by all its taps, without by those inside (on average).
    const counted = intAttribute(node, 'count_include_pad') === 1
    const [first, second] = counted ? [inside / taps, inside / taps ** 2] : [1, 1 / inside]
    return [perEntry(along(x, 1), first, second, assume)]
  },
  gradient: { x: averagePoolGradient },
  samples: [
    `g (float32[N, 3, 9, 8] x) => () { a = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x) b = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2], ceil_mode = 1> (x) c = AveragePool <kernel_shape = [3, 3], auto_pad = "SAME_UPPER"> (x) }`,
  ],
  gradientSamples: [
    `g (float32[N, 3, 9, 8] x) => () { a = AveragePool <kernel_shape = [3, 2], strides = [3, 2]> (x) b = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2], ceil_mode = 1> (x) c = AveragePool <kernel_shape = [3, 3], auto_pad = "SAME_UPPER"> (x) d = AveragePool <kernel_shape = [3, 2], pads = [1, 0, 0, 1], strides = [2, 3], count_include_pad = 1> (x) e = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x) f = AveragePool <kernel_shape = [2, 3], strides = [2, 2], pads = [0, 1, 0, 1], count_include_pad = 1, ceil_mode = 1> (x) }`,
    `g (float32[N, 3, 9] x) => () { a = AveragePool <kernel_shape = [4], strides = [3]> (x) }`,
    `g (float32[2, 2, 4, 5, 6] x) => () { a = AveragePool <kernel_shape = [2, 2, 3], strides = [2, 1, 2], pads = [0, 1, 1, 0, 1, 1]> (x) }`,
    `<ir_version: 9, opset_import: ["": 19]> g (float32[N, 3, 9, 8] x) => () { a = AveragePool <kernel_shape = [3, 2], dilations = [2, 3], pads = [1, 1, 1, 1]> (x) }`,
  ],
})

function momentsOfMaximum(
  { spreads: [x], assume }: MomentsContext,
  neighbours: number | undefined,
): (Spread | undefined)[] {
  if (!x || neighbours === undefined) return []
  assume('what max pooling does to means and variances is estimated, taking neighbours as half correlated')
  return [maximum(along(x, 1), neighbours, assume)]
}

/** Largest element of a window. */
export const maxPool = defineOp({
  opType: 'MaxPool',
  role: 'pool',
  inputs: ['x'],
  flow: { x: 'pooling' },
  inferTypes: inferPool,
  moments: (context) =>
    momentsOfMaximum(
      context,
      kernelOf(context.node)?.reduce((n, k) => n * k, 1),
    ),
  gradient: { x: maxPoolGradient },
  samples: [
    `g (float32[N, 3, 9, 8] x) => () { a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) b, i = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2], ceil_mode = 1> (x) c = MaxPool <kernel_shape = [3, 3], dilations = [2, 2]> (x) }`,
    `g (float32[N, 3, 9] x) => () { a = MaxPool <kernel_shape = [2], strides = [2], auto_pad = "SAME_UPPER"> (x) }`,
  ],
  gradientSamples: [
    `g (float32[N, 3, 9, 8] x) => () { a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) b, i = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2], ceil_mode = 1> (x) c = MaxPool <kernel_shape = [3, 3], dilations = [2, 2]> (x) d = MaxPool <kernel_shape = [2, 3], strides = [3, 4], pads = [1, 1, 0, 1]> (x) }`,
    `g (float32[N, 3, 9] x) => () { a = MaxPool <kernel_shape = [2], strides = [2], auto_pad = "SAME_UPPER"> (x) }`,
    `g (float32[2, 2, 4, 5, 6] x) => () { a = MaxPool <kernel_shape = [2, 2, 3], strides = [2, 1, 2]> (x) }`,
  ],
})

/** p-norm of a window. */
export const lpPool = defineOp({
  opType: 'LpPool',
  role: 'pool',
  inputs: ['x'],
  flow: { x: 'pooling' },
  inferTypes: inferPool,
  gradient: null,
  samples: [`g (float32[N, 3, 9, 8] x) => () { a = LpPool <kernel_shape = [2, 2], strides = [2, 2]> (x) }`],
})

const inferGlobal = ({ inputs: [x] }: TypeContext): readonly Known[] => [
  { dataType: x?.dataType, shape: x?.shape?.map((dim, axis) => (axis < 2 ? dim : 1)) },
]

/** Mean of every channel. */
export const globalAveragePool = defineOp({
  opType: 'GlobalAveragePool',
  role: 'pool',
  inputs: ['x'],
  flow: { x: 'linear' },
  inferTypes: inferGlobal,
  moments: ({ inputs, spreads: [x], assume }) => {
    const sizes = inputs[0]?.shape?.slice(2)
    if (!x) return []
    const positions = sizes?.every((d) => typeof d === 'number')
      ? (sizes as number[]).reduce((n, d) => n * d, 1)
      : undefined
    if (positions === undefined) return []
    return [perEntry(along(x, 1), 1, 1 / positions, assume)]
  },
  gradient: {
    x: (g) => {
      const { shape } = g.inputs[0]!
      return g.build.mul(g.dy(), g.scalar(1 / elementCount(shape.slice(2))))
    },
  },
  samples: [`g (float32[N, 3, 4, 4] x) => () { a = GlobalAveragePool(x) }`],
})

/** Largest element or p-norm of every channel. */
export const globalPool = defineOp({
  opType: ['GlobalMaxPool', 'GlobalLpPool'],
  role: 'pool',
  inputs: ['x'],
  flow: { x: 'pooling' },
  inferTypes: inferGlobal,
  moments: (context) => {
    const sizes = context.inputs[0]?.shape?.slice(2)
    if (context.node.opType !== 'GlobalMaxPool' || !sizes?.every((d) => typeof d === 'number')) return []
    return momentsOfMaximum(
      context,
      (sizes as number[]).reduce((n, d) => n * d, 1),
    )
  },
  gradient: ({ opType }) => (opType === 'GlobalMaxPool' ? { x: globalMaxPoolGradient } : null),
  samples: [`g (float32[N, 3, 4, 4] x) => () { a = GlobalMaxPool(x) b = GlobalLpPool(x) }`],
  gradientSamples: [`g (float32[N, 3, 4, 4] x) => () { a = GlobalMaxPool(x) }`],
})
