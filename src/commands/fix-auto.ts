import { factsOf } from '../analysis/index.ts'
import { openDataset } from '../data/open.ts'
import type { ModelFile } from '../formats/define-format.ts'
import { applyEdits, type Edit } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import type { Measured } from '../measure/measure.ts'
import type { Files } from '../platform/files.ts'
import type { Measurement, RepairInfo, Result } from '../result/result.ts'
import type { Repair } from '../rewrite/repairs/define-repair.ts'
import { moveDropoutAfterLastNorm } from '../rewrite/repairs/move-dropout-after-last-norm.ts'
import { recalibrate } from '../rewrite/repairs/recalibrate.ts'
import { uout } from '../rewrite/repairs/uout.ts'
import { check } from './check.ts'
import { type Data, dataFor } from './data.ts'
import { fixDistilled } from './fix-distilled.ts'
import {
  judgedOn,
  type LabelledParts,
  labelledParts,
  resultOf,
  type TrainedOn,
  trainedOn,
} from './fix-trained.ts'
import { type Fixed, judge, largestRatio, lossRise, nothing, outcome } from './fixed.ts'
import { withWeights } from './measure.ts'
import { needGraph } from './need-graph.ts'
import type { FixOptions } from './options.ts'
import { recalibrated } from './recalibrated.ts'

/** A layer shift ratio below this, or not surely above it, counts as closed. */
const closedRatio = 1.05

const standardBudgetMinutes = 10
const standardEpochs = 5

/** Replaces or moves the noise: these need labels and time, so they come last. */
const structural: readonly Repair[] = [uout, moveDropoutAfterLastNorm]

type Tried = NonNullable<RepairInfo['tried']>[number]

/**
 * Tries repairs in order of cost and keeps the first that closes the gap: nothing, the statistics alone, then milder
 * noise and moved noise, each trained on within half of what is left of the budget. Without data the statistics are
 * distilled. Every one is judged on the same samples; where there are labels, samples that no repair saw.
 */
export async function fixAuto(file: ModelFile, options: FixOptions, files: Files): Promise<Fixed> {
  needGraph(file)
  if (options.data === undefined) return withoutData(file, options, files)
  const { model } = file
  const parts = await partsOf(file, { ...options, data: options.data }, files)
  const tried: Tried[] = []
  let started = performance.now()
  const tell = (id: string, measured: Measured | undefined, why: string) => {
    tried.push({ id, ...figuresOf(measured?.measurement), durationMs: performance.now() - started, why })
    started = performance.now()
  }
  const before = await judgedOn(model, parts.judged, options)
  const open = whyOpen(before.measurement, before.measurement)
  tell('nothing', before, open ?? 'no layer shifts')
  const base: Result = {
    ...check(file, options),
    command: 'fix',
    seed: options.seed ?? 0,
    measurement: withWeights(model, before.measurement),
  }
  const auto = { id: 'auto', preserves: 'both' } as const
  if (open === undefined)
    return {
      result: {
        ...base,
        repair: {
          ...outcome(auto, 'nothing-to-repair', `every layer interval reaches below ${closedRatio}`),
          tried,
        },
      },
      ...nothing,
    }

  const candidates: { repair: Repair; restructuring: readonly Edit[]; done: TrainedOn }[] = []
  const attempt = async (
    repair: Repair,
    restructuring: readonly Edit[],
    make: () => Promise<TrainedOn>,
  ): Promise<Fixed | undefined> => {
    const done = await make()
    candidates.push({ repair, restructuring, done })
    const why = whyOpen(done.after.measurement, before.measurement)
    tell(repair.id, done.after, why ?? 'closes the gap')
    if (why !== undefined) return undefined
    const { reason } = judge(before.measurement, done.after.measurement)
    const verdict = { better: true, reason: `the cheapest repair that closes the gap: ${reason}` }
    return withTried(resultOf(file, repair, restructuring, before, done, options, verdict), tried)
  }

  const first = await attempt(recalibrate, [], () => statisticsAlone(file, parts, options))
  if (first) return first
  const deadline = performance.now() + 60_000 * (options.budgetMinutes ?? standardBudgetMinutes)
  for (const [i, repair] of structural.entries()) {
    if (!parts.labelled) {
      tell(repair.id, undefined, 'not tried: the data has no labels to train on')
      continue
    }
    const left = deadline - performance.now()
    if (left <= 0) {
      tell(repair.id, undefined, 'not tried: the budget is used up')
      continue
    }
    try {
      const restructuring = repair.plan({
        model,
        facts: factsOf(model),
        statistics: new Map(),
        choices: options.choices ?? {},
      })
      if (restructuring.length === 0) {
        tell(repair.id, undefined, 'not tried: no noise reaches a batch normalization')
        continue
      }
      const training = options.training ?? { epochs: standardEpochs }
      const until = performance.now() + left / (structural.length - i)
      const kept = await attempt(repair, restructuring, () =>
        trainedOn(file, restructuring, parts.labelled!, training, { ...options, deadline: until }),
      )
      if (kept) return kept
    } catch (error) {
      if (!(error instanceof UserError) || options.signal?.aborted) throw error
      tell(repair.id, undefined, error.message)
    }
  }
  const reason = `none of the repairs closed the gap: ${tried.map(({ id, why }) => `${id}: ${why}`).join('; ')}`
  const [nearest] = [...candidates].sort(
    (a, b) => largestRatio(a.done.after.measurement) - largestRatio(b.done.after.measurement),
  )
  if (options.force && nearest)
    return withTried(
      resultOf(file, nearest.repair, nearest.restructuring, before, nearest.done, options),
      tried,
    )
  return { result: { ...base, repair: { ...outcome(auto, 'rejected', reason), tried } }, ...nothing }
}

async function withoutData(file: ModelFile, options: FixOptions, files: Files): Promise<Fixed> {
  const started = performance.now()
  const fixed = await fixDistilled(file, options, files)
  const { repair, measurement, after } = fixed.result
  const durationMs = performance.now() - started
  const why = 'not tried: there is no labelled data to train on'
  return withTried(fixed, [
    {
      id: 'nothing',
      ...figuresOf(measurement),
      durationMs: 0,
      why: measurement ? 'layers shift' : 'not measured: there is no data',
    },
    { id: 'distill', ...figuresOf(after), durationMs, why: `${repair!.outcome}: ${repair!.reason}` },
    ...structural.map(({ id }) => ({ id, ...figuresOf(undefined), durationMs: 0, why })),
  ])
}

const withTried = (fixed: Fixed, tried: readonly Tried[]): Fixed => ({
  ...fixed,
  result: { ...fixed.result, repair: { ...fixed.result.repair!, tried: [...tried] } },
})

interface Parts {
  readonly judged: Data
  readonly calibration: Data
  /** Undefined where there are no labels. */
  readonly labelled: LabelledParts | undefined
}

async function partsOf(
  file: ModelFile,
  options: FixOptions & { readonly data: NonNullable<FixOptions['data']> },
  files: Files,
): Promise<Parts> {
  const dataset =
    typeof options.data === 'string' ? await openDataset(options.data, files, options) : options.data
  if (!dataset.labelled) {
    const data = await dataFor(file.model, { ...options, data: dataset }, files)
    return { judged: data, calibration: data, labelled: undefined }
  }
  const labelled = await labelledParts(file, { ...options, data: dataset }, files)
  return { judged: labelled.judged, calibration: labelled.calibration, labelled }
}

async function statisticsAlone(
  { model }: ModelFile,
  { calibration, judged }: Parts,
  options: FixOptions,
): Promise<TrainedOn> {
  const plain = { ...options, samples: calibration.batches.size, modeSamples: 0 }
  const { edits, passes } = await recalibrated(model, calibration, plain)
  return {
    edits,
    statistics: edits,
    passes,
    after: await judgedOn(applyEdits(model, edits), judged, options),
    training: undefined,
  }
}

/** Why the gap is not closed; undefined if it is. */
function whyOpen(after: Measurement, before: Measurement): string | undefined {
  const shifted = after.layers.filter(({ shiftRatioInterval }) => shiftRatioInterval[0] > closedRatio)
  if (shifted.length > 0)
    return `${shifted.length} of ${after.layers.length} layers shift by more than ${closedRatio}`
  if (after.layers.length === 0) return 'no layer could be measured'
  const [old, now] = [before.modes.eval, after.modes.eval]
  if (old.accuracyInterval && now.accuracy !== undefined && now.accuracy < old.accuracyInterval[0])
    return `accuracy fell beyond its confidence interval (${(100 * old.accuracy!).toFixed(1)} % before, ${(100 * now.accuracy).toFixed(1)} % after)`
  const risen = lossRise(old, now)
  return risen && `cross entropy rose beyond its confidence interval (${risen})`
}

const figuresOf = (measurement: Measurement | undefined) => {
  const ratio = measurement ? largestRatio(measurement) : Number.NaN
  const { accuracy, loss } = measurement?.modes.eval ?? {}
  return {
    largestRatio: Number.isFinite(ratio) ? ratio : null,
    accuracy: accuracy ?? null,
    loss: loss ?? null,
  }
}
