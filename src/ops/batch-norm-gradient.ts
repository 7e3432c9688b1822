import { float } from '../ir/builder.ts'
import { floatAttribute, intAttribute } from '../ir/model.ts'
import { elementCount, Tensor } from '../ir/tensor.ts'
import { alongChannels, axesButChannels, type GradientContext } from './gradient.ts'

const epsilonOf = ({ node }: GradientContext) => floatAttribute(node, 'epsilon') ?? 1e-5

/** Whether the node normalises by the moments of the batch. */
export const isTraining = ({ node }: GradientContext): boolean => intAttribute(node, 'training_mode') === 1

/** A vector of C equal elements. */
const filled = (g: GradientContext, value: number) =>
  g.once(`filled ${value}`, () => {
    const { dataType, shape } = g.inputs[1]!
    return g.build.constant(Tensor.of(dataType, shape, new Float64Array(shape[0]!).fill(value)))
  })

/** scale (x - mean) + shift with vectors of C elements, in one pass: a BatchNormalization of variance 1. */
function affine(
  g: GradientContext,
  x: string,
  { scale, shift, mean }: { scale: string; shift?: string; mean?: string },
): string {
  const zero = filled(g, 0)
  return g.build.op('BatchNormalization', [x, scale, shift ?? zero, mean ?? zero, filled(g, 1)], {
    epsilon: float(0),
  })
}

/** Mean and variance (C elements each) that the node normalises by. */
function moments(g: GradientContext): { mean: string; variance: string } {
  return g.once('moments', () => {
    const { build } = g
    if (!isTraining(g)) return { mean: g.x(3), variance: g.x(4) }
    // Running statistics that keep nothing of what they were are the moments of the batch.
    if (floatAttribute(g.node, 'momentum') === 0) return { mean: g.y(1), variance: g.y(2) }
    const axes = axesButChannels(g.inputs[0]!.shape.length)
    const mean = build.reduceMean(g.x(), axes, false)
    const centred = affine(g, g.x(), { scale: filled(g, 1), mean })
    return { mean, variance: build.reduceMean(build.mul(centred, centred), axes, false) }
  })
}

/** 1 / sqrt(variance + epsilon), C elements. */
const inverseDeviation = (g: GradientContext) =>
  g.once('inverse deviation', () => {
    const { build } = g
    const { variance } = moments(g)
    const epsilon = build.scalar(epsilonOf(g), g.typeOf(variance).dataType)
    return build.op('Reciprocal', [build.op('Sqrt', [build.add(variance, epsilon)])])
  })

/** Sum of dy, C elements. */
const sumOfGradient = (g: GradientContext) =>
  g.once('sum', () => g.build.reduceSum(g.dy(), axesButChannels(g.inputs[0]!.shape.length), false))

/** Sum of dy (x - mean), C elements. */
const sumOfProduct = (g: GradientContext) =>
  g.once('product', () => {
    const { shape } = g.inputs[0]!
    const centred = g.build.sub(g.x(), alongChannels(g.build, moments(g).mean, shape.length))
    return g.build.reduceSum(g.build.mul(g.dy(), centred), axesButChannels(shape.length), false)
  })

/**
 * Gradients of BatchNormalization, y = scale (x - mean) i + shift with i = 1 / sqrt(variance + epsilon).
 *
 * Training, with the sums taken over the n elements of a channel:
 *   dx = k1 dy + k2 (x - mean) + k3,   k1 = scale i,   k2 = -k1 i^2 sum(dy (x - mean)) / n,   k3 = -k1 sum(dy) / n
 * Running statistics:
 *   dx = k1 dy,   dmean = -k1 sum(dy),   dvariance = -scale i^3 sum(dy (x - mean)) / 2
 * Both:
 *   dscale = i sum(dy (x - mean)),   dshift = sum(dy)
 */
export const batchNormGradient = {
  x: (g: GradientContext): string => {
    const { build } = g
    const { mul, add } = build
    const inverse = inverseDeviation(g)
    const k1 = mul(g.x(1), inverse)
    if (!isTraining(g)) return affine(g, g.dy(), { scale: k1 })
    const { shape } = g.inputs[0]!
    const share = g.scalar(-shape[1]! / elementCount(shape))
    const k2 = mul(mul(k1, mul(inverse, inverse)), mul(sumOfProduct(g), share))
    const k3 = mul(k1, mul(sumOfGradient(g), share))
    return add(
      affine(g, g.dy(), { scale: k1, shift: k3 }),
      affine(g, g.x(), { scale: k2, mean: moments(g).mean }),
    )
  },
  scale: (g: GradientContext): string => g.build.mul(inverseDeviation(g), sumOfProduct(g)),
  shift: sumOfGradient,
  mean: (g: GradientContext): string => {
    const { mul, op } = g.build
    return op('Neg', [mul(mul(g.x(1), inverseDeviation(g)), sumOfGradient(g))])
  },
  variance: (g: GradientContext): string => {
    const { mul } = g.build
    const inverse = inverseDeviation(g)
    const cube = mul(inverse, mul(inverse, inverse))
    return mul(mul(g.x(1), mul(cube, g.scalar(-0.5))), sumOfProduct(g))
  },
}
