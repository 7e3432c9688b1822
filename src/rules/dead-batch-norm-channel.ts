import { defineRule } from './define-rule.ts'
import { channelsOf } from './exposure.ts'
import { placeOf } from './places.ts'

/** Channels that carry nothing, whatever the input. */
export const deadBatchNormChannel = defineRule({
  id: 'dead-batch-norm-channel',
  severity: 'info',
  judgesAlone: true,
  summary:
    'Channels of a BatchNormalization have a scale of exactly 0, so that they give a constant, or a variance of exactly 0, so that they were constant in training.',
  why: 'A channel whose scale is 0 gives its shift whatever comes in: it costs time and carries nothing. A channel whose variance is exactly 0 never varied in training, often because an activation in front of it died; shift ratios say nothing about it, and eval mode multiplies whatever it carries at inference by 1 / sqrt(epsilon). If all channels of a layer are dead, everything that reaches the output through it is lost (reported as a warning).',
  ignoreWhen:
    'The network was pruned on purpose, or the last normalization of a residual branch started at scale 0 and was not trained yet.',
  fix: 'Dead channels can be cut out of the weights around them. If there are many, look at the learning rate, at weight decay on the scales, and at activations that died.',
  source:
    'Definition of BatchNormalization in ONNX: y = scale (x - mean) / sqrt(variance + epsilon) + shift.',
  examples: {
    quiet: [
      `net (float32[N, 3] x) => (float32[N, 3] y)
<float32[3] scale = {1, 0.01, -2}, float32[3] shift = {0, 0, 0.5}, float32[3] mean = {0, 0, 3}, float32[3] var = {1, 1e-4, 9}>
{
  y = BatchNormalization(x, scale, shift, mean, var)
}`,
    ],
    finding: [
      `net (float32[N, 3] x) => (float32[N, 3] y)
<float32[3] scale = {1, 0, 0}, float32[3] shift = {0.1, 0, 0.5}, float32[3] mean = {0, 0, 3}, float32[3] var = {1, 2, 9}>
{
  [bn] y = BatchNormalization(x, scale, shift, mean, var)
}`,
      `net (float32[N, 3] x) => (float32[N, 3] y)
<float32[3] scale = {1, 1, 2}, float32[3] shift = {0.1, 0, 0.5}, float32[3] mean = {0, 0, 3}, float32[3] var = {1, 0, 9}>
{
  [bn] y = BatchNormalization(x, scale, shift, mean, var)
}`,
    ],
  },
  messages: {
    scale:
      "'{norm}' gives a constant in {count} of {channels} channels: their scale is exactly 0 ({zeros} of them give 0).",
    variance:
      "'{norm}' stores a variance of exactly 0 in {count} of {channels} channels: they were constant in training.",
  },
  check({ facts, report }) {
    for (const norm of facts.norms) {
      const { scale, shift, variance } = norm
      const channels = channelsOf(norm)
      const found = (count: number) => ({
        at: placeOf(norm),
        severity: count === channels ? ('warning' as const) : undefined,
      })
      const base = { norm: norm.label, channels }
      const constant = indicesOfZero(scale)
      if (constant.length > 0)
        report({
          message: 'scale',
          ...found(constant.length),
          aspect: 'scale',
          data: {
            ...base,
            count: constant.length,
            zeros: constant.filter((c) => shift?.[c] === 0).length,
          },
        })
      const still = indicesOfZero(variance)
      if (still.length > 0)
        report({
          message: 'variance',
          ...found(still.length),
          aspect: 'variance',
          data: { ...base, count: still.length },
        })
    }
  },
})

const indicesOfZero = (values: Float64Array | undefined): number[] =>
  values ? [...values.keys()].filter((i) => values[i] === 0) : []
