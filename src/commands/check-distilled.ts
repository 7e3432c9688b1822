import type { Facts, Prediction, Unpredicted } from '../analysis/facts.ts'
import { factsOf } from '../analysis/index.ts'
import type { ModelFile } from '../formats/define-format.ts'
import { applyEdits, type SetRunningStatistics } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { measureMoments, type NormMoments } from '../measure/measure.ts'
import { meanOf } from '../measure/moments.ts'
import type { Files } from '../platform/files.ts'
import type { Result } from '../result/result.ts'
import { matchedChannels } from '../rewrite/repairs/distill.ts'
import { check, checkFacts } from './check.ts'
import { distilledInputs, largestLoss } from './distilled-inputs.ts'
import type { CheckOptions, FixOptions, RunOptions } from './options.ts'

/** Half-width of the interval of a logarithm that nine of ten layers lie within (docs/theory.md). */
const error = 0.1

/**
 * `check`, but predictions that would be estimates are measured on inputs that are distilled from the model: no data
 * either, but the model is run, for some seconds to a minute. Where inputs cannot be distilled, or do not match what is
 * stored, predictions stay as they are, and a note on the model says why. Throws a UserError for rule ids that do not
 * exist, and the signal's reason if it is aborted. Source: docs/theory.md, "How far predictions can be trusted".
 */
export async function checkDistilled(
  file: ModelFile,
  options: CheckOptions & RunOptions & Pick<FixOptions, 'distillation'>,
  files: Files,
): Promise<Result> {
  const facts = factsOf(file.model)
  const isEstimated = [...facts.predictions.values()].some((p) => 'reason' in p || p.isRough)
  if (file.withoutGraph !== undefined || !isEstimated) return check(file, options)
  try {
    return checkFacts(file, options, { ...facts, predictions: await measured(file.model, options, files) })
  } catch (problem) {
    if (!(problem instanceof UserError) || options.signal?.aborted) throw problem
    const result = check(file, options)
    const note = `predictions are by formula, not measured on distilled inputs: ${problem.message}`
    return { ...result, model: { ...result.model, notes: [...(result.model.notes ?? []), note] } }
  }
}

/** Predictions of all norms that noise reaches; those that no assumption went into stay. */
async function measured(
  model: Model,
  options: RunOptions & Pick<FixOptions, 'distillation'>,
  files: Files,
): Promise<Facts['predictions']> {
  const { predictions } = factsOf(model)
  const inputs = await distilledInputs(
    model,
    { ...options, distillation: { restarts: 1, ...options.distillation } },
    files,
  )
  const { data, noisy, loss, distilled } = inputs
  if (!(loss <= largestLoss))
    throw new UserError(
      `loss ${loss.toPrecision(2)} reached, at most ${largestLoss} expected: they do not match what the model stored`,
    )
  const { seed, threads, signal } = options
  const quiet = await measureMoments(model, data.largeBatches, 'eval', { seed, threads, signal })
  // What the formulas say of these inputs tells how wrong they are, and that is what they are corrected by.
  const onInputs = factsOf(applyEdits(model, statisticsOf(noisy))).predictions
  const assumptions = [`measured on ${distilled.data.size} inputs distilled from the model`]
  return new Map(
    [...predictions].map(([key, formula]): [string, Prediction | Unpredicted] => {
      const { norm } = formula
      const [before, after] = [noisy.get(key)?.variance, quiet.moments.get(key)?.variance]
      if (('layerRatio' in formula && !formula.isRough) || !before || !after) return [key, formula]
      const there = onInputs.get(key)
      const both = 'layerRatio' in formula && there && 'layerRatio' in there
      const layerRatio = (meanOf(after) / meanOf(before)) * (both ? formula.layerRatio / there.layerRatio : 1)
      if (!(layerRatio > 0) || !Number.isFinite(layerRatio)) return [key, formula]
      const matched = matchedChannels(norm, noisy.get(key))
      const channelRatio = after.map((variance, c) => {
        if (!matched[c]) return both ? formula.channelRatio[c]! : layerRatio
        const own = variance / before[c]!
        return both ? (own * formula.channelRatio[c]!) / there.channelRatio[c]! : own
      })
      const [low, high] = [layerRatio * Math.exp(-error), layerRatio * Math.exp(error)]
      return [key, { norm, channelRatio, layerRatio, layerInterval: [low, high], isRough: true, assumptions }]
    }),
  )
}

const statisticsOf = (moments: ReadonlyMap<string, NormMoments>): SetRunningStatistics[] =>
  [...moments].map(([node, { mean, variance }]) => ({
    kind: 'set-running-statistics',
    node,
    mean,
    variance: variance.map((v) => Math.max(v, Number.MIN_VALUE)),
  }))
