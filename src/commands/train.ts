import { factsOf } from '../analysis/index.ts'
import type { Dataset } from '../data/dataset.ts'
import { fairPart } from '../data/fair-part.ts'
import { openDataset } from '../data/open.ts'
import { type Resident, resident } from '../data/resident.ts'
import type { ModelFile } from '../formats/define-format.ts'
import { encodeModel } from '../formats/onnx/index.ts'
import { readModelBytes } from '../formats/open-model.ts'
import { applyEdits, type Edit } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import { parseNetwork, placementNamed } from '../models/index.ts'
import type { Files } from '../platform/files.ts'
import type { Result, TrainingInfo } from '../result/result.ts'
import { runtimeVersion } from '../runtime/session.ts'
import { type Training, trainer } from '../train/trainer.ts'
import { version } from '../version.ts'
import { check } from './check.ts'
import { needGraph } from './need-graph.ts'
import { parametersNotStored } from './not-stored.ts'
import { type NetworkChoice, phase, type TrainCommandOptions } from './options.ts'

export interface Trained {
  readonly result: Result
  /** The model that was trained on, to be written with `edits` by `save`: in its own format, or as ONNX. */
  readonly file: ModelFile
  readonly edits: readonly Edit[]
}

/**
 * Trains the model in a file, or a network by its name, and tells how that went. The file itself is not touched: see
 * `save`. When the signal aborts, training stops after the step that runs; what was learned until then is in `edits`.
 * Throws a UserError if model, data, loss and device do not fit together, or if numbers cease to be finite.
 */
export async function train(
  source: ModelFile | NetworkChoice,
  options: TrainCommandOptions,
  files: Files,
): Promise<Trained> {
  if (!('network' in source)) needGraph(source)
  const { labels: _, samples: __, ...forValidation } = options
  const data = await load(options.data, options, files, 'reading the data')
  const validation =
    typeof options.validation === 'number' || options.validation === undefined
      ? options.validation
      : await load(options.validation, forValidation, files, 'reading the validation data')
  const file = 'network' in source ? await buildNetwork(source, data, options.seed ?? 0, files) : source
  checkWritable(file)
  const fixed = parametersNotStored(file)
  const freeze = [...(options.freeze ?? []), ...fixed]
  const training = await trainer(file.model, { ...forValidation, freeze, data, validation }, files)
  for await (const event of training) options.onEvent?.(event)
  const edits = training.edits()
  const { sha256: ___, ...written } = { ...file, model: applyEdits(file.model, edits) }
  const result: Result = {
    ...check(written),
    command: 'train',
    seed: options.seed ?? 0,
    training: infoOf(training, 'network' in source ? source.network : file.path, options, fixed),
  }
  return { result, file, edits }
}

/** Throws a UserError if statistics cannot be written back, before any work is done. */
function checkWritable(file: ModelFile): void {
  const statistics = factsOf(file.model).norms.flatMap(({ key, mean, variance }): Edit[] =>
    mean && variance ? [{ kind: 'set-running-statistics', node: key, mean, variance }] : [],
  )
  file.write(statistics)
}

async function load(
  data: string | Dataset,
  { labels, samples, ...options }: Omit<TrainCommandOptions, 'data'>,
  files: Files,
  what: string,
): Promise<Resident> {
  const { signal, onProgress } = options
  const dataset =
    typeof data === 'string'
      ? await openDataset(data, files, { ...options, ...(labels !== undefined && { labels }) })
      : data
  const progress = onProgress && phase({ onProgress }, what)
  return resident(samples === undefined ? dataset : fairPart(dataset, samples), {
    signal,
    onProgress: progress,
  })
}

/** The network in the size that the data asks for, as the ONNX file that it would be. */
async function buildNetwork(
  { network, noise, placement }: NetworkChoice,
  data: Resident,
  seed: number,
  files: Files,
): Promise<ModelFile> {
  const named = parseNetwork(network)
  const [field, ...others] = data.fields
  if (!field || others.length > 0)
    throw new UserError(
      `${network} takes one array of samples, ${data.name} holds ${data.fields.map(({ name }) => `'${name}'`).join(', ')}`,
    )
  const built = named.build({
    input: inputShape(field.sampleShape, field.layout),
    seed,
    ...(data.labelled && { classes: await classesOf(data) }),
    ...(noise && { noise }),
    ...(placement !== undefined && { placement: placementNamed(placement) }),
  })
  return readModelBytes(encodeModel(built.model), network, files)
}

/** Channels first; grey pictures have one channel. */
function inputShape(shape: readonly number[], layout: string | undefined): readonly number[] {
  if (shape.length === 2) return [1, ...shape]
  const isLast =
    layout === 'NHWC' || (layout === undefined && shape.length === 3 && shape[2]! <= 4 && shape[0]! > 4)
  return isLast ? [shape[2]!, shape[0]!, shape[1]!] : shape
}

async function classesOf(data: Resident): Promise<number> {
  let most = -1
  for await (const { labels } of data.batches({ batchSize: 4096 }))
    most = labels!.reduce((a, b) => Math.max(a, b), most)
  return Math.max(2, most + 1, data.classNames?.length ?? 0)
}

function infoOf(
  training: Training,
  network: string,
  options: TrainCommandOptions,
  fixed: readonly string[],
): TrainingInfo {
  const { reason, steps, curve, bestEpoch, samplesPerSecond } = training.summary()
  return {
    network,
    parameters: training.parameterCount,
    epochs: options.epochs ?? 1,
    steps,
    stepsPerEpoch: training.stepsPerEpoch,
    ended: reason,
    ...(bestEpoch !== undefined && { bestEpoch }),
    device: options.device ?? 'cpu',
    recipe: { ...training.recipe },
    curve: [...curve],
    samplesPerSecond: Number.isFinite(samplesPerSecond) ? samplesPerSecond : null,
    notes: [
      ...training.notes,
      ...(fixed.length > 0 ? [`not stored in the file, so not trained: ${fixed.join(', ')}.`] : []),
    ],
    versions: { varshift: version, runtime: runtimeVersion },
    output: null,
  }
}
