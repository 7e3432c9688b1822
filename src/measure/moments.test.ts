import fc from 'fast-check'
import { expect, test } from 'vitest'
import { uniform } from '../ir/random.ts'
import { jackknifeGroups, meanOf, momentsOfSums, quantilesOf, Sums } from './moments.ts'

/** Mean and biased variance in two passes. */
function naive(values: readonly number[]) {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length
  return { mean, variance: values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length }
}

/** What a probe returns for samples of C x positions: means, then mean squares, of what is centred, in float32. */
function rowOf(sample: readonly number[][], center: ArrayLike<number>): Float32Array {
  const centered = sample.map((values, c) => values.map((v) => Math.fround(v - center[c]!)))
  return Float32Array.from([
    ...centered.map((values) => meanOf(values)),
    ...centered.map((values) => meanOf(values.map((v) => v * v))),
  ])
}

/** Moments of rows, one a sample: means, then mean squares. */
function gathered(channels: number, rows: readonly (readonly [row: Float32Array, group: number])[]) {
  const [means, squares] = [new Sums(channels), new Sums(channels)]
  for (const [row, group] of rows) {
    means.add(group, row, 0)
    squares.add(group, row, channels)
  }
  const moments = (center: ArrayLike<number>, without?: number) => {
    const { sums, samples } = means.total(without)
    return momentsOfSums(sums, squares.total(without).sums, { samples, center })
  }
  return { means, moments }
}

test('moments of float32 values with a mean of 10,000 and a spread of 1', () => {
  const [samples, channels, positions] = [300, 3, 7]
  const data = uniform(samples * channels * positions, -1.7, 1.7, 3)
  const at = (i: number, c: number, p: number) =>
    Math.fround(1e4 * (c + 1) + data[(i * channels + c) * positions + p]!)
  // The centre is near the mean, as statistics that are stored are.
  const center = [1e4 + 3, 2e4 - 5, 3e4]
  const rows: [Float32Array, number][] = []
  for (let i = 0; i < samples; i++) {
    const sample = center.map((_, c) => Array.from({ length: positions }, (_, p) => at(i, c, p)))
    rows.push([rowOf(sample, center), i % jackknifeGroups])
  }
  const { means, moments } = gathered(channels, rows)
  const { mean, variance } = moments(center)
  center.forEach((_, c) => {
    const all = Array.from({ length: samples * positions }, (_, j) =>
      at(Math.floor(j / positions), c, j % positions),
    )
    const expected = naive(all)
    expect(Math.abs(mean[c]! - expected.mean)).toBeLessThan(1e-3)
    expect(Math.abs(variance[c]! / expected.variance - 1)).toBeLessThan(1e-4)
  })
  expect(means.total().samples).toBe(samples)
})

test('groups in whatever number, left out one by one', () => {
  const row = fc.tuple(fc.double({ min: -10, max: 10, noNaN: true }), fc.nat(6))
  fc.assert(
    fc.property(fc.array(row, { minLength: 2, maxLength: 40 }), (rows) => {
      const { means, moments } = gathered(
        1,
        rows.map(([value, group]) => [rowOf([[value]], [0.5]), group]),
      )
      expect(means.groups).toEqual([...new Set(rows.map(([, group]) => group))].sort())
      for (const without of [undefined, ...means.groups]) {
        const left = rows.filter(([, group]) => group !== without)
        if (left.length === 0) continue
        const expected = naive(left.map(([value]) => value))
        const { mean, variance } = moments([0.5], without)
        expect(mean[0]!).toBeCloseTo(expected.mean, 4)
        expect(variance[0]!).toBeCloseTo(expected.variance, 3)
        expect(variance[0]!).toBeGreaterThanOrEqual(0)
      }
    }),
  )
})

test('quantiles lie between order statistics', () => {
  expect(quantilesOf([5])).toEqual({ min: 5, q10: 5, median: 5, q90: 5, max: 5 })
  expect(quantilesOf([3, 1, 2])).toEqual({ min: 1, q10: 1.2, median: 2, q90: 2.8, max: 3 })
  // As numpy.quantile does: 0..10 has the quantiles 1 and 9.
  expect(quantilesOf(Float64Array.from({ length: 11 }, (_, i) => 10 - i))).toEqual({
    min: 0,
    q10: 1,
    median: 5,
    q90: 9,
    max: 10,
  })
})
