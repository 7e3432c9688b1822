import type { AdaptOptions } from '../data/adapt.ts'
import type { Dataset } from '../data/dataset.ts'
import type { OpenOptions } from '../data/open.ts'
import type { Result, Severity } from '../result/result.ts'
import type { RepairChoices } from '../rewrite/repairs/define-repair.ts'
import type { TrainOptions } from '../train/options.ts'
import type { TrainEvent } from '../train/trainer.ts'

/** What to check a model for. */
export interface CheckOptions {
  /** Only these rules (ids). Default: all. */
  readonly select?: readonly string[]
  /** Not these. */
  readonly ignore?: readonly string[]
  /** Other severities than the rules' own, by id; `off` as `ignore`. */
  readonly severity?: Readonly<Record<string, Severity | 'off'>>
  /** Fingerprints of findings that are known and not reported again. */
  readonly baseline?: readonly string[]
}

/** Samples to measure with. */
export interface DataOptions extends AdaptOptions, OpenOptions {
  /** A dataset, or where to find one: a file, a folder, or `shapes:...` (see openDataset). */
  readonly data: string | Dataset
  /** Use at most so many samples, evenly spaced over the data (see fairPart). */
  readonly samples?: number
}

/** How to run models. */
export interface RunOptions {
  /** Seed of all noise (default 0). */
  readonly seed?: number
  /** Threads of ONNX Runtime (default: one per core). */
  readonly threads?: number
  /** Stops the work: measurements so far are returned, marked as partial. */
  readonly signal?: AbortSignal
  /** Called as work proceeds; `phase` says in words what is being done. */
  readonly onProgress?: (progress: { phase: string; done: number; of: number }) => void
}

export interface MeasureOptions extends CheckOptions, DataOptions, RunOptions {
  /** Samples on which train and sample mode run beside eval mode (default 1,000; 0 for none). */
  readonly modeSamples?: number
  /** Also find what the norms would store once repaired, so that `fix` can work from the result alone. */
  readonly statistics?: boolean
}

/** How a repair trains: with AdamW, the rate falling to 0 by a cosine. */
export interface RepairTraining {
  readonly epochs: number
  /** Whether to begin with new weights (default: with those of the file). */
  readonly fresh?: boolean
  /** Default 0.001. */
  readonly learningRate?: number
  /** Share of the samples that is held out (default 0.2). */
  readonly heldOut?: number
  /** Changes pictures as they are trained on. */
  readonly augment?: TrainOptions['augment']
}

export interface FixOptions extends CheckOptions, RunOptions, Omit<DataOptions, 'data'> {
  /** Data to re-estimate with; or `from`. */
  readonly data?: string | Dataset
  /** A result of `measure` with `statistics`, in place of data. */
  readonly from?: Result
  /** Id of the repair, or `auto` to try them in order of cost (default `recalibrate`). */
  readonly repair?: string
  /** Size of a repair without data: inputs of each restart (default 32), restarts (2), steps (200). */
  readonly distillation?: { readonly inputs?: number; readonly restarts?: number; readonly steps?: number }
  /** What a repair that changes noises puts in, and where. */
  readonly choices?: RepairChoices
  /** Also train the repaired model on the labelled data, part of which is held out to judge it by. */
  readonly training?: RepairTraining
  /** Most minutes that the repair `auto` trains (default 10). */
  readonly budgetMinutes?: number
  /** Most passes over the data (default 5). */
  readonly passes?: number
  /** Largest layer shift ratio that ends the passes (default 1.01). */
  readonly tolerance?: number
  readonly modeSamples?: number
  /** Keep the repair even if the measured gap does not shrink. */
  readonly force?: boolean
}

/** A network by name, and where it has what noise. */
export interface NetworkChoice {
  /** `preresnet-20`, ... */
  readonly network: string
  readonly noise?: { readonly kind: string; readonly value: number }
  readonly placement?: string
}

export interface TrainCommandOptions
  extends Omit<DataOptions, 'data' | 'batchSize'>,
    Omit<RunOptions, 'seed'>,
    Pick<
      TrainOptions,
      | 'epochs'
      | 'batchSize'
      | 'loss'
      | 'target'
      | 'optimizer'
      | 'learningRate'
      | 'schedule'
      | 'decay'
      | 'clip'
      | 'freeze'
      | 'statistics'
      | 'augment'
      | 'earlyStopping'
      | 'seed'
      | 'checkpoints'
      | 'checkpointEvery'
      | 'resume'
      | 'log'
      | 'note'
      | 'device'
    > {
  readonly data: string | Dataset
  /** Data to evaluate on after each epoch, or a share of `data`. */
  readonly validation?: string | number | Dataset
  /** Called with everything that happens. */
  readonly onEvent?: (event: TrainEvent) => void
}

/** A progress callback that names what is being done. */
export const phase =
  ({ onProgress }: RunOptions, name: string) =>
  (done: number, of: number): void =>
    onProgress?.({ phase: name, done, of })
