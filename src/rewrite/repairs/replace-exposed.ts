import type { Noise } from '../../analysis/facts.ts'
import type { ReplaceNoise } from '../../ir/edit.ts'
import { UserError } from '../../ir/errors.ts'
import type { RepairContext } from './define-repair.ts'
import { exposed, noiseNode, replaceNoise, trainingOf } from './noise-nodes.ts'

interface Replacement {
  readonly kind: string
  /** Parameter where nobody chose one, for the noise that goes. */
  readonly standard: (noise: Noise) => number
  /** The parameter that has this relative variance. */
  readonly parameterOf: (relativeVariance: number) => number
}

/** Puts another kind of noise in the place of every noise that reaches a norm. */
export function replaceExposed(
  context: RepairContext,
  { kind, standard, parameterOf }: Replacement,
): ReplaceNoise[] {
  const { model, choices } = context
  return exposed(context).map((noise) => {
    const parameter =
      choices.targetRatio === undefined
        ? (choices.parameter ?? standard(noise))
        : parameterOf(relativeVarianceFor(noise, choices.targetRatio, context))
    const settings = { training: trainingOf(noise, model), label: noise.label }
    return replaceNoise(context, noise, noiseNode(model, kind, parameter, settings))
  })
}

/**
 * The relative variance under which no norm that the noise reaches directly or linearly is predicted to shift by more
 * than `target` = Var_train / Var_eval. The noise's part of the stored variance is proportional to its relative
 * variance s2; with D = Var_eval / Var_stored as predicted under s2 it is 1 - D, so that
 *
 *   s2' = s2 (target - 1) D / (1 - D)
 *
 * Source: docs/theory.md, "Direct" and "Linear".
 */
function relativeVarianceFor(noise: Noise, target: number, { facts }: RepairContext): number {
  const s2 = noise.relativeVariance
  const ratios = facts.paths
    .filter((path) => path.noise.key === noise.key && path.through !== 'nonlinear')
    .flatMap(({ norm }) => {
      const prediction = facts.predictions.get(norm.key)
      return prediction && 'layerRatio' in prediction ? [prediction.layerRatio] : []
    })
    .filter((ratio) => ratio > 0 && ratio < 1)
  if (s2 === undefined || ratios.length === 0)
    throw new UserError(
      `the shift that '${noise.label}' causes cannot be predicted from the file, so no parameter can be chosen for a given shift; give the parameter itself`,
    )
  return Math.min(...ratios.map((ratio) => (s2 * (target - 1) * ratio) / (1 - ratio)))
}
