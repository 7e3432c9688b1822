import type { AdaptOptions } from '../data/adapt.ts'
import type { AugmentOptions } from '../data/augment.ts'
import type { Dataset } from '../data/dataset.ts'
import type { Device } from '../runtime/session.ts'
import type { Choice } from './settings.ts'
import type { StatisticsPolicy } from './step-graph.ts'

/** What to train with. Everything but `data` has a default. */
export interface TrainOptions extends Omit<AdaptOptions, 'batchSize'> {
  readonly data: Dataset
  /** Samples to evaluate on after each epoch: a dataset, or this share of `data` (0 to 1), taken out of it by the seed. */
  readonly validation?: Dataset | number | undefined
  /** Passes over the data (default 1). */
  readonly epochs?: number | undefined
  /** Samples a step (default 64); what is left of an epoch is dropped. */
  readonly batchSize?: number | undefined
  /** A loss, and penalties: `cross-entropy:smoothing=0.1` (default: cross-entropy for N x classes, else mse). */
  readonly loss?: string | Choice | readonly (string | Choice)[] | undefined
  /** What the output should be, for losses that take values: an array of the data, `labels`, or `input`. */
  readonly target?: string | undefined
  /** `sgd:momentum=0.9,nesterov=true`, `adam`, `adamw:weight-decay=0.05` (default `sgd`). */
  readonly optimizer?: string | Choice | undefined
  /** Largest learning rate (default 0.1 for sgd, 0.001 for adam and adamw). */
  readonly learningRate?: number | undefined
  /** `constant`, `step`, `cosine:warm-up=1`, `one-cycle` (default `constant`). */
  readonly schedule?: string | Choice | undefined
  /** Parameters that decay: weights and embeddings (default), or all. */
  readonly decay?: 'weights' | 'all' | undefined
  /** Largest norm of the gradient; larger ones are scaled down (default: no limit). */
  readonly clip?: number | undefined
  /** Parameters or layers that stay as they are, with `*` for anything. */
  readonly freeze?: readonly string[] | undefined
  /** How running statistics follow the batches, or `keep` them as they are and normalise by them. */
  readonly statistics?: Partial<StatisticsPolicy> | 'keep' | undefined
  readonly augment?: AugmentOptions | undefined
  /** Stop when the validation loss has not fallen for so many epochs, and take the best parameters. */
  readonly earlyStopping?: number | undefined
  /** Of the order of samples, augmentation and noise (default 0). */
  readonly seed?: number | undefined
  /** Folder for checkpoints, made if it is not there; none are written without it. */
  readonly checkpoints?: string | undefined
  /** Also write one every so many steps (default: at the end of each epoch). */
  readonly checkpointEvery?: number | undefined
  /** Go on from the checkpoint in that folder. */
  readonly resume?: boolean | undefined
  /** File that gets a line of JSON for each step, epoch and checkpoint. */
  readonly log?: string | undefined
  /** Kept in checkpoints, for the caller. */
  readonly note?: unknown
  readonly device?: Device | undefined
  readonly threads?: number | undefined
  /** Stops after the step that runs, with a checkpoint. */
  readonly signal?: AbortSignal | undefined
}
