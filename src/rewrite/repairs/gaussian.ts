import { defineRepair } from './define-repair.ts'
import { replaceExposed } from './replace-exposed.ts'

/**
 * Puts Gaussian dropout in the place of every noise that reaches a norm. It is milder only where its variance sigma^2
 * is smaller: at sigma^2 = ratio / (1 - ratio) it shifts just as much as the Dropout that it replaces.
 *
 * Source: docs/theory.md, table of noises.
 */
export const gaussian = defineRepair({
  id: 'gaussian',
  answers: ['dropout-before-batch-norm', 'dropout-upstream-of-batch-norm'],
  preserves: 'inference',
  needs: 'training',
  parameter: 'sigma',
  plan: (context) =>
    replaceExposed(context, { kind: 'gaussian', standard: () => 0.1, parameterOf: Math.sqrt }),
})
