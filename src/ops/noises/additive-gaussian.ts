import { defineNoise } from '../define-noise.ts'

/** Three points with the first five moments of the standard normal distribution (Gauss-Hermite). */
export const normalOutcomes: readonly { readonly weight: number; readonly z: number }[] = [
  { weight: 2 / 3, z: 0 },
  { weight: 1 / 6, z: Math.sqrt(3) },
  { weight: 1 / 6, z: -Math.sqrt(3) },
]

/**
 * Additive Gaussian noise: add a normal variable of mean 0 to every element.
 *
 *   training   y = x + n,   n ~ Normal(0, sigma)
 *   inference  y = x
 *
 * Adds the variance sigma^2 whatever x is.
 * Source: Keras' `GaussianNoise`; Bishop, Neural Computation 7 (1995).
 */
export const additiveGaussian = defineNoise({
  id: 'additive-gaussian',
  parameter: { name: 'sigma', min: 0, max: Infinity },
  sharing: 'element',
  relativeVariance: ({ sigma }) => sigma * sigma,
  isScaling: () => false,
  outcomes: ({ sigma }) => normalOutcomes.map(({ weight, z }) => ({ weight, scale: 1, shift: sigma * z })),
  emit: (build, x, { sigma, draw }) => build.add(x, draw.normal(0, sigma)),
})
