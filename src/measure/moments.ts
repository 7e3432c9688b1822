/** Groups of the jackknife that samples are dealt to: enough for a stable interval, few enough to cost no memory. */
export const jackknifeGroups = 20

/** Sums over samples of C numbers each, in float64; memory does not grow with the number of samples. */
export class Sums {
  readonly channels: number
  readonly #sums: Float64Array
  readonly #samples = new Float64Array(jackknifeGroups)

  constructor(channels: number) {
    this.channels = channels
    this.#sums = new Float64Array(jackknifeGroups * channels)
  }

  /** Adds C numbers, found in `values` from `at` on, times `factor`: one sample, or the sum of so many. */
  add(group: number, values: ArrayLike<number>, at: number, { factor = 1, samples = 1 } = {}): void {
    const { channels } = this
    const sums = this.#sums
    const base = group * channels
    // Four at a time: this loop runs over every channel of every sample.
    let c = 0
    for (; c + 3 < channels; c += 4) {
      sums[base + c]! += factor * values[at + c]!
      sums[base + c + 1]! += factor * values[at + c + 1]!
      sums[base + c + 2]! += factor * values[at + c + 2]!
      sums[base + c + 3]! += factor * values[at + c + 3]!
    }
    for (; c < channels; c++) sums[base + c]! += factor * values[at + c]!
    this.#samples[group]! += samples
  }

  /** Groups that hold samples. */
  get groups(): number[] {
    return [...this.#samples.keys()].filter((group) => this.#samples[group]! > 0)
  }

  /** Sums and number of all samples, or of all but those of one group. */
  total(without?: number): { sums: Float64Array; samples: number } {
    const sums = new Float64Array(this.channels)
    let samples = 0
    for (const group of this.groups) {
      if (group === without) continue
      samples += this.#samples[group]!
      const base = group * this.channels
      for (let c = 0; c < sums.length; c++) sums[c]! += this.#sums[base + c]!
    }
    return { sums, samples }
  }
}

/**
 * Means and biased variances of C channels, from sums over samples of the mean and of the mean square over positions of
 * what is left when `center` (fixed numbers near the mean, so that nothing cancels) is subtracted.
 */
export function momentsOfSums(
  means: Float64Array,
  squares: Float64Array,
  { samples, center }: { samples: number; center: ArrayLike<number> },
): { mean: Float64Array; variance: Float64Array } {
  const centered = means.map((sum) => sum / samples)
  return {
    mean: centered.map((m, c) => m + center[c]!),
    variance: squares.map((sum, c) => Math.max(0, sum / samples - centered[c]! ** 2)),
  }
}

export const meanOf = (values: ArrayLike<number>): number => {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  return sum / values.length
}

/** Linear interpolation between order statistics. */
export function quantilesOf(values: ArrayLike<number>) {
  const sorted = Float64Array.from(values).sort()
  const at = (q: number) => {
    const position = q * (sorted.length - 1)
    const low = Math.floor(position)
    const high = Math.min(low + 1, sorted.length - 1)
    return sorted[low]! + (position - low) * (sorted[high]! - sorted[low]!)
  }
  return { min: at(0), q10: at(0.1), median: at(0.5), q90: at(0.9), max: at(1) }
}
