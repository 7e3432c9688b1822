import type { Norm } from '../../analysis/facts.ts'
import type { SetRunningStatistics } from '../../ir/edit.ts'
import { defineRepair, type TargetStatistics } from './define-repair.ts'
import { recalibrate } from './recalibrate.ts'

/**
 * Re-estimates every BatchNormalization without data: on inputs distilled from the file itself, those on which its
 * norms see, with the noise on, just what they stored in training. Such inputs only resemble the data: a channel on
 * which they do not match what is stored keeps it.
 *
 * Source: docs/theory.md, "Distilled inputs".
 */
export const distill = defineRepair<SetRunningStatistics>({
  id: 'distill',
  answers: ['dropout-before-batch-norm', 'dropout-upstream-of-batch-norm', 'max-pool-after-dropout'],
  preserves: 'training',
  needs: 'nothing',
  plan(context) {
    const norms = new Map(context.facts.norms.map((norm) => [norm.key, norm]))
    return recalibrate.plan(context).map((edit) => {
      const norm = norms.get(edit.node)!
      const matched = matchedChannels(norm, context.seen?.get(edit.node))
      const { mean, variance } = norm
      return mean && variance
        ? {
            ...edit,
            mean: edit.mean.map((m, c) => (matched[c] ? m : mean[c]!)),
            variance: edit.variance.map((v, c) => (matched[c] ? v : variance[c]!)),
          }
        : edit
    })
  },
})

/** Largest mismatch of a channel that counts as matched: of variances, as a factor, and of means, in standard deviations. */
const largestFactor = 1.3
const largestMove = 0.25

/** A channel with less than this share of its layer's mean variance is almost dead: matching it says nothing. */
const deadShare = 1e-3

/** Which channels of a norm see what they store. */
export function matchedChannels(
  { mean, variance, epsilon }: Norm,
  seen: TargetStatistics | undefined,
): readonly boolean[] {
  if (!mean || !variance || !seen) return []
  const floor = deadShare * (variance.reduce((sum, v) => sum + v, 0) / variance.length)
  return Array.from(
    variance,
    (v, c) =>
      v > floor &&
      Math.abs(Math.log(seen.variance[c]! / v)) < Math.log(largestFactor) &&
      Math.abs(seen.mean[c]! - mean[c]!) < largestMove * Math.sqrt(v + epsilon),
  )
}
