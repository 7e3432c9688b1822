import { mixed, type Outcome } from './points.ts'
import { distributionOf, isClosed, type Spread, spreadOf } from './spread.ts'

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
