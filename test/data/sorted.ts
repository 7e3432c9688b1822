import { type Batch, batchRanges, type Dataset } from '../../src/data/dataset.ts'
import { Tensor } from '../../src/ir/tensor.ts'

/** Samples sorted by ten classes; `valuesOf` gives the two numbers of each. Tells what was read. */
export function sorted(
  size: number,
  valuesOf: (number: number) => readonly [number, number],
  more: Partial<Dataset> = {},
) {
  const reads = { samples: 0, passes: 0 }
  const dataset: Dataset = {
    name: 'sorted',
    size,
    fields: [{ name: 'x', dataType: 'float32', sampleShape: [2] }],
    labelled: true,
    async *batches(options) {
      reads.passes++
      for (const [from, to] of batchRanges(size, options)) {
        reads.samples += to - from
        const numbers = Array.from({ length: to - from }, (_, i) => from + i)
        yield {
          inputs: new Map([['x', Tensor.float32([to - from, 2], numbers.flatMap(valuesOf))]]),
          labels: Int32Array.from(numbers, (n) => Math.floor((10 * n) / size)),
          size: to - from,
        }
      }
    },
    ...more,
  }
  return { dataset, reads }
}

/** Every batch of a dataset. */
export async function allOf(dataset: Dataset, options: Parameters<Dataset['batches']>[0]): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of dataset.batches(options)) batches.push(batch)
  return batches
}
