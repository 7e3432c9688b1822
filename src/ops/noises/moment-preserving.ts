import { float, type GraphBuilder } from '../../ir/builder.ts'
import { dataTypes, Tensor } from '../../ir/tensor.ts'
import { defineNoise } from '../define-noise.ts'

/** The value without a gradient: Floor has none, and keeps every float32 that is a multiple of 2^-40. */
const detached = (build: GraphBuilder, vector: string, constant: (value: number) => string) =>
  build.mul(build.op('Floor', [build.mul(vector, constant(2 ** 40))]), constant(2 ** -40))

/** k m x + (1 - k) c, k = sqrt(v / Var[m x]), with mean c and variance v of the channels of x; `noisy` is m x. */
function restored(
  build: GraphBuilder,
  x: string,
  {
    noisy,
    relativeVariance,
    constant,
  }: { noisy: string; relativeVariance: string; constant: (v: number) => string },
): string {
  const flat = build.reshape(x, [0, 0, -1])
  const average = (value: string) => build.reduceMean(value, [0, 2])
  const center = average(flat)
  const deviation = build.sub(flat, center)
  const vector = (value: string) => detached(build, build.reshape(value, [-1]), constant)
  const mean = vector(center)
  const variance = vector(average(build.mul(deviation, deviation)))
  const noise = build.mul(relativeVariance, build.add(variance, build.mul(mean, mean)))
  // A channel of zeros has nothing to restore.
  const noisyVariance = build.add(build.add(variance, noise), constant(2 ** -60))
  const k = build.op('Sqrt', [build.div(variance, noisyVariance)])
  const zero = build.sub(mean, mean)
  const one = build.add(zero, constant(1))
  // An affine map per channel in one pass.
  return build.op('BatchNormalization', [noisy, k, build.sub(mean, build.mul(k, mean)), zero, one], {
    epsilon: float(0),
  })
}

/**
 * Moment-preserving dropout: Dropout, then an affine map that restores mean and variance of every channel.
 *
 *   training   y = c + sqrt(v / Var[m x]) (m x - c),   m ~ Bernoulli(keep) / keep,   Var[m x] = v + ratio / keep (v + c^2)
 *              c, v: mean and variance of the channel in the batch, taken as constants by gradients
 *   inference  y = x
 *
 * x is N x C x ...; adds no variance to it whatever its distribution. Channels still lose correlation, which
 * predictions do not follow.
 * Source: docs/theory.md.
 */
export const momentPreserving = defineNoise({
  id: 'moment-preserving',
  parameter: { name: 'ratio', min: 0, max: 1 },
  sharing: 'element',
  relativeVariance: () => 0,
  isScaling: () => false,
  outcomes: () => [{ weight: 1, scale: 1, shift: 0 }],
  emit: (build, x, { ratio, draw }) =>
    restored(build, x, {
      noisy: draw.dropout(ratio),
      relativeVariance: draw.constant(ratio / (1 - ratio)),
      constant: draw.constant,
    }),
  emitWith: (build, x, ratio) => {
    const constant = (value: number) => build.scalar(value)
    const keep = build.sub(constant(1), ratio)
    const on = build.constant(Tensor.of('bool', [], [1]), 'training')
    const [dropped, kept] = [build.fresh('dropped'), build.fresh('kept')] as const
    build.keep({
      name: dropped,
      opType: 'Dropout',
      domain: '',
      inputs: [x, ratio, on],
      outputs: [dropped, kept],
      attributes: new Map(),
    })
    const mask = build.op('Cast', [kept], { to: dataTypes.float32.onnx })
    return restored(build, x, {
      noisy: build.div(build.mul(x, mask), keep),
      relativeVariance: build.div(ratio, keep),
      constant,
    })
  },
})
