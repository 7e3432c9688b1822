import { defineNoise } from '../define-noise.ts'
import { bernoulliOutcomes } from './dropout.ts'

/**
 * DropPath (stochastic depth): leave out a whole branch for a sample at random and scale it up for the others.
 *
 *   training   y = x * m / keep,   m ~ Bernoulli(keep), one draw a sample
 *   inference  y = x
 *
 * Relative variance: ratio / keep.
 * Source: Huang et al., arXiv:1603.09382; Larsson et al., arXiv:1605.07648.
 */
export const dropPath = defineNoise({
  id: 'drop-path',
  parameter: { name: 'ratio', min: 0, max: 1 },
  sharing: 'sample',
  relativeVariance: ({ ratio }) => ratio / (1 - ratio),
  isScaling: () => true,
  outcomes: bernoulliOutcomes,
  emit: (_build, _x, { ratio, draw }) => draw.dropout(ratio),
})
