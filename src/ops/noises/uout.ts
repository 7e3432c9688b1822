import { defineNoise } from '../define-noise.ts'

/** Two points with the first three moments of the uniform distribution on (-1, 1) (Gauss-Legendre). */
const uniformPoints = [-Math.sqrt(1 / 3), Math.sqrt(1 / 3)]

/**
 * Uniform dropout ("Uout"): perturb every element by a bounded relative amount.
 *
 *   training   y = x + x * r,   r ~ Uniform(-beta, beta)
 *   inference  y = x
 *
 * Relative variance: beta^2 / 3.
 * Source: Li et al., arXiv:1801.05134, section 5.
 */
export const uout = defineNoise({
  id: 'uout',
  parameter: { name: 'beta', min: 0, max: 1 },
  sharing: 'element',
  relativeVariance: ({ beta }) => (beta * beta) / 3,
  isScaling: ({ beta }) => beta <= 1,
  outcomes: ({ beta }) => uniformPoints.map((r) => ({ weight: 0.5, scale: 1 + beta * r, shift: 0 })),
  emit: (build, x, { beta, draw }) => build.mul(x, draw.uniform(1 - beta, 1 + beta)),
})
