import { floatAttribute, intAttribute } from '../ir/model.ts'
import { dataTypes } from '../ir/tensor.ts'
import { alongChannels, type GradientContext } from './gradient.ts'

/** A value normalised over some axes, xhat = (x - mean) i, and i = 1 / sqrt(variance + epsilon). */
interface Normalised {
  readonly xhat: string
  readonly inverse: string
  readonly axes: readonly number[]
}

/** dx = i (d - mean(d) - xhat mean(d xhat)), where d is the gradient with respect to xhat. */
function throughNormalised(
  { build }: GradientContext,
  d: string,
  { xhat, inverse, axes }: Normalised,
): string {
  const { mul, sub, reduceMean } = build
  const along = mul(xhat, reduceMean(mul(d, xhat), axes))
  return mul(inverse, sub(sub(d, reduceMean(d, axes)), along))
}

/** LayerNormalization: over the axes from `axis` on; scale and shift have the shape of those. */
export const layerNormGradient = {
  x: (g: GradientContext): string => throughNormalised(g, g.build.mul(g.dy(), g.x(1)), layerNormalised(g)),
  scale: (g: GradientContext): string => g.build.mul(g.dy(), layerNormalised(g).xhat),
  shift: (g: GradientContext): string => g.dy(),
}

function layerNormalised(g: GradientContext): Normalised {
  return g.once('normalised', () => {
    const { build } = g
    const { dataType, shape } = g.inputs[0]!
    const axis = intAttribute(g.node, 'axis') ?? -1
    const first = axis < 0 ? axis + shape.length : axis
    // The node keeps its moments as float32.
    const moment = (i: number) =>
      dataType === 'float32' ? g.y(i) : build.op('Cast', [g.y(i)], { to: dataTypes[dataType].onnx })
    const inverse = moment(2)
    const xhat = build.mul(build.sub(g.x(), moment(1)), inverse)
    return { xhat, inverse, axes: [...shape.keys()].slice(first) }
  })
}

/**
 * InstanceNormalization and GroupNormalization: over the positions of one sample's channel or group of channels. Scale
 * and shift have an element for each channel; in the first GroupNormalization (opset 18) for each group.
 */
export const groupNormGradient = {
  x: (g: GradientContext): string => {
    const { build } = g
    const { shape } = g.inputs[0]!
    const { grouped, normalised } = groupNormalised(g)
    const scaled = scalesGroups(g)
      ? build.mul(build.reshape(g.dy(), grouped), build.reshape(g.x(1), [-1, 1]))
      : build.reshape(build.mul(g.dy(), alongChannels(build, g.x(1), shape.length)), grouped)
    return build.reshape(throughNormalised(g, scaled, normalised), shape)
  },
  scale: (g: GradientContext): string => {
    const { grouped, normalised } = groupNormalised(g)
    const product = g.build.mul(g.build.reshape(g.dy(), grouped), normalised.xhat)
    return perScale(g, product)
  },
  shift: (g: GradientContext): string => perScale(g, g.dy()),
}

const scalesGroups = ({ node, build }: GradientContext) =>
  node.opType === 'GroupNormalization' && build.opset < 21

/** Sums over samples and positions for every element of scale and shift. */
function perScale(g: GradientContext, value: string): string {
  const samples = g.inputs[0]!.shape[0]!
  return g.build.reduceSum(g.build.reshape(value, [samples, g.inputs[1]!.shape[0]!, -1]), [0, 2], false)
}

function groupNormalised(g: GradientContext): { grouped: readonly number[]; normalised: Normalised } {
  return g.once('normalised', () => {
    const { build, node } = g
    const [samples, channels] = g.inputs[0]!.shape as [number, number]
    const groups = node.opType === 'GroupNormalization' ? (intAttribute(node, 'num_groups') ?? 1) : channels
    const grouped = [samples, groups, -1]
    const axes = [2]
    const x = build.reshape(g.x(), grouped)
    const centred = build.sub(x, build.reduceMean(x, axes))
    const variance = build.reduceMean(build.mul(centred, centred), axes)
    const epsilon = g.scalar(floatAttribute(node, 'epsilon') ?? 1e-5)
    const inverse = build.op('Reciprocal', [build.op('Sqrt', [build.add(variance, epsilon)])])
    return { grouped, normalised: { xhat: build.mul(centred, inverse), inverse, axes } }
  })
}
