import type { Norm } from '../../analysis/facts.ts'
import type { SetRunningStatistics } from '../../ir/edit.ts'
import { defineRepair, type TargetStatistics } from './define-repair.ts'

/**
 * Stores in every BatchNormalization the moments that its input really has with all noise off.
 *
 * All of them, not only those that noise reaches directly: noise also decorrelates channels, so the layers behind
 * shift as well, the other way round, and mending the exposed ones alone makes the network worse.
 * A layer that is applied several times stores the moments of all its inputs together.
 *
 * Source: Li et al., arXiv:1801.05134, section 4.3; docs/theory.md, "Behind".
 */
export const recalibrate = defineRepair<SetRunningStatistics>({
  id: 'recalibrate',
  answers: [
    'dropout-before-batch-norm',
    'dropout-upstream-of-batch-norm',
    'max-pool-after-dropout',
    'never-updated-batch-norm',
  ],
  preserves: 'training',
  needs: 'data',
  plan({ facts, statistics }) {
    const layers = new Map<string, Norm[]>()
    for (const norm of facts.norms) {
      if (!statistics.has(norm.key)) continue
      const layer = norm.node.inputs.slice(1, 5).join('\n')
      layers.set(layer, [...(layers.get(layer) ?? []), norm])
    }
    return [...layers.values()].flatMap((uses) => {
      const pooled = pool(uses.map(({ key }) => statistics.get(key)!))
      return uses.map(({ key }) => ({ kind: 'set-running-statistics' as const, node: key, ...pooled }))
    })
  },
})

/** Moments of several equally large sets together. */
function pool(sets: readonly TargetStatistics[]): TargetStatistics {
  const first = sets[0]!
  if (sets.length === 1) return { mean: first.mean, variance: first.variance }
  const mean = first.mean.map((_, c) => sets.reduce((sum, set) => sum + set.mean[c]!, 0) / sets.length)
  const variance = first.variance.map(
    (_, c) =>
      sets.reduce((sum, set) => sum + set.variance[c]! + (set.mean[c]! - mean[c]!) ** 2, 0) / sets.length,
  )
  return { mean, variance }
}
