import {
  covarianceAt,
  hermiteOrder,
  largest,
  type Mode,
  momentsOfPoints,
  type PointMoments,
} from './points.ts'
import {
  type Assume,
  type Distribution,
  distributionOf,
  estimated,
  expanded,
  isClosed,
  isQuiet,
  mapped,
  mergedDims,
  neighbourCorrelation,
  quiet,
  type Spread,
  scaledMatrix,
  spreadOf,
} from './spread.ts'

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
  const width = hermiteOrder + 1
  // The slope of a normal variable against the standard one behind it is its deviation.
  const known = before.distribution && momentsOfPoints(before.distribution.points('train')).coefficients
  const slope = noise.map((_, i) => {
    const earlier = known ? known[i * width + 1]! : Math.sqrt(before.trainVariance[i]!)
    return earlier ? after.coefficients[i * width + 1]! / earlier : 0
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
