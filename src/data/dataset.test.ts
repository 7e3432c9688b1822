import fc from 'fast-check'
import { expect, test } from 'vitest'
import { batchRanges } from './dataset.ts'

test('ranges follow one another and end where asked', () => {
  expect([...batchRanges(7, { batchSize: 3 })]).toEqual([
    [0, 3],
    [3, 6],
    [6, 7],
  ])
  expect([...batchRanges(7, { batchSize: 3, start: 2, limit: 4 })]).toEqual([
    [2, 5],
    [5, 6],
  ])
  expect([...batchRanges(7, { batchSize: 3, start: 7 })]).toEqual([])
  expect([...batchRanges(7, { batchSize: 3, limit: 0 })]).toEqual([])
  const natural = fc.integer({ min: 0, max: 50 })
  fc.assert(
    fc.property(
      natural,
      natural,
      natural,
      fc.integer({ min: 1, max: 20 }),
      (size, start, limit, batchSize) => {
        const samples = [...batchRanges(size, { batchSize, start, limit })].flatMap(([from, to]) => {
          expect(to - from).toBeLessThanOrEqual(batchSize)
          return Array.from({ length: to - from }, (_, i) => from + i)
        })
        expect(samples).toEqual(Array.from({ length: size }, (_, i) => i).slice(start, start + limit))
      },
    ),
  )
})

test.each([
  { batchSize: 0 },
  { batchSize: 1.5 },
  { batchSize: 1, start: -1 },
  { batchSize: 1, limit: Number.NaN },
])('%j is a mistake of the caller', (options) => {
  expect(() => [...batchRanges(5, options)]).toThrow(RangeError)
})

test('an aborted signal ends the ranges', () => {
  expect(() => [
    ...batchRanges(5, { batchSize: 1, signal: AbortSignal.abort(new Error('stopped')) }),
  ]).toThrow('stopped')
})
