import { Tensor } from '../ir/tensor.ts'
import { type Batch, batchRanges, type Dataset } from './dataset.ts'

/** Reading on is faster than opening the file anew unless so many samples would be read in vain. */
const worthSeeking = 16

/** Samples read at a time where they are read in order. */
const chunk = 256

/**
 * `count` samples from all over the dataset, evenly spaced: sample i of the part is number
 * floor((i + 1/2) size / count). A file sorted by class then gives every class its share. Where the dataset can begin
 * anywhere only those samples are read, else all up to the last one, in one pass. A dataset that is `mixed` gives its
 * first samples.
 */
export function fairPart(dataset: Dataset, count: number): Dataset {
  if (count >= dataset.size) return dataset
  const placeOf = (i: number) => (dataset.mixed ? i : Math.floor(((i + 0.5) * dataset.size) / count))
  return {
    ...dataset,
    size: count,
    available: dataset.available ?? dataset.size,
    async *batches(options) {
      if (dataset.mixed) {
        const limit = Math.min(options.limit ?? count, Math.max(0, count - (options.start ?? 0)))
        yield* dataset.batches({ ...options, limit })
        return
      }
      const { signal } = options
      const isSparse = dataset.seekable === true && dataset.size / count >= worthSeeking
      const first = placeOf(options.start ?? 0)
      const reading = isSparse
        ? undefined
        : dataset
            .batches({ batchSize: chunk, start: first, ...(signal && { signal }) })
            [Symbol.asyncIterator]()
      let read: { start: number; batch: Batch } | undefined
      try {
        for (const [from, to] of batchRanges(count, options)) {
          const places = Array.from({ length: to - from }, (_, i) => placeOf(from + i))
          const rows: Batch[] = []
          for (const place of places) {
            if (!reading) {
              for await (const batch of dataset.batches({ batchSize: 1, start: place, limit: 1 }))
                rows.push(batch)
              continue
            }
            while (!read || place >= read.start + read.batch.size) {
              const next = await reading.next()
              if (next.done) return
              read = { start: read ? read.start + read.batch.size : first, batch: next.value }
            }
            rows.push(rowOf(read.batch, place - read.start))
          }
          yield { ...joined(rows), numbers: places }
        }
      } finally {
        await reading?.return?.()
      }
    },
  }
}

function rowOf({ inputs, labels }: Batch, row: number): Batch {
  const one = ({ dataType, dims, bytes }: Tensor) => {
    const length = bytes.length / dims[0]!
    const part = bytes.subarray(row * length, (row + 1) * length)
    return new Tensor(dataType, [1, ...dims.slice(1)], part)
  }
  return {
    inputs: new Map([...inputs].map(([name, tensor]) => [name, one(tensor)])),
    size: 1,
    ...(labels && { labels: labels.subarray(row, row + 1) }),
  }
}

function joined(rows: readonly Batch[]): Batch {
  const [first] = rows
  const inputs = [...first!.inputs].map(([name, { dataType, dims, bytes }]) => {
    const all = new Uint8Array(bytes.length * rows.length)
    for (const [i, row] of rows.entries()) all.set(row.inputs.get(name)!.bytes, i * bytes.length)
    return [name, new Tensor(dataType, [rows.length, ...dims.slice(1)], all)] as const
  })
  return {
    inputs: new Map(inputs),
    size: rows.length,
    ...(first!.labels && { labels: Int32Array.from(rows, ({ labels }) => labels![0]!) }),
  }
}
