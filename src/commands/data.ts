import { factsOf } from '../analysis/index.ts'
import { type AdaptedDataset, adapt } from '../data/adapt.ts'
import { fairPart } from '../data/fair-part.ts'
import { openDataset } from '../data/open.ts'
import { shuffled } from '../data/shuffled.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { defaultModeSamples } from '../measure/measure.ts'
import type { Files } from '../platform/files.ts'
import { toMode } from '../rewrite/modes/mode.ts'
import type { DataOptions } from './options.ts'

/** Input elements of a batch: about where activations still fit into the processor's cache (16 pictures of 32 x 32). */
const batchElements = 16 * 3 * 32 * 32

/** Input elements of a calibration batch: more bring its statistics nearer to the population's, fewer save memory. */
const calibrationElements = 2 ** 24

/** Samples of a batch in train mode: about what networks are trained with, whose batch statistics it stands for. */
const trainingBatch = 64

export interface Data {
  /** In batches to measure with. */
  readonly batches: AdaptedDataset
  /** In batches to run train mode on, each of samples from all over the data. */
  readonly trainingBatches: AdaptedDataset
  /** The same in few, large and equal batches, each from all over the data, whose own statistics come near the population's. */
  readonly largeBatches: AdaptedDataset
}

/** The data that the options name, in the form that the model takes. */
export async function dataFor(
  model: Model,
  options: DataOptions & { readonly modeSamples?: number; readonly seed?: number },
  files: Files,
): Promise<Data> {
  if (factsOf(model).norms.length === 0)
    throw new UserError(
      'the model has no BatchNormalization with running statistics: nothing to measure; if it was exported for inference, they were folded away: export it in training mode (see the README)',
    )
  const { graph } = toMode(model, 'eval')
  const wanted = graph.inputs
    .filter(({ name }) => !graph.initializers.has(name))
    .map(({ name, type }) => {
      if (!type?.dataType)
        throw new UserError(`input '${name}' of the model is no tensor; varshift cannot feed it`)
      return { name, dataType: type.dataType, shape: type.shape }
    })
  const whole =
    typeof options.data === 'string' ? await openDataset(options.data, files, options) : options.data
  const dataset = fairPart(whole, options.samples ?? whole.size)
  const elements = Math.max(
    ...dataset.fields.map(({ sampleShape }) => sampleShape.reduce((n, d) => n * d, 1)),
  )
  const fitting = Math.min(64, Math.max(8, Math.floor(batchElements / elements)))
  const batches = adapt(dataset, wanted, { batchSize: fitting, ...options })
  const samples = Math.min(batches.size, options.samples ?? batches.size)
  const most = Math.min(512, Math.max(64, Math.floor(calibrationElements / elements)))
  const batchSize = Math.ceil(samples / Math.ceil(samples / most))
  const inModes = fairPart(whole, Math.min(dataset.size, options.modeSamples || defaultModeSamples))
  const { seed = 0 } = options
  const trainingBatches = adapt(shuffled(inModes, seed), wanted, {
    batchSize: Math.min(trainingBatch, most),
    ...options,
  })
  const largeBatches = adapt(shuffled(dataset, seed), wanted, { ...options, batchSize })
  return { batches, trainingBatches, largeBatches }
}
