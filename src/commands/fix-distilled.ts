import { factsOf } from '../analysis/index.ts'
import type { ModelFile } from '../formats/define-format.ts'
import { applyEdits, type SetRunningStatistics } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { type Measured, measure, measureMoments, type NormMoments } from '../measure/measure.ts'
import { meanOf } from '../measure/moments.ts'
import type { Files } from '../platform/files.ts'
import type { RepairInfo, Result } from '../result/result.ts'
import { matchedChannels, distill as repair } from '../rewrite/repairs/distill.ts'
import { check } from './check.ts'
import { type Data, dataFor } from './data.ts'
import { distilledInputs, largestLoss } from './distilled-inputs.ts'
import { type Fixed, judgedRepair, largestRatio, nothing, outcome } from './fixed.ts'
import { type FixOptions, phase } from './options.ts'
import { recalibrated } from './recalibrated.ts'

/** Largest ratio between the statistics that two restarts give. */
const largestSpread = 1.25

/** Largest layer ratio below which there is nothing to gain. */
const smallRatio = 1.05

/** Mean ratio over layers between the statistics of distilled inputs and of the data, from which on they disagree. */
const disagreement = 1.3

/** A repair without data, before it is judged. */
export interface DistilledRepair {
  /** Whether it may be trusted, and why not. */
  readonly outcome: 'found' | 'refused' | 'nothing-to-repair'
  readonly reason: string
  readonly distillation?: RepairInfo['distillation']
  /** The rest is there if it was found, or `regardless`. */
  readonly edits?: readonly SetRunningStatistics[]
  readonly passes?: number
  /** The model as it is on the distilled inputs. */
  readonly seen?: Measured
  readonly onInputs?: Data
}

/**
 * Distils inputs from the model, re-estimates its statistics on them, and says whether that can be trusted: not where
 * the stored moments cannot be matched, or where restarts disagree. With `regardless` it goes on all the same.
 */
export async function distilledRepair(
  model: Model,
  options: Omit<FixOptions, 'data' | 'from'>,
  files: Files,
  { regardless = false }: { readonly regardless?: boolean | undefined } = {},
): Promise<DistilledRepair> {
  const { noises, norms, paths } = factsOf(model)
  if (norms.length === 0)
    throw new UserError(
      'the model has no BatchNormalization with running statistics: nothing to repair; if it was exported for inference, they were folded away: export it in training mode (see the README)',
    )
  if (paths.length === 0)
    return {
      outcome: 'nothing-to-repair',
      reason:
        noises.length === 0
          ? 'the file holds no noise, so nothing tells what its statistics were learned under; if they are wrong all the same, repair with data: --data FILE'
          : 'no noise reaches a batch normalization, so its statistics hold at inference too',
    }

  const { distilled, data: onInputs, noisy, loss: worst } = await distilledInputs(model, options, files)
  const matched = norms.flatMap((norm) => matchedChannels(norm, noisy.get(norm.key)))
  const each = distilled.restarts.map((data) => dataFor(model, { data }, files))
  const distillation = {
    inputs: distilled.data.size,
    steps: distilled.steps,
    losses: [...distilled.losses],
    matchedShare: matched.filter(Boolean).length / matched.length,
    spread: await spreadOf(model, await Promise.all(each), options),
  }
  const way = 'repair with 64 to 256 samples like the training data: --data FILE'
  const refusal =
    worst > largestLoss || !Number.isFinite(worst)
      ? `the stored moments could not be matched without data: loss ${worst.toPrecision(2)} reached, at most ${largestLoss} expected; ${way}`
      : distillation.spread > largestSpread
        ? `restarts gave statistics that differ by up to ${distillation.spread.toFixed(2)}x, at most ${largestSpread} expected; ${way}`
        : undefined
  if (refusal !== undefined && !regardless) return { outcome: 'refused', reason: refusal, distillation }

  const { samples: _all, ...rest } = options
  const plain = { ...rest, modeSamples: 0 }
  const seen = await measure(model, onInputs.batches, { ...plain, onProgress: phase(options, 'measuring') })
  const largest = largestRatio(seen.measurement)
  const needless =
    largest < smallRatio
      ? `on inputs that match what it stored, no layer shifts by more than ${largest.toFixed(2)}: nothing to gain`
      : undefined
  if (needless !== undefined && !regardless)
    return { outcome: 'nothing-to-repair', reason: needless, distillation }
  const found = await recalibrated(model, onInputs, plain)
  const edits = repair.plan({
    model,
    facts: factsOf(model),
    statistics: new Map(found.edits.map(({ node, mean, variance }) => [node, { mean, variance }])),
    seen: noisy,
    choices: {},
  })
  return {
    outcome: refusal !== undefined ? 'refused' : needless !== undefined ? 'nothing-to-repair' : 'found',
    reason: refusal ?? needless ?? '',
    distillation,
    edits,
    passes: found.passes,
    seen,
    onInputs,
  }
}

/**
 * The repair without data, judged by the shift that is left on the distilled inputs. With data, what was found is
 * measured on that and compared with what the data itself gives.
 */
export async function fixDistilled(file: ModelFile, options: FixOptions, files: Files): Promise<Fixed> {
  const { model } = file
  const base: Result = { ...check(file, options), command: 'fix', seed: options.seed ?? 0 }
  const found = await distilledRepair(model, options, files, { regardless: options.force })
  const { distillation, edits, seen, onInputs, passes = 0 } = found
  if (!edits || !seen || !onInputs)
    return {
      result: {
        ...base,
        repair: {
          ...outcome(repair, found.outcome === 'found' ? 'refused' : found.outcome, found.reason),
          ...(distillation ? { distillation } : {}),
        },
      },
      ...nothing,
    }

  const repaired = applyEdits(model, edits)
  const data =
    options.data === undefined ? undefined : await dataFor(model, { ...options, data: options.data }, files)
  const judged = data ?? onInputs
  const look = (side: Model) =>
    measure(side, judged.batches, {
      ...options,
      ...(data ? {} : { modeSamples: 0, samples: undefined }),
      modeData: judged.trainingBatches,
      onProgress: phase(options, 'measuring'),
    })
  const before: Measured = data ? await look(model) : seen
  const after = await look(repaired)
  if (before.measurement.partial || after.measurement.partial)
    throw new UserError('stopped before the repair was done; nothing was written')
  // Of distilled inputs there are as many as were made: nobody has more of them to give.
  const notes = data
    ? [...after.measurement.notes, ...(await comparedWithData(model, data, edits, options))]
    : [withoutData]
  return judgedRepair(
    file,
    {
      repair,
      before: { ...before.measurement, ...(data ? {} : { notes: [] }) },
      after: { ...after.measurement, notes },
      edits,
      statistics: edits,
      told: { samples: distillation?.inputs ?? 0, passes, ...(distillation ? { distillation } : {}) },
    },
    options,
  )
}

const withoutData =
  'no data was given: the layers were measured on inputs distilled from the model itself; judge the repaired model on data of your own before you ship it'

/** Largest ratio over layers between the mean variances that the restarts give. */
async function spreadOf(model: Model, restarts: readonly Data[], options: FixOptions): Promise<number> {
  const layers = new Map<string, number[]>()
  for (const { largeBatches } of restarts) {
    const { moments } = await measureMoments(model, largeBatches, 'calibrate', {
      ...options,
      onProgress: undefined,
    })
    for (const [key, { variance }] of moments) layers.set(key, [...(layers.get(key) ?? []), meanOf(variance)])
  }
  const ratios = [...layers.values()].map((means) => Math.max(...means) / Math.min(...means))
  return Math.max(1, ...ratios.filter(Number.isFinite))
}

/** What a person has to know of distilled statistics when data is at hand. */
async function comparedWithData(
  model: Model,
  data: Data,
  edits: readonly SetRunningStatistics[],
  options: FixOptions,
): Promise<string[]> {
  const { moments } = await measureMoments(model, data.largeBatches, 'calibrate', {
    ...options,
    onProgress: phase(options, 'comparing with the data'),
  })
  const apart = edits.flatMap(({ node, variance }) => {
    const real = moments.get(node) as NormMoments | undefined
    const ratio = real && meanOf(variance) / meanOf(real.variance)
    return ratio !== undefined && ratio > 0 && Number.isFinite(ratio) ? [Math.abs(Math.log(ratio))] : []
  })
  const ratio = Math.exp(meanOf(apart))
  if (!(ratio > disagreement)) return []
  return [
    `the statistics that the data gives lie ${ratio.toFixed(2)}x from those of distilled inputs (mean over layers): the data may be unlike the training data`,
  ]
}
