import {
  type Assume,
  broadcastIndex,
  countOf,
  estimated,
  expanded,
  type FieldName,
  type Fields,
  fieldNames,
  isClosed,
  isQuiet,
  maxEntries,
  maxMatrix,
  mergedDims,
  neighbourCorrelation,
  quiet,
  type Spread,
  type Stored,
  spreadOf,
  typicalGrowth,
  varianceOr,
} from './spread.ts'

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

export function average(values: Float64Array, offset: number, length: number): number {
  let sum = 0
  for (let i = offset; i < offset + length; i++) sum += values[i]!
  return length > 0 ? sum / length : 0
}

/** Sums over positions of every entry, whose weights add up to `first` and their squares to `second`. */
export function perEntry(spread: Spread, first: number, second: number, assume?: Assume): Spread | undefined {
  const row = (k: number) => ({ offset: k, length: 1, first: [first], second: [second] })
  const sum = contracted(spread, spread.dims, row, assume ? { assume } : {})
  return sum && { ...sum, covariance: spread.covariance?.map((v) => v * second) }
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

/** Several values side by side along `axis`; undefined if templates do not fit or become too fine. */
export function concatenated(
  parts: readonly Spread[],
  axis: number,
  sizes: readonly (number | undefined)[],
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
  if (dims.reduce((n, d) => n * d, 1) > maxEntries) return undefined
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
