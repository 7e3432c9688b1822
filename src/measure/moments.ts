/**
 * Mean and variance per channel of what flows past, in float64, from means over the positions of each sample.
 * Samples are dealt to a few groups, so that the spread between groups tells how sure a figure is; memory does not
 * grow with the number of samples.
 *
 * Values come centred by `center` (C fixed numbers near the mean), so that nothing cancels.
 */
export class Moments {
  readonly channels: number
  readonly #center: ArrayLike<number>
  readonly #groups: number
  /** Sums over samples of the mean and of the mean square over positions: G x C each. */
  readonly #sum: Float64Array
  readonly #square: Float64Array
  readonly #samples: Float64Array

  constructor(center: ArrayLike<number>, groups: number) {
    this.channels = center.length
    this.#center = center
    this.#groups = groups
    this.#sum = new Float64Array(groups * center.length)
    this.#square = new Float64Array(groups * center.length)
    this.#samples = new Float64Array(groups)
  }

  /** Adds one sample: C means over its positions, then C mean squares, found in `values` from `at` on. */
  add(group: number, values: Float32Array, at: number): void {
    const { channels } = this
    const sum = this.#sum
    const square = this.#square
    const base = group * channels
    for (let c = 0; c < channels; c++) {
      sum[base + c]! += values[at + c]!
      square[base + c]! += values[at + channels + c]!
    }
    this.#samples[group]! += 1
  }

  get samples(): number {
    return this.#samples.reduce((sum, n) => sum + n, 0)
  }

  /** Groups that hold samples. */
  get groups(): number[] {
    return [...this.#samples.keys()].filter((group) => this.#samples[group]! > 0)
  }

  /** C means and C biased variances over all samples, or over all but those of one group. */
  moments(without?: number): { mean: Float64Array; variance: Float64Array } {
    const mean = new Float64Array(this.channels)
    const variance = new Float64Array(this.channels)
    let samples = 0
    for (let group = 0; group < this.#groups; group++) {
      if (group === without) continue
      samples += this.#samples[group]!
      const base = group * this.channels
      for (let c = 0; c < this.channels; c++) {
        mean[c]! += this.#sum[base + c]!
        variance[c]! += this.#square[base + c]!
      }
    }
    for (let c = 0; c < this.channels; c++) {
      const centered = mean[c]! / samples
      variance[c] = Math.max(0, variance[c]! / samples - centered * centered)
      mean[c] = centered + this.#center[c]!
    }
    return { mean, variance }
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
