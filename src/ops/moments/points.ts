import { normalBelow } from './normal.ts'

export type Mode = 'train' | 'eval'

/** Weighted points that stand for a distribution. */
export interface Points {
  readonly weights: Float64Array
  /** The standard normal variable behind each point. */
  readonly nodes: Float64Array
  /** For each entry of the spread, one value for each point. */
  readonly values: Float64Array
}

/** Half-width in standard deviations, and number, of the points that stand for a normal distribution. */
const reach = 6

export const pointCount = 97

export const standardPoints = (() => {
  // Equally spaced points: exact to rounding for smooth functions, to 1e-3 where a function has a kink.
  const nodes = Float64Array.from(
    { length: pointCount },
    (_, k) => -reach + (2 * reach * k) / (pointCount - 1),
  )
  const weights = nodes.map((z) => Math.exp((-z * z) / 2))
  const total = weights.reduce((a, b) => a + b, 0)
  return { nodes, weights: weights.map((w) => w / total) }
})()

/** Number of terms of the Hermite expansion that tell how much of a covariance passes a function. */
export const hermiteOrder = 6

export interface PointMoments {
  readonly mean: Float64Array
  readonly variance: Float64Array
  /** For each entry, the coefficients 0 to `hermiteOrder` of the function of the normal variable behind. */
  readonly coefficients: Float64Array
  /** The part of the variance that the normal variable behind does not explain. */
  readonly scatter: Float64Array
}

/** Normalised Hermite polynomials at the standard points, by order and point: h_(n+1) = (z h_n - sqrt(n) h_(n-1)) / sqrt(n + 1). */
const hermite = (() => {
  const orders = Array.from({ length: hermiteOrder + 1 }, () => new Float64Array(pointCount))
  for (let k = 0; k < pointCount; k++) {
    let [previous, current] = [0, 1]
    for (let n = 0; n <= hermiteOrder; n++) {
      orders[n]![k] = current
      const next = (standardPoints.nodes[k]! * current - Math.sqrt(n) * previous) / Math.sqrt(n + 1)
      previous = current
      current = next
    }
  }
  return orders
})()

export function momentsOfPoints({ weights, values }: Points): PointMoments {
  const size = weights.length
  const count = values.length / size
  const mean = new Float64Array(count)
  const variance = new Float64Array(count)
  const coefficients = new Float64Array(count * (hermiteOrder + 1))
  const scatter = new Float64Array(count)
  // Points of a mixture share nodes: what the normal variable alone makes of a node is the mean over them.
  const signal = new Float64Array(pointCount)
  for (let i = 0, start = 0; i < count; i++, start += size) {
    let m = 0
    for (let k = 0; k < size; k++) m += weights[k]! * values[start + k]!
    let v = 0
    signal.fill(0)
    for (let k = 0, node = 0; k < size; k++, node = node === pointCount - 1 ? 0 : node + 1) {
      const centred = values[start + k]! - m
      const weighted = weights[k]! * centred
      v += weighted * centred
      signal[node]! += weighted
    }
    mean[i] = m
    variance[i] = v
    for (let n = 0; n <= hermiteOrder; n++) {
      const polynomial = hermite[n]!
      let sum = 0
      for (let k = 0; k < pointCount; k++) sum += signal[k]! * polynomial[k]!
      coefficients[i * (hermiteOrder + 1) + n] = sum
    }
    if (size === pointCount) continue
    let explained = 0
    for (let k = 0; k < pointCount; k++) explained += signal[k]! ** 2 / standardPoints.weights[k]!
    scatter[i] = Math.max(0, v - explained)
  }
  return { mean, variance, coefficients, scatter }
}

/** Covariance of two such functions of normal variables of correlation rho: sum of a_n^2 rho^n. */
export function covarianceAt(
  { coefficients, variance, scatter }: PointMoments,
  entry: number,
  rho: number,
): number {
  let sum = 0
  let rest = variance[entry]! - scatter[entry]!
  for (let n = 1, power = rho; n <= hermiteOrder; n++, power *= rho) {
    const term = coefficients[entry * (hermiteOrder + 1) + n]! ** 2
    sum += term * power
    rest -= term
  }
  return sum + Math.max(0, rest) * rho ** (hermiteOrder + 1)
}

/** One thing that a noise may do to an element: y = scale x + shift, with a probability. */
export interface Outcome {
  readonly weight: number
  readonly scale: number
  readonly shift: number
}

/** Every point once for each outcome. */
export function mixed({ weights, nodes, values }: Points, outcomes: readonly Outcome[]): Points {
  const size = weights.length
  const count = values.length / size
  const width = size * outcomes.length
  const mixture = {
    weights: new Float64Array(width),
    nodes: new Float64Array(width),
    values: new Float64Array(count * width),
  }
  outcomes.forEach((outcome, j) => {
    for (let k = 0; k < size; k++) {
      mixture.weights[j * size + k] = outcome.weight * weights[k]!
      mixture.nodes[j * size + k] = nodes[k]!
      for (let i = 0; i < count; i++)
        mixture.values[i * width + j * size + k] = outcome.scale * values[i * size + k]! + outcome.shift
    }
  })
  return mixture
}

/** Correlations are told apart to this many steps. */
const correlationSteps = 20

export function largest(
  { weights, nodes, values }: Points,
  count: number,
  correlationOf: (entry: number) => number,
): Points {
  const size = weights.length
  const entries = values.length / size
  const result = new Float64Array(values.length)
  const shifts = new Map<number, Float64Array>()
  for (let i = 0; i < entries; i++) {
    const row = values.subarray(i * size, (i + 1) * size)
    if (size === pointCount) {
      const step = Math.round(correlationOf(i) * correlationSteps)
      let shifted = shifts.get(step)
      if (!shifted) {
        shifted = nodesOfLargest(count, step / correlationSteps)
        shifts.set(step, shifted)
      }
      for (let k = 0; k < size; k++) result[i * size + k] = interpolated(row, shifted[k]!)
    } else {
      // Noise that sets single elements apart: the maximum is over as many independent ones.
      result.set(quantilesOfLargest(row, weights, nodes, count), i * size)
    }
  }
  return { weights, nodes, values: result }
}

/** Where the standard points go when each becomes the same quantile of sqrt(r) c + sqrt(1 - r) max(e1 ... en). */
function nodesOfLargest(count: number, r: number): Float64Array {
  const { nodes, weights } = standardPoints
  const cumulative = new Float64Array(pointCount)
  let total = 0
  for (let k = 0; k < pointCount; k++) {
    cumulative[k] = total + weights[k]! / 2
    total += weights[k]!
  }
  // The distribution of the maximum of the independent parts, in steps of the same nodes.
  const largestWeights = cumulative.map((p, k) => {
    const [above, below] = [p + weights[k]! / 2, p - weights[k]! / 2]
    return Math.min(1, above) ** count - Math.max(0, below) ** count
  })
  const [common, own] = [Math.sqrt(r), Math.sqrt(1 - r)]
  const probabilityBelow = (x: number) => {
    let sum = 0
    for (let k = 0; k < pointCount; k++) {
      if (largestWeights[k]! < 1e-14) continue
      const rest = x - own * nodes[k]!
      sum += largestWeights[k]! * (common > 0 ? normalBelow(rest / common) : rest >= 0 ? 1 : 0)
    }
    return sum
  }
  return cumulative.map((p) => {
    let [low, high] = [-2 * reach, 2 * reach]
    for (let step = 0; step < 40; step++) {
      const middle = (low + high) / 2
      if (probabilityBelow(middle) < p) low = middle
      else high = middle
    }
    return (low + high) / 2
  })
}

/** The function given at the standard nodes, at z. */
function interpolated(row: Float64Array, z: number): number {
  const at = Math.min(pointCount - 1.000001, Math.max(0, ((z + reach) / (2 * reach)) * (pointCount - 1)))
  const k = Math.floor(at)
  return row[k]! + (at - k) * (row[k + 1]! - row[k]!)
}

function quantilesOfLargest(
  row: Float64Array,
  weights: Float64Array,
  nodes: Float64Array,
  count: number,
): Float64Array {
  const size = row.length
  const byValue = Array.from({ length: size }, (_, k) => k).sort((a, b) => row[a]! - row[b]!)
  const byNode = Array.from({ length: size }, (_, k) => k).sort((a, b) => nodes[a]! - nodes[b]!)
  const result = new Float64Array(size)
  let at = 0
  let below = weights[byValue[0]!]!
  let probability = 0
  for (const k of byNode) {
    const wanted = (probability + weights[k]! / 2) ** (1 / count)
    probability += weights[k]!
    while (below < wanted && at < size - 1) below += weights[byValue[++at]!]!
    result[k] = row[byValue[at]!]!
  }
  return result
}
