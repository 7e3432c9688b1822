import { defineRule } from './define-rule.ts'
import { channelsOf } from './exposure.ts'
import { placeOf } from './places.ts'

/** Running statistics as they were at the start, although scale or shift were trained. */
export const neverUpdatedBatchNorm = defineRule({
  id: 'never-updated-batch-norm',
  severity: 'error',
  judgesAlone: true,
  summary:
    'A BatchNormalization holds a running mean of exactly 0 and a running variance of exactly 1 in every channel, although its scale or shift was trained.',
  why: 'These are the values that the statistics start from. The layer was trained with batch statistics while its running statistics were never updated: its momentum was set to a wrong value (the ONNX and TensorFlow convention against that of PyTorch), tracking was switched off, or the update operations were not run. At inference it does not normalise at all.',
  ignoreWhen:
    'The layer in front provably gives mean 0 and variance 1, or the layer is only ever run with batch statistics.',
  fix: 'Re-estimate the statistics: `varshift fix MODEL --data DATA -o FIXED`. When training anew, look at how the running statistics are updated.',
  source: 'Initial values of PyTorch, Keras and ONNX.',
  examples: {
    quiet: [
      `net (float32[N, 2] x) => (float32[N, 2] y)
<float32[2] scale = {1.3, 0.7}, float32[2] shift = {0.1, 0}, float32[2] mean = {0.02, -0.4}, float32[2] var = {1, 1}>
{
  y = BatchNormalization(x, scale, shift, mean, var)
}`,
      `net (float32[N, 2] x) => (float32[N, 2] y)
<float32[2] one = fill(1), float32[2] zero = fill(0)>
{
  y = BatchNormalization(x, one, zero, zero, one)
}`,
    ],
    finding: [
      `net (float32[N, 2] x) => (float32[N, 2] y)
<float32[2] scale = {1.3, 0.7}, float32[2] shift = {0.1, 0}, float32[2] zero = fill(0), float32[2] one = fill(1)>
{
  [bn] y = BatchNormalization(x, scale, shift, zero, one)
}`,
    ],
  },
  messages: {
    untouched:
      "'{norm}' was trained, but its running mean is exactly 0 and its running variance exactly 1 in all {channels} channels: at inference it does not normalise.",
  },
  check({ facts, report }) {
    for (const norm of facts.norms) {
      const { mean, variance, scale, shift } = norm
      if (!mean?.every((value) => value === 0) || !variance?.every((value) => value === 1)) continue
      if (!scale?.some((value) => value !== 1) && !shift?.some((value) => value !== 0)) continue
      report({
        message: 'untouched',
        at: placeOf(norm),
        data: { norm: norm.label, channels: channelsOf(norm) },
      })
    }
  },
})
