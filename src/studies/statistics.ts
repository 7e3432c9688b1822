/** Small-sample statistics of the studies' tables. */

export const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

/** Unbiased; 0 for a single value. */
export function deviationOf(values: readonly number[]): number {
  if (values.length < 2) return 0
  const mean = meanOf(values)
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
}

/** Student's t at 97.5 %, by degrees of freedom from 1 on. */
const t975 = [12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228]

/** Half of the 95 % confidence interval of the mean, by Student's t; undefined for a single value. */
function halfInterval(values: readonly number[]): number | undefined {
  if (values.length < 2) return undefined
  return ((t975[values.length - 2] ?? 1.96) * deviationOf(values)) / Math.sqrt(values.length)
}

/** Least and most of several seeds: what a curve's band shows; nothing for a single value. */
const bandOf = (values: readonly number[]): { low?: number; high?: number } =>
  values.length < 2 ? {} : { low: Math.min(...values), high: Math.max(...values) }

/** A point of a curve: mean of several seeds, with their band. */
export const pointOf = (x: number, values: readonly number[]) => ({ x, y: meanOf(values), ...bandOf(values) })

/** `1.23 ± 0.40`, or the mean alone where there is one value only. */
export function meanText(values: readonly number[], digits = 2): string {
  if (values.length === 0) return '–'
  const half = halfInterval(values)
  return half === undefined
    ? meanOf(values).toFixed(digits)
    : `${meanOf(values).toFixed(digits)} ± ${half.toFixed(digits)}`
}

/** What pairs (same seed) say of a difference, in words. */
export function differenceText(a: readonly number[], b: readonly number[], digits = 2): string {
  const differences = a.map((value, i) => value - b[i]!)
  const half = halfInterval(differences)
  const mean = meanOf(differences)
  if (half === undefined) return `${signed(mean, digits)} (one seed: no interval)`
  const verdict = Math.abs(mean) > half ? 'significant at 95 %' : 'not significant'
  return `${signed(mean, digits)} ± ${half.toFixed(digits)}, ${verdict}`
}

const signed = (value: number, digits: number) =>
  `${value >= 0 ? '+' : '−'}${Math.abs(value).toFixed(digits)}`
