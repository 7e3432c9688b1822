import { defineRepair } from './define-repair.ts'
import { replaceExposed } from './replace-exposed.ts'

/**
 * Puts Uout, which perturbs every element by a bounded share, in the place of every noise that reaches a norm. Trained
 * with it, a network stores variances that hold at inference too: relative variance beta^2 / 3, 1/300 for beta = 0.1.
 *
 * Source: Li et al., arXiv:1801.05134, section 5 (strategy 2).
 */
export const uout = defineRepair({
  id: 'uout',
  answers: ['dropout-before-batch-norm', 'dropout-upstream-of-batch-norm'],
  preserves: 'inference',
  needs: 'training',
  parameter: 'beta',
  plan: (context) =>
    replaceExposed(context, {
      kind: 'uout',
      standard: () => 0.1,
      parameterOf: (s2) => Math.min(1, Math.sqrt(3 * s2)),
    }),
})
