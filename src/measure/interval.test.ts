import { expect, test } from 'vitest'
import { jackknifeHalfWidth, meanInterval, tQuantile95, wilson } from './interval.ts'
import { jackknifeGroups, meanOf, momentsOfSums, Sums } from './moments.ts'

test("Wilson's intervals are those of the literature", () => {
  // Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
  for (const [hits, n, low, high] of [
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ] as const) {
    const [a, b] = wilson(hits, n)
    expect(a).toBeCloseTo(low, 4)
    expect(b).toBeCloseTo(high, 4)
    const [c, d] = wilson(n - hits, n)
    expect([c, d]).toEqual([expect.closeTo(1 - b, 12), expect.closeTo(1 - a, 12)])
  }
})

test("Student's quantiles fall towards the normal one", () => {
  expect(tQuantile95(1)).toBeCloseTo(12.706, 3)
  expect(tQuantile95(19)).toBeCloseTo(2.093, 3)
  expect(tQuantile95(1000)).toBeCloseTo(1.96, 2)
  for (let n = 1; n < 40; n++) expect(tQuantile95(n + 1)).toBeLessThanOrEqual(tQuantile95(n))
})

/** A generator of whole numbers below 2^32 that repeats itself (mulberry32). */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

function normalsOf(seed: number): () => number {
  const next = generator(seed)
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
}

test('intervals of a mean hold it as often as they say', () => {
  const normal = normalsOf(1)
  for (const n of [5, 20, 100]) {
    const trials = 4000
    let held = 0
    for (let trial = 0; trial < trials; trial++) {
      let [sum, squares] = [0, 0]
      for (let i = 0; i < n; i++) {
        const value = 3 + 2 * normal()
        sum += value
        squares += value * value
      }
      const [low, high] = meanInterval(n, sum, squares)
      if (low <= 3 && 3 <= high) held++
    }
    // 95 % within four standard errors of a share of 4,000.
    expect(Math.abs(held / trials - 0.95)).toBeLessThan(4 * Math.sqrt((0.95 * 0.05) / trials))
  }
})

test('jackknife intervals of a shift ratio hold it as often as they say', () => {
  const groups = jackknifeGroups
  const channels = 8
  for (const samples of [40, 200, 1000]) {
    const normal = normalsOf(samples)
    const trials = 1500
    let held = 0
    for (let trial = 0; trial < trials; trial++) {
      const [means, squares] = [new Sums(channels), new Sums(channels)]
      const center = new Float64Array(channels)
      const row = new Float32Array(2 * channels)
      for (let i = 0; i < samples; i++) {
        // Channels that go together, as those of a layer do; each of variance 2.
        const shared = normal()
        for (let c = 0; c < channels; c++) {
          const value = shared + normal()
          row[c] = value
          row[channels + c] = value * value
        }
        means.add(i % groups, row, 0)
        squares.add(i % groups, row, channels)
      }
      const logRatio = (without?: number) => {
        const { sums, samples } = means.total(without)
        const { variance } = momentsOfSums(sums, squares.total(without).sums, { samples, center })
        return Math.log(meanOf(variance) / 2)
      }
      const half = jackknifeHalfWidth(means.groups.map((group) => logRatio(group)))
      if (Math.abs(logRatio()) <= half) held++
    }
    // With 40 samples the variance itself is biased by a fortieth, which costs a little.
    expect(held / trials).toBeGreaterThan(samples === 40 ? 0.9 : 0.93)
    expect(held / trials).toBeLessThan(0.97)
  }
}, 30_000)

test('fewer than two groups tell nothing of how sure a figure is', () => {
  expect(jackknifeHalfWidth([])).toBe(Number.POSITIVE_INFINITY)
  expect(jackknifeHalfWidth([1])).toBe(Number.POSITIVE_INFINITY)
  expect(jackknifeHalfWidth([1, 1, 1])).toBe(0)
})
