import { UserError } from '../ir/errors.ts'
import { byteLengthOf, Tensor } from '../ir/tensor.ts'
import type { Augment } from './augment.ts'
import { type Batch, batchRanges, type Dataset } from './dataset.ts'

/** A dataset held in memory, so that samples can be taken in any order. */
export interface Resident extends Dataset {
  /**
   * The samples with these numbers in that order, as a dataset; with `augment` each is changed as it is taken.
   * Numbers may repeat.
   */
  ordered(order: Int32Array, augment?: Augment): Dataset
}

/** Data beyond this many bytes is not read into memory as a whole. */
const maxBytes = 2 ** 33

/** Samples that are read at a time. */
const chunk = 256

/** Reads at most `limit` samples of `dataset` into memory. Throws a UserError if they need more than 8 GiB. */
export async function resident(
  dataset: Dataset,
  { limit = dataset.size, signal, onProgress }: ResidentOptions = {},
): Promise<Resident> {
  const size = Math.min(limit, dataset.size)
  if (isResident(dataset) && size === dataset.size) return dataset
  const widths = dataset.fields.map(({ dataType, sampleShape }) => byteLengthOf(dataType, sampleShape))
  const bytes = size * widths.reduce((sum, width) => sum + width, 0)
  if (bytes > maxBytes)
    throw new UserError(
      `${dataset.name}: ${size} samples take ${(bytes / 2 ** 30).toFixed(1)} GiB in memory, expected at most ${maxBytes / 2 ** 30} GiB; use fewer samples, or smaller ones`,
    )
  const contents = widths.map((width) => new Uint8Array(size * width))
  const labels = dataset.labelled ? new Int32Array(size) : undefined
  let at = 0
  for await (const batch of dataset.batches({ batchSize: chunk, limit: size, ...(signal && { signal }) })) {
    for (const [i, { name }] of dataset.fields.entries())
      contents[i]!.set(batch.inputs.get(name)!.bytes, at * widths[i]!)
    if (batch.labels) labels?.set(batch.labels, at)
    at += batch.size
    onProgress?.(at, size)
  }
  const gather = (order: Int32Array, augment?: Augment): Batch => {
    const inputs = new Map<string, Tensor>()
    for (const [i, field] of dataset.fields.entries()) {
      const width = widths[i]!
      const from = contents[i]!
      const to = new Uint8Array(order.length * width)
      for (const [k, sample] of order.entries()) {
        const one = from.subarray(sample * width, (sample + 1) * width)
        if (!augment?.(field, one, sample, to.subarray(k * width, (k + 1) * width))) to.set(one, k * width)
      }
      inputs.set(field.name, new Tensor(field.dataType, [order.length, ...field.sampleShape], to))
    }
    return { inputs, size: order.length, ...(labels && { labels: order.map((sample) => labels[sample]!) }) }
  }
  const ordered = (order: Int32Array, augment?: Augment): Dataset => ({
    name: dataset.name,
    size: order.length,
    fields: dataset.fields,
    labelled: dataset.labelled,
    ...(dataset.classNames && { classNames: dataset.classNames }),
    async *batches(options) {
      for (const [from, to] of batchRanges(order.length, options))
        yield gather(order.subarray(from, to), augment)
    },
  })
  return { ...ordered(Int32Array.from({ length: size }, (_, i) => i)), ordered }
}

const isResident = (dataset: Dataset): dataset is Resident => 'ordered' in dataset

export interface ResidentOptions {
  /** At most so many samples, the first ones. */
  readonly limit?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((samples: number, of: number) => void) | undefined
}
