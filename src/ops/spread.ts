/**
 * What is known of the elements of a value without running the model: mean and variance of every channel, in two modes:
 * "train" (every noise on, as the running statistics were learned) and "eval" (every noise off, the same statistics).
 *
 * The variance of a sum has two parts. The diagonal adds up from what its elements do each by itself; it is known and
 * differs between the modes. The rest comes from what elements share; it is known only where a BatchNormalization has
 * stored the whole, and between the modes it scales with the square of `restGain`.
 *
 *   trainVariance = trainDiagonal + rest        evalVariance = evalDiagonal + restGain^2 rest
 *
 * Every field has one entry for each entry of `dims`: the shape of the value with 1 where all positions are alike.
 */
export interface Spread extends Fields {
  readonly dims: readonly number[]
  /** Points of the distribution in either mode; absent: the normal distribution of that mean and variance. */
  readonly distribution?: Distribution | undefined
  /** Covariances of the noise of the entries, row-major; absent: each entry's noise is independent of the others'. */
  readonly covariance?: Float64Array | undefined
}

const fieldNames = [
  'mean',
  'meanShift',
  'trainVariance',
  'evalVariance',
  'trainDiagonal',
  'evalDiagonal',
  'gain',
  'restGain',
  'neighbourGain',
  'noise',
  'channelNoise',
  'sampleShare',
  'pendingShare',
] as const

type FieldName = (typeof fieldNames)[number]

interface Fields {
  /** Mean in train mode; NaN if unknown. */
  readonly mean: Float64Array
  /** Mean in eval mode minus mean in train mode. */
  readonly meanShift: Float64Array
  /** NaN if the rest is unknown. */
  readonly trainVariance: Float64Array
  readonly evalVariance: Float64Array
  readonly trainDiagonal: Float64Array
  readonly evalDiagonal: Float64Array
  /** Amplitude of what different elements share with each other, eval over train. */
  readonly gain: Float64Array
  /** Amplitude of the rest of the variance of each element, eval over train. */
  readonly restGain: Float64Array
  /** Amplitude of what neighbouring positions of a channel share, eval over train. */
  readonly neighbourGain: Float64Array
  /** The part of trainVariance that is noise which positions do not share. */
  readonly noise: Float64Array
  /** The part of trainVariance that is noise with one draw for all positions of a channel. */
  readonly channelNoise: Float64Array
  /** Noise with one draw a sample, as a share of the second moment in train mode. */
  readonly sampleShare: Float64Array
  /** Noise with one draw an element that multiplies a value of unknown variance, as a share of its second moment. */
  readonly pendingShare: Float64Array
}

/** Mean and variance of each entry of `dims`, as a BatchNormalization stored them. */
export interface Stored {
  readonly dims: readonly number[]
  readonly mean: Float64Array
  readonly variance: Float64Array
}

export type Mode = 'train' | 'eval'

/** Weighted points that stand for a distribution. */
export interface Points {
  readonly weights: Float64Array
  /** The standard normal variable behind each point. */
  readonly nodes: Float64Array
  /** For each entry of the spread, one value for each point. */
  readonly values: Float64Array
}

interface Base {
  readonly gain: Float64Array
  readonly deviationRatio: Float64Array
  /** Share of its variance that is noise. */
  readonly noiseShare: Float64Array
}

export interface Distribution {
  /** Values of one source can be combined point by point. */
  readonly source: object
  /** Of the normal variable behind: its gain, its standard deviation in eval mode over that in train mode, its noise. */
  readonly base: Base
  points(mode: Mode): Points
}

const defaults: Readonly<Record<FieldName, number>> = {
  mean: Number.NaN,
  meanShift: 0,
  trainVariance: Number.NaN,
  evalVariance: Number.NaN,
  trainDiagonal: 0,
  evalDiagonal: 0,
  gain: 1,
  restGain: 1,
  neighbourGain: 1,
  noise: 0,
  channelNoise: 0,
  sampleShare: 0,
  pendingShare: 0,
}

const countOf = (dims: readonly number[]) => dims.reduce((n, d) => n * d, 1)

export function spreadOf(
  dims: readonly number[],
  fields: Partial<Fields>,
  distribution?: Distribution,
  covariance?: Float64Array,
): Spread {
  const count = countOf(dims)
  const spread: Partial<Record<FieldName, Float64Array>> = {}
  for (const name of fieldNames) spread[name] = fields[name] ?? new Float64Array(count).fill(defaults[name])
  return { ...(spread as Fields), dims, distribution, covariance }
}

/** A value of which nothing is known but that no noise reaches it. */
export const quiet = (rank: number): Spread => spreadOf(new Array<number>(rank).fill(1), {})

/** Mean and variance known, the same in both modes. */
export const steady = ({ dims, mean, variance }: Stored): Spread =>
  spreadOf(dims, {
    mean,
    trainVariance: variance,
    evalVariance: variance,
    trainDiagonal: variance,
    evalDiagonal: variance,
  })

export const isClosed = (spread: Spread): boolean =>
  spread.trainVariance.every((v) => !Number.isNaN(v)) && spread.mean.every((m) => !Number.isNaN(m))

/** True if train and eval mode do not differ. */
export const isQuiet = (spread: Spread): boolean =>
  spread.trainDiagonal.every((v, i) => v === spread.evalDiagonal[i]) &&
  spread.meanShift.every((v) => v === 0) &&
  spread.gain.every((v) => v === 1) &&
  spread.channelNoise.every((v) => v === 0) &&
  spread.sampleShare.every((v) => v === 0) &&
  spread.pendingShare.every((v) => v === 0)

/** Variance of each entry if known, else its diagonal part, which is what a sum may take for it. */
export const varianceOr = (spread: Spread, mode: Mode): Float64Array => {
  const [whole, diagonal] =
    mode === 'train'
      ? [spread.trainVariance, spread.trainDiagonal]
      : [spread.evalVariance, spread.evalDiagonal]
  return whole.map((v, i) => (Number.isNaN(v) ? diagonal[i]! : v))
}

/** An eval variance is never predicted below this share of the train variance: there the formula has left its ground. */
export const leastShare = 0.02

/** The spread with its train moments set to what a BatchNormalization stored. */
export function closedBy(open: Spread, stored: Stored): Spread {
  const dims = mergedDims(open.dims, stored.dims)
  if (!dims) return open
  const spread = expanded(open, dims)
  const toStored = broadcastIndex(dims, stored.dims)
  const mean = Float64Array.from(toStored, (i) => stored.mean[i]!)
  const trainVariance = Float64Array.from(toStored, (i) => stored.variance[i]!)
  const sampleNoise = trainVariance.map((v, i) => spread.sampleShare[i]! * (v + mean[i]! ** 2))
  const evalVariance = trainVariance.map((v, i) => {
    const rest = v - spread.trainDiagonal[i]! - sampleNoise[i]!
    return Math.max(leastShare * v, spread.evalDiagonal[i]! + spread.restGain[i]! ** 2 * rest)
  })
  return {
    ...spread,
    mean,
    trainVariance,
    evalVariance,
    trainDiagonal: trainVariance.map((v, i) => v - sampleNoise[i]!),
    evalDiagonal: evalVariance,
    pendingShare: new Float64Array(mean.length),
  }
}

/** Records an assumption, in words. */
export type Assume = (text: string) => void

/**
 * Variance of a layer's output over what its inputs add up to each by itself. Trained layers add up what their inputs
 * share; on small trained networks (test/oracle/networks) the figure lies between 1.1 and 5, mostly near 2.
 */
const typicalGrowth = 2

const estimatedVariance =
  'the variance behind layers without a BatchNormalization of their own is estimated (twice what their inputs add up to one by one)'

/** The spread with an estimate for a variance that the file does not tell; undefined if nothing is known of it. */
export function estimated(spread: Spread, assume?: Assume): Spread | undefined {
  if (isClosed(spread)) return spread
  const { mean, trainDiagonal, evalDiagonal, sampleShare, pendingShare } = spread
  if (mean.some(Number.isNaN) || trainDiagonal.every((v) => v === 0)) return undefined
  assume?.(estimatedVariance)
  const variance = trainDiagonal.map((v, i) => {
    const own = v + (typicalGrowth - 1) * evalDiagonal[i]!
    return (own + sampleShare[i]! * mean[i]! ** 2) / (1 - sampleShare[i]!)
  })
  const closed = closedBy(spread, { dims: spread.dims, mean, variance })
  if (pendingShare.every((share) => share === 0)) return closed
  const pending = pendingShare.map((share, i) => (share / (1 - share)) * (variance[i]! + mean[i]! ** 2))
  const grown = (values: Float64Array) => values.map((v, i) => v + pending[i]!)
  return {
    ...closed,
    trainVariance: grown(closed.trainVariance),
    trainDiagonal: grown(closed.trainDiagonal),
    noise: grown(closed.noise),
    covariance: undefined,
  }
}

/** The common refinement of two templates of the same rank. */
export function mergedDims(a: readonly number[], b: readonly number[]): number[] | undefined {
  const rank = Math.max(a.length, b.length)
  const merged: number[] = []
  for (let axis = 0; axis < rank; axis++) {
    const da = a[axis - rank + a.length] ?? 1
    const db = b[axis - rank + b.length] ?? 1
    if (da !== db && da !== 1 && db !== 1) return undefined
    merged.push(Math.max(da, db))
  }
  return merged
}

/** For each entry of `dims`, the entry of the coarser template `from` (aligned at the end) that holds for it. */
export function broadcastIndex(dims: readonly number[], from: readonly number[]): Int32Array {
  const index = new Int32Array(countOf(dims))
  const strides = new Array<number>(dims.length).fill(0)
  for (let axis = from.length - 1, stride = 1; axis >= 0; axis--) {
    if (from[axis] !== 1) strides[axis + dims.length - from.length] = stride
    stride *= from[axis]!
  }
  const at = new Array<number>(dims.length).fill(0)
  for (let i = 0, position = 0; i < index.length; i++) {
    index[i] = position
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      position += strides[axis]!
      if (++at[axis]! < dims[axis]!) break
      position -= strides[axis]! * dims[axis]!
      at[axis] = 0
    }
  }
  return index
}

/** Entry i of the result is entry index[i] of the spread. */
export function rearranged(spread: Spread, dims: readonly number[], index: ArrayLike<number>): Spread {
  const pick = (values: Float64Array) => {
    const picked = new Float64Array(index.length)
    for (let i = 0; i < picked.length; i++) picked[i] = values[index[i]!]!
    return picked
  }
  const fields: Partial<Record<FieldName, Float64Array>> = {}
  for (const name of fieldNames) fields[name] = pick(spread[name])
  const { distribution } = spread
  return spreadOf(
    dims,
    fields,
    distribution && {
      source: {},
      base: {
        gain: pick(distribution.base.gain),
        deviationRatio: pick(distribution.base.deviationRatio),
        noiseShare: pick(distribution.base.noiseShare),
      },
      points: (mode) => {
        const points = distribution.points(mode)
        const size = points.weights.length
        const values = new Float64Array(index.length * size)
        for (let i = 0; i < index.length; i++)
          values.set(points.values.subarray(index[i]! * size, (index[i]! + 1) * size), i * size)
        return { ...points, values }
      },
    },
    spread.covariance && rearrangedMatrix(spread.covariance, spread.mean.length, index),
  )
}

function rearrangedMatrix(
  matrix: Float64Array,
  size: number,
  index: ArrayLike<number>,
): Float64Array | undefined {
  const count = index.length
  if (count > maxMatrix) return undefined
  const result = new Float64Array(count * count)
  for (let i = 0; i < count; i++)
    for (let j = 0; j < count; j++) result[i * count + j] = matrix[index[i]! * size + index[j]!]!
  return result
}

/** Largest number of entries of which covariances are kept. */
const maxMatrix = 512

/** The spread with an entry of its own for each entry of the finer template `dims`. */
export function expanded(spread: Spread, dims: readonly number[]): Spread {
  if (dims.length === spread.dims.length && dims.every((dim, axis) => dim === spread.dims[axis]))
    return spread
  const index = broadcastIndex(dims, spread.dims)
  const grown = rearranged(spread, dims, index)
  const { distribution } = spread
  // Entries stay aligned with those of the source, so that x * sigmoid(x) is still seen as one function of x.
  return distribution && grown.distribution
    ? { ...grown, distribution: { ...grown.distribution, source: distribution.source } }
    : grown
}

/** One entry for each entry of the coarser template `dims`: the mean over the positions that it joins. */
export function collapsed(spread: Spread, dims: readonly number[]): Spread {
  if (dims.every((dim, axis) => dim === spread.dims[axis])) return spread
  const index = broadcastIndex(spread.dims, dims)
  const count = countOf(dims)
  const share = count / index.length
  const average = (values: Float64Array) => {
    const averaged = new Float64Array(count)
    for (let i = 0; i < index.length; i++) averaged[index[i]!]! += values[i]! * share
    return averaged
  }
  const fields: Partial<Record<FieldName, Float64Array>> = {}
  for (const name of fieldNames) fields[name] = average(spread[name])
  const { mean, meanShift } = fields as Fields
  // Means that differ between positions are variance of the whole.
  const between = new Float64Array(count)
  const betweenEval = new Float64Array(count)
  for (let i = 0; i < index.length; i++) {
    const j = index[i]!
    between[j]! += (spread.mean[i]! - mean[j]!) ** 2 * share
    betweenEval[j]! += (spread.mean[i]! + spread.meanShift[i]! - mean[j]! - meanShift[j]!) ** 2 * share
  }
  for (let j = 0; j < count; j++) {
    if (Number.isNaN(between[j]!) || between[j] === 0) continue
    fields.trainVariance![j]! += between[j]!
    fields.evalVariance![j]! += betweenEval[j]!
    fields.trainDiagonal![j]! += between[j]!
    fields.evalDiagonal![j]! += betweenEval[j]!
  }
  return spreadOf(dims, fields)
}

/** scale x + shift, entry by entry. */
export function affine(spread: Spread, scale: Float64Array, shift: Float64Array): Spread {
  const by = (values: Float64Array, power: 1 | 2) => values.map((v, i) => v * scale[i]! ** power)
  const mean = spread.mean.map((m, i) => m * scale[i]! + shift[i]!)
  const trainVariance = by(spread.trainVariance, 2)
  return {
    ...spread,
    mean,
    meanShift: by(spread.meanShift, 1),
    trainVariance,
    evalVariance: by(spread.evalVariance, 2),
    trainDiagonal: by(spread.trainDiagonal, 2),
    evalDiagonal: by(spread.evalDiagonal, 2),
    noise: by(spread.noise, 2),
    channelNoise: by(spread.channelNoise, 2),
    covariance: spread.covariance && scaledMatrix(spread.covariance, scale),
    sampleShare: spread.sampleShare.map((share, i) => {
      const noise = share * scale[i]! ** 2 * (spread.trainVariance[i]! + spread.mean[i]! ** 2)
      const moment = trainVariance[i]! + mean[i]! ** 2
      return shift[i] === 0 || Number.isNaN(noise) || moment === 0 ? share : noise / moment
    }),
    distribution: isClosed(spread)
      ? mapped(distributionOf(spread), (x, i) => x * scale[i]! + shift[i]!)
      : undefined,
  }
}

function scaledMatrix(matrix: Float64Array, scale: Float64Array): Float64Array {
  const n = scale.length
  return matrix.map((v, k) => v * scale[Math.floor(k / n)]! * scale[k % n]!)
}

/** Half-width in standard deviations, and number, of the points that stand for a normal distribution. */
const reach = 6
const pointCount = 97

const standardPoints = (() => {
  // Equally spaced points: exact to rounding for smooth functions, to 1e-3 where a function has a kink.
  const nodes = Float64Array.from(
    { length: pointCount },
    (_, k) => -reach + (2 * reach * k) / (pointCount - 1),
  )
  const weights = nodes.map((z) => Math.exp((-z * z) / 2))
  const total = weights.reduce((a, b) => a + b, 0)
  return { nodes, weights: weights.map((w) => w / total) }
})()

/** The normal distribution with the means and variances of the spread. */
function normalPoints(spread: Spread, mode: Mode): Points {
  const { nodes, weights } = standardPoints
  const count = spread.mean.length
  const values = new Float64Array(count * pointCount)
  const variance = mode === 'train' ? spread.trainVariance : spread.evalVariance
  for (let i = 0; i < count; i++) {
    const mean = spread.mean[i]! + (mode === 'eval' ? spread.meanShift[i]! : 0)
    const deviation = Math.sqrt(Math.max(0, variance[i]!))
    for (let k = 0; k < pointCount; k++) values[i * pointCount + k] = mean + deviation * nodes[k]!
  }
  return { nodes, weights, values }
}

const distributionOf = (spread: Spread): Distribution =>
  spread.distribution ?? {
    source: spread,
    base: {
      gain: spread.gain,
      deviationRatio: spread.trainVariance.map((v, i) =>
        v > 0 ? Math.sqrt(spread.evalVariance[i]! / v) : 1,
      ),
      noiseShare: spread.trainVariance.map((v, i) =>
        v > 0 ? Math.min(1, Math.max(0, spread.noise[i]! / v)) : 0,
      ),
    },
    points: (mode) => normalPoints(spread, mode),
  }

function mapped(distribution: Distribution, f: (x: number, entry: number) => number): Distribution {
  return {
    ...distribution,
    points: (mode) => {
      const points = distribution.points(mode)
      const size = points.weights.length
      return { ...points, values: points.values.map((x, k) => f(x, Math.floor(k / size))) }
    },
  }
}

/** Number of terms of the Hermite expansion that tell how much of a covariance passes a function. */
const hermiteOrder = 6

interface PointMoments {
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

function momentsOfPoints({ weights, values }: Points): PointMoments {
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
function covarianceAt({ coefficients, variance, scatter }: PointMoments, entry: number, rho: number): number {
  let sum = 0
  let rest = variance[entry]! - scatter[entry]!
  for (let n = 1, power = rho; n <= hermiteOrder; n++, power *= rho) {
    const term = coefficients[entry * (hermiteOrder + 1) + n]! ** 2
    sum += term * power
    rest -= term
  }
  return sum + Math.max(0, rest) * rho ** (hermiteOrder + 1)
}

/**
 * How much of a channel's variance, noise apart, its neighbouring positions share. Feature maps are smooth but not
 * constant; between the two limits (0: every position for itself, 1: all alike) predictions differ by some percent.
 */
const neighbourCorrelation = 0.5

/**
 * Correlation, noise apart, that different elements which a layer adds up are taken to have: it decides how much of the
 * curvature of an activation shows in what they share. At 0 only the slope would count, at 1 all of the curve;
 * on small trained networks (test/oracle/networks) 0.3 to 0.7 did about equally well.
 */
const typicalCorrelation = 0.5

/** The spread of what `distribution` describes; `before` says what noise was in it. */
function describedBy(distribution: Distribution, before: Spread): Spread {
  const { base } = distribution
  const train = momentsOfPoints(distribution.points('train'))
  const evaluated = isQuiet(before) ? train : momentsOfPoints(distribution.points('eval'))
  const momentRatio = train.mean.map((mean, i) => {
    const moment = before.trainVariance[i]! + before.mean[i]! ** 2
    return moment > 0 ? (train.variance[i]! + mean ** 2) / moment : 0
  })
  const sampleNoise = before.sampleShare.map((share, i) => share * (train.variance[i]! + train.mean[i]! ** 2))
  const noise = train.variance.map((v, i) => {
    const share = base.noiseShare[i]!
    return share === 0 && train.scatter[i] === 0 ? 0 : v - covarianceAt(train, i, 1 - share)
  })
  /** Covariance in eval mode over that in train mode of elements whose signals have the correlation `rho`. */
  const gainAt = (rho: number) =>
    base.gain.map((g, i) => {
      if (evaluated === train) return g
      const inTrain = rho * (1 - base.noiseShare[i]!)
      const inEval = Math.min(1, (inTrain * g * g) / base.deviationRatio[i]! ** 2)
      const ratio = covarianceAt(evaluated, i, inEval) / covarianceAt(train, i, inTrain)
      return Number.isFinite(ratio) && ratio > 0 ? Math.min(4, Math.sqrt(ratio)) : g
    })
  return spreadOf(
    before.dims,
    {
      mean: train.mean,
      meanShift: evaluated.mean.map((m, i) => m - train.mean[i]!),
      trainVariance: train.variance,
      evalVariance: evaluated.variance,
      trainDiagonal: train.variance.map((v, i) => v - sampleNoise[i]!),
      evalDiagonal: evaluated.variance,
      gain: gainAt(typicalCorrelation),
      neighbourGain: gainAt(neighbourCorrelation),
      noise,
      channelNoise: before.channelNoise.map((v, i) => v * momentRatio[i]!),
      sampleShare: before.sampleShare,
    },
    distribution,
    before.covariance && passedOn(before, train, noise),
  )
}

/** Covariances of noise behind a function: they pass with its slope; each entry's own noise is known. */
function passedOn(before: Spread, after: PointMoments, noise: Float64Array): Float64Array {
  const { coefficients } = momentsOfPoints(distributionOf(before).points('train'))
  const slope = noise.map((_, i) => {
    const at = i * (hermiteOrder + 1) + 1
    return coefficients[at] ? after.coefficients[at]! / coefficients[at]! : 0
  })
  const matrix = scaledMatrix(before.covariance!, slope)
  noise.forEach((v, i) => {
    matrix[i * noise.length + i] = v
  })
  return matrix
}

/**
 * f of every element. Undefined if the variance that f depends on is unknown and noise is about; quiet where it is
 * unknown without noise.
 */
export function applied(
  spread: Spread,
  f: (x: number, entry: number) => number,
  assume?: Assume,
): Spread | undefined {
  const known = estimated(spread, assume)
  if (!known) return isQuiet(spread) ? quiet(spread.dims.length) : undefined
  return describedBy(mapped(distributionOf(known), f), known)
}

/** f(a, b) of two values that are functions of the same one; undefined if they are not. */
export function combined(a: Spread, b: Spread, f: (x: number, y: number) => number): Spread | undefined {
  const da = distributionOf(a)
  const db = distributionOf(b)
  if (da.source !== db.source || a.mean.length !== b.mean.length || !isClosed(a) || !isClosed(b))
    return undefined
  const joint: Distribution = {
    ...da,
    points: (mode) => {
      const pa = da.points(mode)
      const pb = db.points(mode)
      return { ...pa, values: pa.values.map((x, k) => f(x, pb.values[k]!)) }
    },
  }
  return describedBy(joint, a)
}

/** The product of two values that are taken as independent of each other (a gate). */
export function gated(a: Spread, b: Spread): Spread | undefined {
  const dims = mergedDims(a.dims, b.dims)
  if (!dims) return undefined
  const [x, y] = [expanded(a, dims), expanded(b, dims)]
  if (!isClosed(x) || !isClosed(y)) return isQuiet(x) && isQuiet(y) ? quiet(dims.length) : undefined
  const mean = x.mean.map((m, i) => m * y.mean[i]!)
  const evalMean = x.mean.map((m, i) => (m + x.meanShift[i]!) * (y.mean[i]! + y.meanShift[i]!))
  const variance = (mode: Mode) =>
    mean.map((_, i) => {
      const [ma, va, mb, vb] =
        mode === 'train'
          ? [x.mean[i]!, x.trainVariance[i]!, y.mean[i]!, y.trainVariance[i]!]
          : [
              x.mean[i]! + x.meanShift[i]!,
              x.evalVariance[i]!,
              y.mean[i]! + y.meanShift[i]!,
              y.evalVariance[i]!,
            ]
      return va * vb + va * mb * mb + vb * ma * ma
    })
  const trainVariance = variance('train')
  const evalVariance = variance('eval')
  return spreadOf(dims, {
    mean,
    meanShift: evalMean.map((m, i) => m - mean[i]!),
    trainVariance,
    evalVariance,
    trainDiagonal: trainVariance,
    evalDiagonal: evalVariance,
    gain: x.gain,
  })
}

/** One thing that a noise may do to an element: y = scale x + shift, with a probability. */
export interface Outcome {
  readonly weight: number
  readonly scale: number
  readonly shift: number
}

/** The spread behind a noise with these outcomes, one draw for each element, channel or sample. */
export function perturbed(
  spread: Spread,
  outcomes: readonly Outcome[],
  sharing: 'element' | 'channel' | 'sample' | 'batch',
): Spread | undefined {
  const expected = (f: (outcome: Outcome) => number) => outcomes.reduce((sum, o) => sum + o.weight * f(o), 0)
  const scale = expected((o) => o.scale)
  const shift = expected((o) => o.shift)
  const relative = expected((o) => o.scale ** 2) / scale ** 2 - 1
  const additive = expected((o) => o.shift ** 2) - shift ** 2
  const multiplicative = outcomes.every((o) => o.shift === 0)
  if (!isClosed(spread)) {
    // A variance that is added is known whatever it is added to; one that multiplies waits for it.
    if (relative === 0 && scale === 1)
      return {
        ...spread,
        trainDiagonal: spread.trainDiagonal.map((v) => v + additive),
        noise: spread.noise.map((v) => v + additive),
        covariance: undefined,
        mean: spread.mean.map((m) => m + shift),
        meanShift: spread.meanShift.map((m) => m - shift),
      }
    if (!multiplicative) return undefined
    const grown = (share: number) => 1 - (1 - share) / (1 + relative)
    return sharing === 'sample' || sharing === 'batch'
      ? { ...spread, sampleShare: spread.sampleShare.map(grown) }
      : { ...spread, pendingShare: spread.pendingShare.map(grown) }
  }
  const mean = spread.mean.map((m) => scale * m + shift)
  const trainVariance = spread.trainVariance.map((v, i) => {
    const m = spread.mean[i]!
    const moment = v + m * m
    return Math.max(
      0,
      expected((o) => o.scale ** 2 * moment + 2 * o.scale * o.shift * m + o.shift ** 2) - mean[i]! ** 2,
    )
  })
  const moment = (i: number) => trainVariance[i]! + mean[i]! ** 2
  const added = trainVariance.map((v, i) => Math.max(0, v - scale ** 2 * spread.trainVariance[i]!))
  const sampleNoise = spread.sampleShare.map((share, i) => {
    const before = share * scale ** 2 * (spread.trainVariance[i]! + spread.mean[i]! ** 2)
    return before + (sharing === 'sample' || sharing === 'batch' ? added[i]! : 0)
  })
  const source = distributionOf(spread)
  return spreadOf(
    spread.dims,
    {
      mean,
      meanShift: spread.meanShift.map((s, i) => spread.mean[i]! + s - mean[i]!),
      trainVariance,
      evalVariance: spread.evalVariance,
      trainDiagonal: trainVariance.map((v, i) => v - sampleNoise[i]!),
      evalDiagonal: spread.evalVariance,
      gain: spread.gain.map((g) => g / scale),
      noise: spread.noise.map((v, i) => scale ** 2 * v + (sharing === 'element' ? added[i]! : 0)),
      channelNoise: spread.channelNoise.map(
        (v, i) => scale ** 2 * v + (sharing === 'channel' ? added[i]! : 0),
      ),
      sampleShare: sampleNoise.map((noise, i) => (moment(i) > 0 ? Math.min(1, noise / moment(i)) : 0)),
    },
    {
      source: {},
      base: source.base,
      points: (mode) => (mode === 'eval' ? source.points('eval') : mixed(source.points('train'), outcomes)),
    },
    spread.covariance && withDiagonal(spread.covariance, scale, sharing === 'element' ? added : undefined),
  )
}

function withDiagonal(matrix: Float64Array, scale: number, added: Float64Array | undefined): Float64Array {
  const result = matrix.map((v) => v * scale * scale)
  added?.forEach((v, i) => {
    result[i * added.length + i]! += v
  })
  return result
}

/** Every point once for each outcome. */
function mixed({ weights, nodes, values }: Points, outcomes: readonly Outcome[]): Points {
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

/** Weights of one output of a linear node: entry c of the input, counted from `offset`, weighs first[c]. */
export interface Row {
  readonly offset: number
  /** Number of entries in use. */
  readonly length: number
  /** Sum of the weights over positions. */
  readonly first: ArrayLike<number>
  /** Sum of their squares. */
  readonly second: ArrayLike<number>
}

/** Multiplications that may still be spent on covariances. */
export interface Budget {
  left: number
}

/** The weights of a linear node one by one: output k weighs entry c at tap t with at(k, c, t). */
export interface Taps {
  readonly budget: Budget
  /** For each tap the share of positions at which it counts. */
  readonly shares: readonly number[]
  at(output: number, entry: number, tap: number): number
}

/** Weighted sums of the entries of `spread` (flat, one row for each output): convolutions and matrix products. */
export function contracted(
  input: Spread,
  outDims: readonly number[],
  rowOf: (output: number) => Row,
  { taps, assume }: { taps?: Taps; assume?: Assume } = {},
): Spread | undefined {
  const isUnknown = input.mean.some(Number.isNaN) && input.trainDiagonal.every((v) => v === 0)
  if (isQuiet(input) && isUnknown) return quiet(outDims.length)
  const isPending = input.pendingShare.some((share) => share > 0)
  const spread = isPending ? estimated(input, assume) : input
  if (!spread) return undefined
  const count = countOf(outDims)
  const make = () => new Float64Array(count)
  const out = {
    mean: make(),
    meanShift: make(),
    trainDiagonal: make(),
    evalDiagonal: make(),
    gain: make(),
    restGain: make(),
    neighbourGain: make(),
    noise: make(),
    channelNoise: make(),
    sampleShare: make(),
  }
  const train = varianceOr(spread, 'train')
  const evaluated = varianceOr(spread, 'eval')
  const hasChannelNoise = spread.channelNoise.some((v) => v > 0)
  const hasSampleNoise = spread.sampleShare.some((v) => v > 0)
  const closed = isClosed(spread)
  for (let k = 0; k < count; k++) {
    const { offset, length, first, second } = rowOf(k)
    let [weighed, gain, share] = [0, 0, 0]
    let [mean, shift, dTrain, dEval, dChannel, dNoise] = [0, 0, 0, 0, 0, 0]
    for (let j = 0; j < length; j++) {
      const c = offset + j
      const w1 = first[j]!
      const w2 = second[j]!
      mean += w1 * spread.mean[c]!
      shift += w1 * spread.meanShift[c]!
      dEval += w2 * evaluated[c]!
      dNoise += w2 * spread.noise[c]!
      let own = closed ? train[c]! : spread.trainDiagonal[c]!
      if (hasSampleNoise && closed) own -= spread.sampleShare[c]! * (train[c]! + spread.mean[c]! ** 2)
      if (hasChannelNoise && spread.channelNoise[c]! > 0) {
        const noise = spread.channelNoise[c]!
        const moment = train[c]! + spread.mean[c]! ** 2
        const coherent = spread.mean[c]! ** 2 + neighbourCorrelation * train[c]!
        dChannel += (noise / moment) * (w1 * w1 * coherent + w2 * (moment - coherent))
        own -= noise
      }
      dTrain += w2 * own
      if (closed && w1 * w1 !== w2) {
        // Taps of one channel see neighbouring positions, whose signals go together.
        const shared = (w1 * w1 - w2) * neighbourCorrelation * Math.max(0, own - spread.noise[c]!)
        dTrain += shared
        dEval += shared * spread.neighbourGain[c]! ** 2
      }
      const amplitude = Math.sqrt(w2 * evaluated[c]!)
      weighed += amplitude
      gain += amplitude * spread.gain[c]!
      share += amplitude * spread.sampleShare[c]!
    }
    out.mean[k] = mean
    out.meanShift[k] = shift
    out.trainDiagonal[k] = dTrain + dChannel
    out.evalDiagonal[k] = dEval
    out.noise[k] = dNoise
    out.channelNoise[k] = dChannel
    out.gain[k] = weighed > 0 ? gain / weighed : 1
    out.restGain[k] = out.gain[k]!
    out.neighbourGain[k] = out.gain[k]!
    out.sampleShare[k] = weighed > 0 ? share / weighed : average(spread.sampleShare, offset, length)
  }
  const covariance = taps && noiseCovariance(spread, count, taps)
  if (covariance)
    for (let k = 0; k < count; k++) {
      // Noise that entries share adds up like signal, but is gone in eval mode.
      const shared = covariance[k * count + k]!
      out.trainDiagonal[k]! += shared - out.noise[k]!
      out.noise[k] = shared
    }
  return spreadOf(outDims, out, undefined, covariance)
}

/** sum over taps of W N W^T, for noise that differs from position to position. */
function noiseCovariance(
  spread: Spread,
  count: number,
  { budget, shares, at }: Taps,
): Float64Array | undefined {
  const { noise, covariance } = spread
  const size = noise.length
  if (!noise.some((v) => v > 0) || count > maxMatrix) return undefined
  const cost = shares.length * count * size * (count / 2 + (covariance ? size : 1))
  if (cost > budget.left) return undefined
  budget.left -= cost
  const result = new Float64Array(count * count)
  const weights = new Float64Array(count * size)
  const product = new Float64Array(size)
  for (const [tap, share] of shares.entries()) {
    for (let k = 0; k < count; k++) for (let c = 0; c < size; c++) weights[k * size + c] = at(k, c, tap)
    for (let k = 0; k < count; k++) {
      product.fill(0)
      for (let c = 0; c < size; c++) {
        const w = weights[k * size + c]!
        if (w === 0) continue
        if (covariance) for (let d = 0; d < size; d++) product[d]! += w * covariance[c * size + d]!
        else product[c] = w * noise[c]!
      }
      for (let l = 0; l <= k; l++) {
        let sum = 0
        for (let c = 0; c < size; c++) sum += product[c]! * weights[l * size + c]!
        result[k * count + l]! += share * sum
      }
    }
  }
  for (let k = 0; k < count; k++) for (let l = 0; l < k; l++) result[l * count + k] = result[k * count + l]!
  return result
}

function average(values: Float64Array, offset: number, length: number): number {
  let sum = 0
  for (let i = offset; i < offset + length; i++) sum += values[i]!
  return length > 0 ? sum / length : 0
}

/**
 * a + b. What the summands share is known only where a BatchNormalization stored the sum (`stored`); elsewhere two
 * known summands count as uncorrelated.
 */
export function added(a: Spread, b: Spread, stored?: Stored): Spread | undefined {
  const dims = mergedDims(mergedDims(a.dims, b.dims) ?? [], stored?.dims ?? [])
  if (!dims || dims.length === 0) return a.dims.length === 0 ? a : undefined
  const x = expanded(a, dims)
  const y = expanded(b, dims)
  const sum = (name: FieldName) => x[name].map((v, i) => v + y[name][i]!)
  const mean = sum('mean')
  const toStored = stored && broadcastIndex(dims, stored.dims)
  const whole = toStored ? Float64Array.from(toStored, (i) => stored!.variance[i]!) : sum('trainVariance')
  // The second moment of a summand of unknown variance is what the other one leaves of the sum.
  const moment = (one: Spread, other: Spread, i: number) => {
    const variance = Number.isNaN(one.trainVariance[i]!)
      ? Math.max(one.trainDiagonal[i]!, whole[i]! - other.trainVariance[i]!)
      : one.trainVariance[i]!
    return variance + (Number.isNaN(one.mean[i]!) ? 0 : one.mean[i]! ** 2)
  }
  const noiseOf = (one: Spread, other: Spread, name: 'sampleShare' | 'pendingShare') =>
    one[name].map((share, i) => (share === 0 ? 0 : share * moment(one, other, i)))
  const both = (name: 'sampleShare' | 'pendingShare') => {
    const other = noiseOf(y, x, name)
    return noiseOf(x, y, name).map((v, i) => v + other[i]!)
  }
  const pending = both('pendingShare')
  const sample = both('sampleShare')
  if ([...pending, ...sample].some(Number.isNaN)) return undefined
  return spreadOf(
    dims,
    {
      mean,
      meanShift: sum('meanShift'),
      trainVariance: sum('trainVariance'),
      evalVariance: sum('evalVariance'),
      trainDiagonal: sum('trainDiagonal').map((v, i) => v + pending[i]!),
      evalDiagonal: sum('evalDiagonal'),
      ...gainsOfSum(x, y, stored && whole),
      noise: sum('noise').map((v, i) => v + pending[i]!),
      channelNoise: sum('channelNoise'),
      sampleShare: sample.map((noise, i) => {
        const total = whole[i]! + (Number.isNaN(mean[i]!) ? 0 : mean[i]! ** 2)
        return noise === 0 ? 0 : Math.min(1, noise / total)
      }),
    },
    undefined,
    sumOfCovariances(x, y, pending),
  )
}

/** Noises of two summands are independent of each other, as far as anybody can tell from the file. */
function sumOfCovariances(x: Spread, y: Spread, pending: Float64Array): Float64Array | undefined {
  if (!x.covariance && !y.covariance) return undefined
  const n = pending.length
  const result = new Float64Array(n * n)
  for (const { covariance, noise } of [x, y])
    if (covariance) for (let k = 0; k < result.length; k++) result[k]! += covariance[k]!
    else for (let i = 0; i < n; i++) result[i * n + i]! += noise[i]!
  for (let i = 0; i < n; i++) result[i * n + i]! += pending[i]!
  return result
}

/**
 * What two summands share scales with both their gains, what is unknown of one alone with its own. How much that is
 * can be told where the whole is known: the usual growth of a layer's output for a summand of which something is known,
 * all else for the other.
 */
function gainsOfSum(
  x: Spread,
  y: Spread,
  whole: Float64Array | undefined,
): Pick<Fields, 'gain' | 'restGain' | 'neighbourGain'> {
  const n = x.gain.length
  const gain = new Float64Array(n)
  const restGain = new Float64Array(n)
  const signalOf = (spread: Spread) =>
    varianceOr(spread, 'train').map((v, i) => Math.max(0, v - spread.noise[i]! - spread.channelNoise[i]!))
  const [vx, vy] = [signalOf(x), signalOf(y)]
  for (let i = 0; i < n; i++) {
    const [gx, gy] = [x.gain[i]!, y.gain[i]!]
    const [openX, openY] = [Number.isNaN(x.trainVariance[i]!), Number.isNaN(y.trainVariance[i]!)]
    let [px, py] = [vx[i]!, vy[i]!]
    if (whole && px + py > 0 && (px === 0 || py === 0)) {
      // Of one summand nothing is known: it is what the other one leaves.
      const known = Math.min(whole[i]!, (px + py) * typicalGrowth)
      ;[px, py] = px === 0 ? [whole[i]! - known, known] : [known, whole[i]! - known]
      gain[i] = Math.sqrt((px * gx ** 2 + py * gy ** 2) / (px + py))
      const rest = px + py - vx[i]! - vy[i]!
      const own = Math.min(rest, known - vx[i]! - vy[i]!)
      const [gKnown, gOther] = vx[i] === 0 ? [gy, gx] : [gx, gy]
      restGain[i] = rest > 0 ? Math.sqrt((own * gKnown ** 2 + (rest - own) * gOther ** 2) / rest) : gKnown
      continue
    }
    gain[i] = px + py > 0 ? Math.sqrt((px * gx ** 2 + py * gy ** 2) / (px + py)) : Math.sqrt(gx * gy)
    if (openX && openY) restGain[i] = gain[i]!
    else if (openX) restGain[i] = x.restGain[i]!
    else restGain[i] = openY ? y.restGain[i]! : Math.sqrt(gx * gy)
  }
  return { gain, restGain, neighbourGain: gain }
}

/** Several values side by side along `axis`; undefined if templates do not fit or would grow beyond `limit` entries. */
export function concatenated(
  parts: readonly Spread[],
  axis: number,
  sizes: readonly (number | undefined)[],
  limit = 1e6,
): Spread | undefined {
  let common: number[] | undefined = [...parts[0]!.dims]
  common[axis] = 1
  for (const part of parts) {
    const dims = [...part.dims]
    dims[axis] = 1
    common = common && mergedDims(common, dims)
  }
  if (!common) return undefined
  const uniform = parts.every((part) => isQuiet(part) && !isClosed(part))
  if (uniform) return quiet(common.length)
  if (sizes.some((size) => size === undefined)) return undefined
  const grown = parts.map((part, i) => expanded(part, common.with(axis, sizes[i]!)))
  const dims = common.with(
    axis,
    sizes.reduce<number>((n, size) => n + size!, 0),
  )
  if (countOf(dims) > limit) return undefined
  const outer = countOf(dims.slice(0, axis))
  const inner = countOf(dims.slice(axis + 1))
  const fields: Partial<Record<FieldName, Float64Array>> = {}
  for (const name of fieldNames) {
    const joined = new Float64Array(countOf(dims))
    let at = 0
    for (let o = 0; o < outer; o++)
      grown.forEach((part, p) => {
        const length = sizes[p]! * inner
        joined.set(part[name].subarray(o * length, (o + 1) * length), at)
        at += length
      })
    fields[name] = joined
  }
  return spreadOf(dims, fields, undefined, outer === 1 ? blocks(grown) : undefined)
}

/** Covariances of values side by side: their noises are taken as independent. */
function blocks(parts: readonly Spread[]): Float64Array | undefined {
  const n = parts.reduce((sum, part) => sum + part.mean.length, 0)
  if (n > maxMatrix || !parts.some(({ covariance }) => covariance)) return undefined
  const result = new Float64Array(n * n)
  let start = 0
  for (const { covariance, noise } of parts) {
    const m = noise.length
    for (let i = 0; i < m; i++)
      for (let j = 0; j < m; j++)
        result[(start + i) * n + start + j] = covariance ? covariance[i * m + j]! : i === j ? noise[i]! : 0
    start += m
  }
  return result
}

/**
 * Largest of `count` neighbouring elements. Neighbours are functions of normal variables that share a part of their
 * variance, as much as `neighbourCorrelation` says and noise leaves: sqrt(r) c + sqrt(1 - r) e, with an e for each. The
 * largest of increasing functions of those is the function of the largest.
 */
export function maximum(spread: Spread, count: number, assume?: Assume): Spread | undefined {
  const known = estimated(spread, assume)
  if (!known) return isQuiet(spread) ? quiet(spread.dims.length) : undefined
  const source = distributionOf(known)
  const { base } = source
  const correlation = (mode: Mode, i: number) => {
    const inTrain = neighbourCorrelation * (1 - base.noiseShare[i]!)
    return mode === 'train'
      ? inTrain
      : Math.min(1, (inTrain * base.gain[i]! ** 2) / base.deviationRatio[i]! ** 2)
  }
  const distribution: Distribution = {
    ...source,
    source: {},
    points: (mode) => largest(source.points(mode), count, (i) => correlation(mode, i)),
  }
  return describedBy(distribution, known)
}

/** Correlations are told apart to this many steps. */
const correlationSteps = 20

function largest(
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

/** The standard normal distribution function (Abramowitz and Stegun 7.1.26, error below 1e-7). */
function normalBelow(z: number): number {
  const x = Math.abs(z) / Math.SQRT2
  const t = 1 / (1 + 0.3275911 * x)
  const series =
    t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
  const tail = (series * Math.exp(-x * x)) / 2
  return z > 0 ? 1 - tail : tail
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

/** Sums over positions of every entry, whose weights add up to `first` and their squares to `second`. */
export function perEntry(
  spread: Spread,
  first: number,
  second: number,
  assume?: Assume,
): Spread | undefined {
  const row = (k: number) => ({ offset: k, length: 1, first: [first], second: [second] })
  const sum = contracted(spread, spread.dims, row, assume ? { assume } : {})
  return sum && { ...sum, covariance: spread.covariance?.map((v) => v * second) }
}
