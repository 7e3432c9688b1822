import type { Interval } from '../result/result.ts'

/** Two-sided 95 % quantiles of Student's t by degrees of freedom (1 to 30; beyond, the normal's is near enough). */
const studentT95 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131,
  2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
]
const normal95 = 1.96

export const tQuantile95 = (degreesOfFreedom: number): number => studentT95[degreesOfFreedom - 1] ?? normal95

/** Wilson's interval for a share: `hits` of `n` independent samples. */
export function wilson(hits: number, n: number): Interval {
  const share = hits / n
  const z2 = normal95 ** 2 / n
  const center = (share + z2 / 2) / (1 + z2)
  const half = (normal95 / (1 + z2)) * Math.sqrt((share * (1 - share)) / n + z2 / (4 * n))
  return [Math.max(0, center - half), Math.min(1, center + half)]
}

/** Interval of the mean of `n` independent values, from their sum and sum of squares. */
export function meanInterval(n: number, sum: number, sumOfSquares: number): Interval {
  const mean = sum / n
  const variance = Math.max(0, sumOfSquares / n - mean * mean) * (n / Math.max(1, n - 1))
  const half = tQuantile95(n - 1) * Math.sqrt(variance / n)
  return [mean - half, mean + half]
}

/**
 * Half the width of the 95 % interval of a statistic by the delete-one-group jackknife: `without[g]` is the statistic
 * of all samples but those of group g. Infinite for fewer than two groups.
 */
export function jackknifeHalfWidth(without: readonly number[]): number {
  const groups = without.length
  if (groups < 2) return Number.POSITIVE_INFINITY
  const mean = without.reduce((sum, value) => sum + value, 0) / groups
  const squares = without.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return tQuantile95(groups - 1) * Math.sqrt(((groups - 1) / groups) * squares)
}
