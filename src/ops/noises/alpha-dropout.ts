import { defineNoise } from '../define-noise.ts'

/** SELU's scale times its alpha: minus the value that SELU tends to for large negative input. */
const saturation = 1.0507009873554805 * 1.6732632423543772

/** After elements are set to -saturation, y = a x + b restores mean 0 and variance 1. */
function restoring(ratio: number): { a: number; b: number } {
  const a = 1 / Math.sqrt((saturation * saturation * ratio + 1) * (1 - ratio))
  return { a, b: a * saturation * ratio }
}

/**
 * Alpha dropout: set elements to the value that SELU saturates at, then restore mean 0 and variance 1.
 *
 *   training   y = a (x m - s (1 - m)) + b,   m ~ Bernoulli(keep),   s = 1.7581
 *              a = ((s^2 ratio + 1) keep)^-1/2,   b = a s ratio
 *   inference  y = x
 *
 * Adds no variance to the input that it assumes (mean 0, variance 1); changes both of any other.
 * Source: Klambauer et al., arXiv:1706.02515; PyTorch's AlphaDropout, Keras' AlphaDropout.
 */
export const alphaDropout = defineNoise({
  id: 'alpha-dropout',
  parameter: { name: 'ratio', min: 0, max: 1 },
  sharing: 'element',
  relativeVariance: () => 0,
  isScaling: () => false,
  outcomes: ({ ratio }) => {
    const { a, b } = restoring(ratio)
    return [
      { weight: 1 - ratio, scale: a, shift: b },
      { weight: ratio, scale: 0, shift: b - a * saturation },
    ]
  },
  emit: (build, x, { ratio, draw }) => {
    const { a, b } = restoring(ratio)
    const mask = draw.bernoulli(1 - ratio)
    const scale = build.mul(mask, draw.constant(a))
    const shift = build.add(build.mul(mask, draw.constant(a * saturation)), draw.constant(b - a * saturation))
    return build.add(build.mul(x, scale), shift)
  },
})
