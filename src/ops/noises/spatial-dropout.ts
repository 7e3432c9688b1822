import { defineNoise } from '../define-noise.ts'
import { bernoulliOutcomes } from './dropout.ts'

/**
 * Spatial dropout: set whole channels of a sample to zero at random and scale the others up.
 *
 *   training   y = x * m / keep,   m ~ Bernoulli(keep), one draw for all positions of a channel
 *   inference  y = x
 *
 * Relative variance: ratio / keep.
 * Source: Tompson et al., arXiv:1411.4280; PyTorch's Dropout2d, Keras' SpatialDropout.
 */
export const spatialDropout = defineNoise({
  id: 'spatial-dropout',
  parameter: { name: 'ratio', min: 0, max: 1 },
  sharing: 'channel',
  relativeVariance: ({ ratio }) => ratio / (1 - ratio),
  isScaling: () => true,
  outcomes: bernoulliOutcomes,
  emit: (_build, _x, { ratio, draw }) => draw.dropout(ratio),
})
