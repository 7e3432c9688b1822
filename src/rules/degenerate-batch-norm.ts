import { defineRule } from './define-rule.ts'
import { channelsOf } from './exposure.ts'
import { placeOf } from './places.ts'

/** Statistics that no data can have, or that eval mode divides by almost nothing. */
export const degenerateBatchNorm = defineRule({
  id: 'degenerate-batch-norm',
  severity: 'error',
  judgesAlone: true,
  summary:
    'A BatchNormalization stores numbers that are not finite, a negative variance, or a variance below epsilon.',
  why: 'A number that is not finite spreads over every output of the network, and so does the square root of a negative variance. A variance below epsilon is not wrong in itself: the channel was almost constant in training. But eval mode multiplies it by up to 1 / sqrt(epsilon), about 316 for the usual 1e-5, so whatever the channel carries at inference and did not carry in training swamps the layers behind.',
  ignoreWhen:
    'Variances below epsilon (reported as a note) are common where a channel died in training; ignore them unless accuracy at inference is worse than in training.',
  fix: 'For numbers that are not finite, go back to a checkpoint from before training diverged. For a negative variance, look at how the statistics were converted or merged. For tiny variances, `varshift measure` tells whether the channels carry more at inference than they stored.',
  source:
    'Definition of BatchNormalization in ONNX: y = scale (x - mean) / sqrt(variance + epsilon) + shift.',
  examples: {
    quiet: [
      `net (float32[N, 3] x) => (float32[N, 3] y)
<float32[3] one = fill(1), float32[3] mean = {0.1, -2, 0}, float32[3] var = {0.5, 1e-3, 40}>
{
  y = BatchNormalization(x, one, mean, mean, var)
}`,
      `net (float32[N, 3] x) => (float32[N, 3] y)
<float32[3] one = fill(1), float32[3] mean = {0.1, -2, 0}, float32[3] var = {0.5, 0, 40}>
{
  y = BatchNormalization(x, one, mean, mean, var)
}`,
    ],
    finding: [
      `net (float32[N, 3] x) => (float32[N, 3] y)
<float32[3] one = fill(1), float32[3] mean = {0.1, nan, 0}, float32[3] var = {0.5, 1, inf}>
{
  [bn] y = BatchNormalization(x, one, mean, mean, var)
}`,
      `net (float32[N, 3] x) => (float32[N, 3] y)
<float32[3] one = fill(1), float32[3] mean = {0.1, -2, 0}, float32[3] var = {0.5, -0.01, 40}>
{
  [bn] y = BatchNormalization(x, one, mean, mean, var)
}`,
      `net (float32[N, 3] x) => (float32[N, 3] y)
<float32[3] one = fill(1), float32[3] mean = {0.1, -2, 0}, float32[3] var = {0.5, 2e-9, 40}>
{
  [bn] y = BatchNormalization(x, one, mean, mean, var)
}`,
    ],
  },
  messages: {
    notFinite: "'{norm}' stores numbers that are not finite in {count} of {channels} channels ({parts}).",
    negative:
      "'{norm}' stores a negative variance in {count} of {channels} channels, {smallest} at the least.",
    tiny: "'{norm}' stores a variance below epsilon ({epsilon}) in {count} of {channels} channels, {smallest} at the least: eval mode multiplies them by up to {factor}.",
  },
  check({ facts, report }) {
    for (const norm of facts.norms) {
      const { variance, epsilon } = norm
      const at = placeOf(norm)
      const base = { norm: norm.label, channels: channelsOf(norm) }
      const parts = (['mean', 'variance', 'scale', 'shift'] as const).filter((part) =>
        norm[part]?.some((value) => !Number.isFinite(value)),
      )
      if (parts.length > 0) {
        const broken = Array.from({ length: base.channels }, (_, c) => c).filter((c) =>
          parts.some((part) => !Number.isFinite(norm[part]![c]!)),
        )
        const data = { ...base, count: broken.length, parts }
        report({ message: 'notFinite', at, aspect: 'not-finite', data })
      }
      const negative = variance?.filter((value) => value < 0) ?? []
      if (negative.length > 0)
        report({
          message: 'negative',
          at,
          aspect: 'negative',
          data: { ...base, count: negative.length, smallest: Math.min(...negative) },
        })
      const tiny = variance?.filter((value) => value > 0 && value < epsilon) ?? []
      if (tiny.length > 0) {
        const smallest = Math.min(...tiny)
        report({
          message: 'tiny',
          at,
          severity: 'info',
          aspect: 'tiny',
          data: {
            ...base,
            count: tiny.length,
            smallest,
            epsilon,
            factor: Math.round(1 / Math.sqrt(smallest + epsilon)),
          },
        })
      }
    }
  },
})
