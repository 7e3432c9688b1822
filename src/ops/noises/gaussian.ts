import { defineNoise } from '../define-noise.ts'
import { normalOutcomes } from './additive-gaussian.ts'

/**
 * Gaussian dropout: multiply every element by a normal variable of mean 1.
 *
 *   training   y = x * m,   m ~ Normal(1, sigma)
 *   inference  y = x
 *
 * Relative variance: sigma^2. Keras' `GaussianDropout(rate)` uses sigma^2 = rate / (1 - rate).
 * Source: Srivastava et al., JMLR 15 (2014), section 10.
 */
export const gaussian = defineNoise({
  id: 'gaussian',
  parameter: { name: 'sigma', min: 0, max: Infinity },
  sharing: 'element',
  relativeVariance: ({ sigma }) => sigma * sigma,
  // Factors below 0 are so rare for a small sigma (2e-4 at 0.29) that it may pass for one that has none.
  isScaling: ({ sigma }) => sigma < 0.3,
  outcomes: ({ sigma }) =>
    normalOutcomes.map(({ weight, z }) => ({ weight, scale: 1 + sigma * z, shift: 0 })),
  emit: (build, x, { sigma, draw }) => build.mul(x, draw.normal(1, sigma)),
})
