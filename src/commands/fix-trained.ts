import { factsOf } from '../analysis/index.ts'
import type { Dataset } from '../data/dataset.ts'
import { fairPart } from '../data/fair-part.ts'
import { openDataset } from '../data/open.ts'
import { type Resident, resident } from '../data/resident.ts'
import type { ModelFile } from '../formats/define-format.ts'
import { applyEdits, type Edit, type SetRunningStatistics } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import { type Measured, measure as measureModel } from '../measure/measure.ts'
import type { Files } from '../platform/files.ts'
import type { RepairInfo } from '../result/result.ts'
import type { Repair } from '../rewrite/repairs/define-repair.ts'
import { freshParameters } from '../train/fresh-parameters.ts'
import { holdOut } from '../train/hold-out.ts'
import { type Training, trainer } from '../train/trainer.ts'
import { type Data, dataFor } from './data.ts'
import { type Fixed, judge, judgedRepair, noiseChangesOf } from './fixed.ts'
import { parametersNotStored } from './not-stored.ts'
import { type FixOptions, phase, type RepairTraining } from './options.ts'
import { recalibrated } from './recalibrated.ts'

const standardHeldOut = 0.2
const standardRate = 1e-3

/** Samples of the training part that statistics are re-estimated on: more change them by less than their noise. */
const calibrationSamples = 2048

/** Labelled samples in two parts: to train and re-estimate on, and to judge by. */
export interface LabelledParts {
  readonly whole: Resident
  /** Share of `whole` that is held out. */
  readonly share: number
  readonly calibration: Data
  readonly judged: Data
}

/** Reads the data and holds part of it out. Throws a UserError if it has no labels to train on. */
export async function labelledParts(
  file: ModelFile,
  { data, samples, training, ...options }: FixOptions,
  files: Files,
): Promise<LabelledParts> {
  if (data === undefined)
    throw new UserError(
      '--finetune and --retrain need labelled samples to train on: --data FILE, and --labels FILE if the labels are apart',
    )
  const opened: Dataset = typeof data === 'string' ? await openDataset(data, files, options) : data
  if (!opened.labelled)
    throw new UserError(
      `${opened.name} has no labels, which training needs; give them (--labels FILE), or leave --finetune and --retrain out`,
    )
  const whole = await resident(samples === undefined ? opened : fairPart(opened, samples), {
    signal: options.signal,
    onProgress: phase(options, 'reading the data'),
  })
  const share = training?.heldOut ?? standardHeldOut
  const { held, rest } = holdOut(whole.size, share, options.seed ?? 0)
  const { labels: _, ...plain } = options
  const part = (numbers: Int32Array) => dataFor(file.model, { ...plain, data: whole.ordered(numbers) }, files)
  const every = Math.max(1, Math.ceil(rest.length / calibrationSamples))
  return {
    whole,
    share,
    judged: await part(held),
    calibration: await part(rest.filter((_, i) => i % every === 0)),
  }
}

export interface TrainedOn {
  /** All that changes in the file: noises, weights, statistics. */
  readonly edits: readonly Edit[]
  readonly statistics: readonly SetRunningStatistics[]
  readonly after: Measured
  readonly passes: number
  readonly training: RepairInfo['training']
}

/**
 * The model with `restructuring` applied, trained on, its statistics re-estimated with the noise off, and measured on
 * the samples held out. Training ends early at `deadline` (as of performance.now()). Throws a UserError when it is
 * stopped, if the file cannot take the edits (before anything is trained), or if training fails.
 */
export async function trainedOn(
  file: ModelFile,
  restructuring: readonly Edit[],
  { whole, share, calibration, judged }: LabelledParts,
  choice: RepairTraining,
  options: FixOptions & { readonly deadline?: number },
): Promise<TrainedOn> {
  const { seed = 0, threads, signal, deadline = Number.POSITIVE_INFINITY } = options
  const { epochs, fresh = false, learningRate = standardRate, augment } = choice
  const structure = applyEdits(file.model, restructuring)
  const reset = fresh ? freshParameters(structure, seed) : []
  const started = performance.now()
  const training = await trainer(applyEdits(structure, reset), {
    ...adaptOptions(options),
    data: whole,
    validation: share,
    epochs,
    optimizer: 'adamw',
    schedule: 'cosine',
    learningRate,
    augment,
    freeze: parametersNotStored(file),
    seed,
    threads,
    signal,
  })
  file.write([...restructuring, ...training.edits()])
  const steps = await run(training, deadline, options)
  if (signal?.aborted) throw new UserError('stopped before the repair was done; nothing was written')
  const weights = training.edits().filter((edit) => edit.kind === 'set-tensor')
  const learned = applyEdits(structure, training.edits())
  const plain = { ...options, samples: calibration.batches.size, modeSamples: 0 }
  const { edits: statistics, model, passes } = await recalibrated(learned, calibration, plain)
  const after = await judgedOn(model, judged, options)
  return {
    edits: [...restructuring, ...weights, ...statistics],
    statistics,
    after,
    passes,
    training: {
      start: fresh ? 'fresh' : 'file',
      parameters: training.parameterCount,
      epochs,
      steps,
      samples: whole.size - judged.batches.size,
      heldOut: judged.batches.size,
      recipe: { ...training.recipe },
      curve: [...training.summary().curve],
      durationMs: performance.now() - started,
    },
  }
}

async function run(training: Training, deadline: number, options: FixOptions): Promise<number> {
  let [done, of] = [0, 1]
  for await (const event of training) {
    if (event.type === 'start') of = event.steps
    if (event.type === 'step') {
      done = event.step
      phase(options, `training, epoch ${event.epoch}, loss ${event.loss.toPrecision(3)}; step`)(done, of)
      if (performance.now() > deadline) break
    }
  }
  return done
}

/** The model in eval mode on the samples held out. */
export async function judgedOn(
  model: ModelFile['model'],
  { batches, trainingBatches }: Data,
  options: FixOptions,
): Promise<Measured> {
  const measured = await measureModel(model, batches, {
    ...options,
    samples: batches.size,
    modeData: trainingBatches,
    onProgress: phase(options, 'measuring'),
  })
  if (measured.measurement.partial)
    throw new UserError('stopped before the repair was done; nothing was written')
  return measured
}

const adaptOptions = ({ batchSize, scale, mean, std, layout, repeatGrey }: FixOptions) =>
  Object.fromEntries(
    Object.entries({ batchSize, scale, mean, std, layout, repeatGrey }).filter(([, v]) => v !== undefined),
  )

/**
 * A repair that also trains the model on. Before and after are measured on samples that neither training nor the
 * statistics saw.
 */
export async function fixTrained(
  file: ModelFile,
  repair: Repair,
  restructuring: readonly Edit[],
  choice: RepairTraining,
  options: FixOptions,
  files: Files,
): Promise<Fixed> {
  const parts = await labelledParts(file, options, files)
  const before = await judgedOn(file.model, parts.judged, options)
  return resultOf(
    file,
    repair,
    restructuring,
    before,
    await trainedOn(file, restructuring, parts, choice, options),
    options,
  )
}

export function resultOf(
  file: ModelFile,
  repair: Pick<Repair, 'id' | 'preserves'>,
  restructuring: readonly Edit[],
  before: Measured,
  { edits, statistics, after, passes, training }: TrainedOn,
  options: FixOptions,
  verdict = judge(before.measurement, after.measurement),
): Fixed {
  return judgedRepair(
    file,
    {
      repair,
      before: before.measurement,
      after: after.measurement,
      edits,
      statistics,
      told: {
        ...(restructuring.length > 0 && { noises: noiseChangesOf(factsOf(file.model), restructuring) }),
        preserves: training ? 'neither' : repair.preserves,
        samples: after.measurement.data.samples,
        passes,
        ...(training && { training }),
      },
    },
    options,
    verdict,
  )
}
