import { defineRepair } from './define-repair.ts'
import { replaceExposed } from './replace-exposed.ts'

/**
 * Puts moment-preserving dropout in the place of every noise that reaches a norm: it drops as much as Dropout does, but
 * gives every channel back its mean and variance, so that a norm directly behind it stores what holds at inference.
 *
 * Source: docs/theory.md.
 */
export const momentPreserving = defineRepair({
  id: 'moment-preserving',
  answers: ['dropout-before-batch-norm', 'dropout-upstream-of-batch-norm'],
  preserves: 'inference',
  needs: 'training',
  parameter: 'ratio',
  plan: (context) =>
    replaceExposed(context, {
      kind: 'moment-preserving',
      standard: (noise) => noiseRatio(noise.relativeVariance) ?? 0.5,
      parameterOf: (s2) => s2 / (1 + s2),
    }),
})

/** The dropped share that has the relative variance. */
const noiseRatio = (s2: number | undefined) => (s2 === undefined ? undefined : s2 / (1 + s2))
