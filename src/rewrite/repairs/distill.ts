import type { Norm } from '../../analysis/facts.ts'
import type { SetRunningStatistics } from '../../ir/edit.ts'
import { defineRepair } from './define-repair.ts'
import { recalibrate } from './recalibrate.ts'

/**
 * Re-estimates every BatchNormalization without data: on inputs distilled from the file itself, those on which its
 * norms see, with the noise on, just what they stored in training. What it may change is bounded, since such inputs
 * only resemble the data: channels that are almost dead keep what they store.
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
    return recalibrate.plan(context).map((edit) => bounded(edit, norms.get(edit.node)!))
  },
})

/** Largest change of a channel's variance, as a factor either way, and of its mean, in stored standard deviations. */
const largestFactor = 4
const largestMove = 1

/** A channel with less than this share of its layer's mean variance is almost dead. */
const deadShare = 1e-3

function bounded(edit: SetRunningStatistics, norm: Norm): SetRunningStatistics {
  const { mean: oldMean, variance: oldVariance } = norm
  if (!oldMean || !oldVariance) return edit
  const floor = deadShare * (oldVariance.reduce((sum, v) => sum + v, 0) / oldVariance.length)
  const mean = Float64Array.from(edit.mean)
  const variance = Float64Array.from(edit.variance)
  oldVariance.forEach((v, c) => {
    if (!(v > floor)) {
      mean[c] = oldMean[c]!
      variance[c] = v
      return
    }
    const move = largestMove * Math.sqrt(v + norm.epsilon)
    mean[c] = Math.min(oldMean[c]! + move, Math.max(oldMean[c]! - move, mean[c]!))
    variance[c] = Math.min(v * largestFactor, Math.max(v / largestFactor, variance[c]!))
  })
  return { ...edit, mean, variance }
}
