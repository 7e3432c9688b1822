import fc from 'fast-check'
import { expect, test } from 'vitest'
import { allOf as all, sorted as sortedData } from '../../test/data/sorted.ts'
import type { Dataset } from './dataset.ts'
import { fairPart } from './fair-part.ts'

const sorted = (size: number, more: Partial<Dataset> = {}) => sortedData(size, (n) => [n, -n], more)

test('every class of a sorted file has its share, whether read in order or here and there', async () => {
  for (const seekable of [true, false]) {
    const { dataset, reads } = sorted(10_000, { seekable })
    const part = fairPart(dataset, 100)
    expect([part.size, part.available]).toEqual([100, 10_000])
    const batches = await all(part, { batchSize: 16 })
    expect(batches.map(({ size }) => size)).toEqual([16, 16, 16, 16, 16, 16, 4])
    const labels = batches.flatMap(({ labels }) => [...labels!])
    for (let k = 0; k < 10; k++) expect(labels.filter((label) => label === k)).toHaveLength(10)
    const numbers = batches.flatMap(({ numbers }) => [...numbers!])
    const values = batches.flatMap(({ inputs }) => [...inputs.get('x')!.toNumbers()])
    expect(values).toEqual(numbers.flatMap((n) => [n, -n]).map(Math.fround))
    expect(numbers[0]).toBe(50)
    expect(reads.samples).toBeLessThanOrEqual(seekable ? 100 : 10_000)
  }
})

test('parts of any size are distinct samples in order, the same from any start', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 900 }),
      fc.integer({ min: 1, max: 900 }),
      fc.nat(20),
      fc.boolean(),
      async (size, count, start, seekable) => {
        const part = fairPart(sorted(size, { seekable }).dataset, count)
        const whole = await all(part, { batchSize: 7 })
        const values = whole.flatMap(({ inputs }) =>
          [...inputs.get('x')!.toNumbers()].filter((_, i) => i % 2 === 0),
        )
        expect(values).toHaveLength(Math.min(size, count))
        expect(values).toEqual([...new Set(values)].sort((a, b) => a - b))
        const later = await all(part, { batchSize: 3, start, limit: 5 })
        expect(
          later.flatMap(({ inputs }) => [...inputs.get('x')!.toNumbers()].filter((_, i) => i % 2 === 0)),
        ).toEqual(values.slice(start, start + 5))
      },
    ),
    { numRuns: 60 },
  )
})

test('what is mixed gives its first samples, and what is small enough is left alone', async () => {
  const { dataset, reads } = sorted(1000, { mixed: true })
  const [batch] = await all(fairPart(dataset, 4), { batchSize: 10 })
  expect([...batch!.inputs.get('x')!.toNumbers()].filter((_, i) => i % 2 === 0)).toEqual([0, 1, 2, 3])
  expect(reads.samples).toBe(4)
  expect(fairPart(dataset, 1000)).toBe(dataset)
})
