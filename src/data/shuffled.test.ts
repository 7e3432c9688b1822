import { expect, test } from 'vitest'
import { allOf as all, sorted as sortedData } from '../../test/data/sorted.ts'
import { Tensor } from '../ir/tensor.ts'
import { batchRanges, type Dataset } from './dataset.ts'
import { shuffled } from './shuffled.ts'

const sorted = (size: number, more: Partial<Dataset> = {}) => sortedData(size, (n) => [n, n], more)

test('every batch of a sorted file holds samples of nearly all classes, each sample once', async () => {
  const { dataset, reads } = sorted(1000)
  const batches = await all(shuffled(dataset, 3), { batchSize: 64 })
  expect(batches.map(({ size }) => size)).toEqual([...new Array<number>(15).fill(64), 40])
  for (const { labels } of batches) expect(new Set(labels).size).toBeGreaterThanOrEqual(8)
  const numbers = batches.flatMap(({ numbers }) => [...numbers!])
  expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i))
  expect(batches.flatMap(({ inputs }) => [...inputs.get('x')!.toNumbers()])).toEqual(
    numbers.flatMap((n) => [n, n]),
  )
  expect(batches.flatMap(({ labels }) => [...labels!])).toEqual(numbers.map((n) => Math.floor(n / 100)))
  expect(reads).toEqual({ samples: 1000, passes: 1 })
})

test('the seed fixes the order, from wherever reading begins', async () => {
  const { dataset } = sorted(300)
  const numbersOf = async (seed: number, options = {}) =>
    (await all(shuffled(dataset, seed), { batchSize: 32, ...options })).flatMap(({ numbers }) => [
      ...numbers!,
    ])
  const whole = await numbersOf(1)
  expect(await numbersOf(1)).toEqual(whole)
  expect(await numbersOf(2)).not.toEqual(whole)
  expect(await numbersOf(1, { start: 40, limit: 100 })).toEqual(whole.slice(40, 140))
})

test('samples too many to hold are read in several passes, or one by one', async () => {
  // 20 samples of 16 MiB: four batches of 4 fit at a time.
  const [size, width] = [20, 2 ** 24]
  for (const seekable of [false, true]) {
    let [passes, read] = [0, 0]
    const large: Dataset = {
      name: 'large',
      size,
      fields: [{ name: 'x', dataType: 'uint8', sampleShape: [width] }],
      labelled: false,
      seekable,
      async *batches(options) {
        passes++
        for (const [start, end] of batchRanges(size, options))
          for (let n = start; n < end; n++) {
            const bytes = new Uint8Array(width)
            bytes[width - 1] = n
            read++
            yield { inputs: new Map([['x', new Tensor('uint8', [1, width], bytes)]]), size: 1 }
          }
      },
    }
    const seen: number[] = []
    for await (const { inputs, numbers } of shuffled(large, 0).batches({ batchSize: 4 })) {
      for (const [i, n] of numbers!.entries()) expect(inputs.get('x')!.bytes[(i + 1) * width - 1]).toBe(n)
      seen.push(...numbers!)
    }
    expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: size }, (_, i) => i))
    expect(seekable ? read : passes).toBe(seekable ? size : 2)
  }
})

test('what is mixed already stays in order', () => {
  const { dataset } = sorted(100, { mixed: true })
  expect(shuffled(dataset, 0)).toBe(dataset)
})
