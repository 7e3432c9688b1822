import type { DataType, Tensor } from '../ir/tensor.ts'

/** Order of the axes of one picture: channels first (C x H x W) or channels last (H x W x C). */
export type Layout = 'NCHW' | 'NHWC'

/** A run of samples, stacked along axis 0. */
export interface Batch {
  /** Field name -> tensor of shape `size` x `sampleShape`. */
  readonly inputs: ReadonlyMap<string, Tensor>
  /** Class numbers, `size` of them; present exactly if the dataset is labelled. */
  readonly labels?: Int32Array
  /** Number of samples; at least 1. */
  readonly size: number
  /** Numbers of the samples in the data; absent where they are those that the batches before lead to. */
  readonly numbers?: readonly number[]
}

/** One array of a dataset: what every sample holds under this name. */
export interface Field {
  readonly name: string
  readonly dataType: DataType
  /** Shape of one sample, without the axis of samples. */
  readonly sampleShape: readonly number[]
  /** Known only where the format fixes it (IDX, CIFAR, pictures, `shapes:`). */
  readonly layout?: Layout
}

export interface BatchOptions {
  /** Samples a batch, at least 1; the last batch may be smaller. */
  readonly batchSize: number
  /** First sample, counted from 0 (default 0). */
  readonly start?: number
  /** At most so many samples (default: all that are left). */
  readonly limit?: number
  /** Ends the iteration by throwing the signal's reason before the next batch. */
  readonly signal?: AbortSignal
}

/**
 * Labelled or unlabelled samples that can be read again and again, in a fixed order, a batch at a time.
 * Memory does not grow with the number of samples, except where a reader says so.
 */
export interface Dataset {
  /** As shown in reports and messages, for example `images.npz`. */
  readonly name: string
  /** Number of samples; at least 1. */
  readonly size: number
  readonly fields: readonly Field[]
  readonly labelled: boolean
  /** Whether samples come in no order of class, so that the first ones stand for all. */
  readonly mixed?: boolean
  /** Whether reading can begin anywhere at no cost. */
  readonly seekable?: boolean
  /** Of how many samples these are a part, if they are. */
  readonly available?: number
  /** Names of the classes by label, where the format has them. */
  readonly classNames?: readonly string[]
  /** Batches of samples `start` up to `start + limit`. Throws a UserError if the file turns out damaged. */
  batches(options: BatchOptions): AsyncIterable<Batch>
}

/** The ranges [from, to) of samples that `options` asks of a dataset of `size` samples, in order. */
export function* batchRanges(size: number, options: BatchOptions): Generator<readonly [number, number]> {
  const { batchSize, start = 0, limit = size, signal } = options
  for (const [what, value, least] of [
    ['batchSize', batchSize, 1],
    ['start', start, 0],
    ['limit', limit, 0],
  ] as const)
    if (!Number.isInteger(value) || value < least)
      throw new RangeError(`${what} must be a whole number of at least ${least}, got ${value}`)
  const end = Math.min(size, start + limit)
  for (let from = start; from < end; from += batchSize) {
    signal?.throwIfAborted()
    yield [from, Math.min(end, from + batchSize)]
  }
}
