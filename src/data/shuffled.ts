import { permutation } from '../ir/random.ts'
import { byteLengthOf, Tensor } from '../ir/tensor.ts'
import { type Batch, batchRanges, type Dataset } from './dataset.ts'

/** Samples of several batches are gathered in one pass over the data, up to so many bytes (and one batch at least). */
const gatheredBytes = 2 ** 28

/** Samples that are read at a time. */
const chunk = 256

/**
 * The same samples in an order drawn from `seed`, so that every batch comes from all over the data, as batches do in
 * training: the statistics of a batch of one class are not those of the data. A dataset that is `mixed` stays as it is.
 * Memory stays below 256 MiB, or one batch: larger data is read several times, or sample by sample where reading can
 * begin anywhere.
 */
export function shuffled(dataset: Dataset, seed: number): Dataset {
  if (dataset.mixed) return dataset
  const order = permutation(dataset.size, seed)
  const sampleBytes = dataset.fields.reduce(
    (sum, { dataType, sampleShape }) => sum + byteLengthOf(dataType, sampleShape),
    0,
  )
  return {
    ...dataset,
    seekable: false,
    async *batches(options) {
      const ranges = [...batchRanges(dataset.size, options)]
      const most = Math.max(1, Math.floor(gatheredBytes / (options.batchSize * sampleBytes)))
      const isSought = dataset.seekable === true && ranges.length > most
      for (let at = 0; at < ranges.length; ) {
        const group = ranges.slice(at, at + (isSought ? 1 : most))
        at += group.length
        const [start, end] = [group[0]![0], group.at(-1)![1]]
        const gathered = await gather(dataset, order.subarray(start, end), isSought, options.signal)
        for (const [from, to] of group) {
          options.signal?.throwIfAborted()
          yield gathered(from - start, to - start)
        }
      }
    },
  }
}

/** Reads the samples with these numbers; what comes back gives some of them, from one place up to another. */
async function gather(
  { fields, labelled, batches }: Dataset,
  numbers: Int32Array,
  isSought: boolean,
  signal: AbortSignal | undefined,
): Promise<(from: number, to: number) => Batch> {
  const count = numbers.length
  const widths = fields.map(({ dataType, sampleShape }) => byteLengthOf(dataType, sampleShape))
  const contents = widths.map((width) => new Uint8Array(count * width))
  const labels = labelled ? new Int32Array(count) : undefined
  const places = Int32Array.from({ length: count }, (_, i) => i).sort((a, b) => numbers[a]! - numbers[b]!)
  const take = (batch: Batch, row: number, place: number) => {
    for (const [i, { name }] of fields.entries()) {
      const width = widths[i]!
      contents[i]!.set(batch.inputs.get(name)!.bytes.subarray(row * width, (row + 1) * width), place * width)
    }
    if (batch.labels && labels) labels[place] = batch.labels[row]!
  }
  let next = 0
  const first = numbers[places[0]!]!
  const limit = numbers[places[count - 1]!]! + 1 - first
  if (isSought)
    for (const place of places)
      for await (const batch of batches({ batchSize: 1, start: numbers[place]!, limit: 1 }))
        take(batch, 0, place)
  else {
    let start = first
    for await (const batch of batches({ batchSize: chunk, start, limit, ...(signal && { signal }) })) {
      for (; next < count && numbers[places[next]!]! < start + batch.size; next++)
        take(batch, numbers[places[next]!]! - start, places[next]!)
      start += batch.size
    }
  }
  return (from, to) => ({
    inputs: new Map(
      fields.map(({ name, dataType, sampleShape }, i) => {
        const bytes = contents[i]!.subarray(from * widths[i]!, to * widths[i]!)
        return [name, new Tensor(dataType, [to - from, ...sampleShape], bytes)]
      }),
    ),
    size: to - from,
    numbers: [...numbers.subarray(from, to)],
    ...(labels && { labels: labels.slice(from, to) }),
  })
}
