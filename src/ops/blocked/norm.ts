import type { GraphBuilder } from '../../ir/builder.ts'
import { floatAttribute, type Node, stringAttribute } from '../../ir/model.ts'
import { elementCount } from '../../ir/tensor.ts'
import { defineOp } from '../define-op.ts'
import { type GradientContext, positive } from '../gradient.ts'
import { affine, blockedDomain, meanOfPositions, ones, sumOfProducts } from './emit.ts'

/**
 * BatchNormalization by the moments of the batch, of a blocked value, with an optional Relu behind it. Inputs, attributes
 * and the first three outputs as ONNX's with training_mode = 1; then x - mean (blocked) and 1 / sqrt(variance + epsilon).
 */
export const blockedBatchNorm = defineOp({
  opType: 'BatchNormalization',
  domain: blockedDomain,
  inputs: ['x', 'scale', 'shift', 'mean', 'variance'],
  flow: { x: 'nonlinear', scale: 'nonlinear', shift: 'nonlinear', mean: 'nonlinear', variance: 'nonlinear' },
  inferTypes: ({ inputs: [x, scale], node }) =>
    node.outputs.map((_, i) =>
      i === 0 || i === 3
        ? { dataType: x?.dataType, shape: x?.shape }
        : { ...scale, tensor: undefined, contents: undefined },
    ),
  gradient: {
    // dx = k1 dz + k2 (x - mean) + k3 with k1 = scale i, k2 = -k1 i^2 mean(dz (x - mean)), k3 = -k1 mean(dz), where dz
    // is the gradient in front of the Relu, i = 1 / sqrt(variance + epsilon).
    x: (g) => {
      const { build } = g
      const { mul } = build
      const channels = g.inputs[0]!.shape[1]!
      const inverse = g.y(4)
      const k1 = mul(g.x(1), inverse)
      const k2 = build.op('Neg', [mul(mul(k1, mul(inverse, inverse)), meanWithGradient(g))])
      const k3 = build.op('Neg', [mul(k1, meanOfGradient(g))])
      const statistics = affine(build, g.y(3), { channels, scale: k2, shift: k3 })
      return affine(build, behindNorm(g), { channels, scale: k1, sum: statistics })
    },
    scale: (g) => g.build.mul(g.build.mul(g.y(4), meanWithGradient(g)), perChannel(g)),
    shift: (g) => g.build.mul(meanOfGradient(g), perChannel(g)),
    mean: null,
    variance: null,
  },
  samples: [],
})

const isRelu = (node: Node) => stringAttribute(node, 'activation') === 'Relu'

/** Elements of one channel. */
const perChannel = (g: GradientContext) => {
  const { shape } = g.inputs[0]!
  return g.scalar(elementCount(shape) / shape[1]!)
}

/** Gradient with respect to what the norm gives, in front of its Relu. */
const behindNorm = (g: GradientContext) =>
  g.once('dz', () => (isRelu(g.node) ? g.build.mul(g.dy(), positive(g, g.y())) : g.dy()))

const meanOfGradient = (g: GradientContext) =>
  g.once('mean', () =>
    g.build.reduceMean(meanOfPositions(g.build, behindNorm(g), g.inputs[0]!.shape), [0], false),
  )

const meanWithGradient = (g: GradientContext) =>
  g.once('product', () => meanOfProduct(g.build, behindNorm(g), g.y(3), g.inputs[0]!.shape))

/** Mean of a b over samples and positions, C elements. */
function meanOfProduct(build: GraphBuilder, a: string, b: string, shape: readonly number[]): string {
  const sums = build.reduceMean(sumOfProducts(build, a, b, shape), [0], false)
  return build.mul(sums, build.scalar(1 / elementCount(shape.slice(2))))
}

export function expandBatchNorm(build: GraphBuilder, node: Node, shape: readonly number[]): void {
  const [x = '', scale = '', shift = '', oldMean = '', oldVariance = ''] = node.inputs
  const [y, newMean, newVariance, centred, inverse] = node.outputs
  const { mul } = build
  const channels = shape[1]!
  const mean = build.reduceMean(meanOfPositions(build, x, shape), [0], false)
  // E[x^2] - E[x]^2 would lose digits where the mean is large.
  const difference = affine(build, x, {
    channels,
    scale: ones(build, channels),
    shift: build.op('Neg', [mean]),
    output: centred || undefined,
  })
  const variance = meanOfProduct(build, difference, difference, shape)
  const deviation = build.add(variance, build.scalar(floatAttribute(node, 'epsilon') ?? 1e-5))
  const factor = build.op('Reciprocal', [build.op('Sqrt', [deviation])], {}, inverse || undefined)
  affine(build, difference, {
    channels,
    scale: mul(scale, factor),
    shift,
    activation: isRelu(node) ? 'Relu' : undefined,
    output: y,
  })
  const kept = floatAttribute(node, 'momentum') ?? 0.9
  const update = (old: string, now: string, output: string | undefined) => {
    if (!output) return
    if (kept === 0) build.op('Identity', [now], {}, output)
    else build.op('Add', [mul(old, build.scalar(kept)), mul(now, build.scalar(1 - kept))], {}, output)
  }
  update(oldMean, mean, newMean)
  update(oldVariance, variance, newVariance)
}
