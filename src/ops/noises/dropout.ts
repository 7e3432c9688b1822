import { defineNoise } from '../define-noise.ts'
import type { Outcome } from '../moments/points.ts'

/** What becomes of an element that is kept with probability 1 - ratio and scaled so that its mean stays. */
export const bernoulliOutcomes = ({ ratio }: { readonly ratio: number }): readonly Outcome[] => [
  { weight: ratio, scale: 0, shift: 0 },
  { weight: 1 - ratio, scale: ratio < 1 ? 1 / (1 - ratio) : 0, shift: 0 },
]

/**
 * Dropout: set elements to zero at random and scale the others up.
 *
 *   training   y = x * m / keep,   m ~ Bernoulli(keep),   keep = 1 - ratio
 *   inference  y = x
 *
 * Relative variance: ratio / keep.
 * Source: Srivastava et al., JMLR 15 (2014), in the inverted form that all frameworks use.
 */
export const dropout = defineNoise({
  id: 'dropout',
  parameter: { name: 'ratio', min: 0, max: 1 },
  sharing: 'element',
  relativeVariance: ({ ratio }) => ratio / (1 - ratio),
  isScaling: () => true,
  outcomes: bernoulliOutcomes,
  emit: (_build, _x, { ratio, draw }) => draw.dropout(ratio),
})
