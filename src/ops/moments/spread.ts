import { type Mode, type Points, pointCount, standardPoints } from './points.ts'

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

export const fieldNames = [
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

export type FieldName = (typeof fieldNames)[number]

export interface Fields {
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

/** Spreads are never refined beyond this many entries: what a picture has at full resolution is not worth the memory. */
export const maxEntries = 1 << 18

/** Number of entries of a template. Throws a RangeError if that is more than anybody follows. */
export function countOf(dims: readonly number[]): number {
  const count = dims.reduce((n, d) => n * d, 1)
  if (!(count <= maxEntries)) throw new RangeError(`${count} entries are too many to follow`)
  return count
}

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
    // Of a variance that was too large both modes have too much, in the same proportion.
    if (rest < 0 && !Number.isNaN(spread.trainVariance[i]!))
      return (spread.evalVariance[i]! * v) / spread.trainVariance[i]!
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
export const typicalGrowth = 2

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

/** The common refinement of two templates of the same rank; undefined if they do not fit or it would be too fine. */
export function mergedDims(a: readonly number[], b: readonly number[]): number[] | undefined {
  const rank = Math.max(a.length, b.length)
  const merged: number[] = []
  for (let axis = 0; axis < rank; axis++) {
    const da = a[axis - rank + a.length] ?? 1
    const db = b[axis - rank + b.length] ?? 1
    if (da !== db && da !== 1 && db !== 1) return undefined
    merged.push(Math.max(da, db))
  }
  return merged.reduce((n, d) => n * d, 1) <= maxEntries ? merged : undefined
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
export const maxMatrix = 512

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

export function scaledMatrix(matrix: Float64Array, scale: Float64Array): Float64Array {
  const n = scale.length
  return matrix.map((v, k) => v * scale[Math.floor(k / n)]! * scale[k % n]!)
}

/**
 * How much of a channel's variance, noise apart, its neighbouring positions share. Feature maps are smooth but not
 * constant; between the two limits (0: every position for itself, 1: all alike) predictions differ by some percent.
 */
export const neighbourCorrelation = 0.5

/** The normal distribution with the means and variances of the spread. */
function normalPoints(spread: Spread, mode: Mode): Points {
  const { nodes, weights } = standardPoints
  const count = spread.mean.length
  const values = new Float64Array(count * pointCount)
  const variance = mode === 'train' ? spread.trainVariance : spread.evalVariance
  for (let i = 0; i < count; i++) {
    const mean = spread.mean[i]! + (mode === 'eval' ? spread.meanShift[i]! : 0)
    const deviation = Math.sqrt(Math.max(0, variance[i]!))
    const start = i * pointCount
    for (let k = 0; k < pointCount; k++) values[start + k] = mean + deviation * nodes[k]!
  }
  return { nodes, weights, values }
}

export const distributionOf = (spread: Spread): Distribution =>
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

export function mapped(distribution: Distribution, f: (x: number, entry: number) => number): Distribution {
  return {
    ...distribution,
    points: (mode) => {
      const points = distribution.points(mode)
      const size = points.weights.length
      const values = new Float64Array(points.values.length)
      for (let entry = 0, k = 0; k < values.length; entry++)
        for (const end = k + size; k < end; k++) values[k] = f(points.values[k]!, entry)
      return { ...points, values }
    },
  }
}
