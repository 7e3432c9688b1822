import { describe, expect, test } from 'vitest'
import { uniform } from '../../ir/random.ts'
import { noiseUnit } from '../noises/index.ts'
import { applied, combined, maximum } from './functions.ts'
import { perturbed } from './perturb.ts'
import { affine, closedBy, isQuiet, quiet, type Spread, steady } from './spread.ts'
import { added, contracted, perEntry } from './sums.ts'

/** Standard normal numbers that depend on the seed alone (Box-Muller). */
function normal(count: number, seed: number): Float64Array {
  const u = uniform(count, 0, 1, 2 * seed)
  const v = uniform(count, 0, 1, 2 * seed + 1)
  return u.map((p, i) => Math.sqrt(-2 * Math.log(1 - p)) * Math.cos(2 * Math.PI * v[i]!))
}

function momentsOf(values: ArrayLike<number>) {
  let mean = 0
  for (let i = 0; i < values.length; i++) mean += values[i]! / values.length
  let variance = 0
  for (let i = 0; i < values.length; i++) variance += (values[i]! - mean) ** 2 / values.length
  return { mean, variance }
}

const count = 200_000
const normalSpread = (mean: number, variance: number): Spread =>
  steady({ dims: [1, 1], mean: Float64Array.of(mean), variance: Float64Array.of(variance) })

const dropped = (values: Float64Array, ratio: number, seed: number) => {
  const draws = uniform(values.length, 0, 1, seed)
  return values.map((x, i) => (draws[i]! < ratio ? 0 : x / (1 - ratio)))
}

const near = (predicted: number | undefined, simulated: number, tolerance = 0.02) =>
  expect(Math.abs(predicted! / simulated - 1)).toBeLessThan(tolerance)

describe('against simulation', () => {
  const z = normal(count, 1)
  const x = z.map((v) => 0.4 + 1.3 * v)
  const spread = normalSpread(0.4, 1.69)
  const relu = (v: number) => Math.max(0, v)

  for (const [id, value] of [
    ['dropout', 0.4],
    ['gaussian', 0.5],
    ['uout', 0.6],
    ['alpha-dropout', 0.3],
    ['additive-gaussian', 0.7],
  ] as const)
    test(`${id}: mean and variance behind the noise, and behind an activation after it`, () => {
      const outcomes = noiseUnit(id).outcomes(value)
      const draws = uniform(count, 0, 1, 77)
      const noise = (v: number, i: number) => {
        let below = 0
        const outcome =
          outcomes.find(({ weight }) => {
            below += weight
            return draws[i]! < below
          }) ?? outcomes.at(-1)!
        return outcome.scale * v + outcome.shift
      }
      const noisy = perturbed(spread, outcomes, 'element')!
      const simulated = momentsOf(x.map(noise))
      near(noisy.mean[0], simulated.mean)
      near(noisy.trainVariance[0], simulated.variance)
      expect(noisy.evalVariance[0]).toBeCloseTo(1.69, 12)
      expect(noisy.mean[0]! + noisy.meanShift[0]!).toBeCloseTo(0.4, 12)
      const behind = applied(noisy, relu)!
      const simulatedBehind = momentsOf(x.map(noise).map(relu))
      near(behind.mean[0], simulatedBehind.mean)
      near(behind.trainVariance[0], simulatedBehind.variance)
      near(behind.evalVariance[0], momentsOf(x.map(relu)).variance)
    })

  test('theory: a Relu of a normal variable', () => {
    const [beta, gamma] = [0.4, 1.3]
    const t = beta / gamma
    const phi = Math.exp((-t * t) / 2) / Math.sqrt(2 * Math.PI)
    // The standard normal distribution at t.
    const Phi = 0.6208445
    const first = beta * Phi + gamma * phi
    const second = (beta * beta + gamma * gamma) * Phi + beta * gamma * phi
    const behind = applied(spread, relu)!
    near(behind.mean[0], first, 1e-3)
    near(behind.trainVariance[0], second - first * first, 1e-3)
  })

  test('smooth functions are exact', () => {
    const behind = applied(normalSpread(0, 1), Math.exp)!
    near(behind.mean[0], Math.exp(0.5), 1e-6)
    near(behind.trainVariance[0], Math.E * (Math.E - 1), 1e-4)
  })

  test('x times a function of x is seen as one function', () => {
    const sigmoid = (v: number) => 1 / (1 + Math.exp(-v))
    const gate = applied(spread, sigmoid)!
    const joint = combined(spread, gate, (a, b) => a * b)!
    const simulated = momentsOf(x.map((v) => v * sigmoid(v)))
    near(joint.mean[0], simulated.mean)
    near(joint.trainVariance[0], simulated.variance)
  })

  test('noise on correlated inputs of a dense layer (theory: direct sum of squares)', () => {
    const inputs = 12
    const weights = uniform(inputs, -0.5, 1, 3)
    const common = normal(count, 50)
    const values = Array.from({ length: inputs }, (_, i) =>
      normal(count, 100 + i).map((v, k) => 0.3 + 0.6 * common[k]! + 0.8 * v),
    )
    const sum = (columns: readonly Float64Array[]) =>
      common.map((_, k) => columns.reduce((s, column, i) => s + weights[i]! * column[k]!, 0))
    const clean = momentsOf(sum(values))
    const noisy = momentsOf(sum(values.map((column, i) => dropped(column, 0.5, 300 + i))))
    const spreads = steady({
      dims: [1, inputs],
      mean: new Float64Array(inputs).fill(0.3),
      variance: new Float64Array(inputs).fill(1),
    })
    const open = contracted(
      perturbed(spreads, noiseUnit('dropout').outcomes(0.5), 'element')!,
      [1, 1],
      () => ({
        offset: 0,
        length: inputs,
        first: weights,
        second: weights.map((w) => w * w),
      }),
    )!
    near(open.mean[0], noisy.mean, 0.03)
    const closed = closedBy(open, {
      dims: [1, 1],
      mean: Float64Array.of(noisy.mean),
      variance: Float64Array.of(noisy.variance),
    })
    near(closed.evalVariance[0], clean.variance, 0.03)
  })

  test('noise that two layers pass on together', () => {
    // Four inputs, each with noise of its own; eight sums of them; one sum of those. What the eight share counts.
    const first = Array.from({ length: 8 }, (_, k) => uniform(4, -1, 1, 20 + k))
    const second = uniform(8, -1, 1, 40)
    const total = Array.from({ length: 4 }, (_, c) =>
      first.reduce((s, row, k) => s + second[k]! * row[c]!, 0),
    )
    const noise = total.reduce((s, w) => s + w * w, 0)
    const spreads = perturbed(
      steady({ dims: [1, 4], mean: new Float64Array(4), variance: new Float64Array(4).fill(1) }),
      noiseUnit('dropout').outcomes(0.5),
      'element',
    )!
    const squares = (row: Float64Array) => row.map((w) => w * w)
    const budget = { left: 1e6 }
    const middle = contracted(
      spreads,
      [1, 8],
      (k) => ({ offset: 0, length: 4, first: first[k]!, second: squares(first[k]!) }),
      { taps: { budget, shares: [1], at: (k, c) => first[k]![c]! } },
    )!
    const last = contracted(
      middle,
      [1, 1],
      () => ({ offset: 0, length: 8, first: second, second: squares(second) }),
      { taps: { budget, shares: [1], at: (_, c) => second[c]! } },
    )!
    expect(last.noise[0]).toBeCloseTo(noise, 9)
  })

  test('largest of neighbours that share half of their variance', () => {
    const common = normal(count, 60)
    const neighbours = Array.from({ length: 4 }, (_, i) =>
      normal(count, 200 + i).map((v, k) => Math.SQRT1_2 * (v + common[k]!)),
    )
    const largest = common.map((_, k) => Math.max(...neighbours.map((n) => 0.2 + 1.1 * n[k]!)))
    const simulated = momentsOf(largest.map((v) => Math.max(0, v)))
    const behind = maximum(applied(normalSpread(0.2, 1.21), relu)!, 4)!
    near(behind.mean[0], simulated.mean)
    near(behind.trainVariance[0], simulated.variance)
  })

  test('average pooling shrinks noise with the window', () => {
    const noisy = perturbed(normalSpread(1, 0.5), noiseUnit('dropout').outcomes(0.5), 'element')!
    const pooled = perEntry(noisy, 1, 1 / 4)!
    expect(pooled.trainDiagonal[0]! - pooled.evalDiagonal[0]!).toBeCloseTo(1.5 / 4, 12)
  })

  test('one draw a sample on a branch (DropPath): the second moment of the branch', () => {
    const trunk = normal(count, 70)
    const branch = normal(count, 71).map((v) => 0.5 + 0.8 * v)
    const draws = uniform(count, 0, 1, 72)
    const outcomes = noiseUnit('drop-path').outcomes(0.2)
    const noisy = momentsOf(trunk.map((t, i) => t + (draws[i]! < 0.2 ? 0 : branch[i]! / 0.8)))
    const clean = momentsOf(trunk.map((t, i) => t + branch[i]!))
    const stored = {
      dims: [1, 1],
      mean: Float64Array.of(noisy.mean),
      variance: Float64Array.of(noisy.variance),
    }
    const known = closedBy(
      added(normalSpread(0, 1), perturbed(normalSpread(0.5, 0.64), outcomes, 'sample')!, stored)!,
      stored,
    )
    near(known.evalVariance[0], clean.variance)
    // The branch may as well be known only by its mean.
    const open = { ...quiet(2), mean: Float64Array.of(0.5) }
    const unknown = closedBy(added(normalSpread(0, 1), perturbed(open, outcomes, 'sample')!, stored)!, stored)
    near(unknown.evalVariance[0], clean.variance)
  })
})

test('what noise does not reach stays as it is', () => {
  const still = affine(normalSpread(1, 2), Float64Array.of(3), Float64Array.of(1))
  expect(isQuiet(still)).toBe(true)
  expect(still.mean[0]).toBe(4)
  expect(still.trainVariance[0]).toBe(18)
  expect(applied(quiet(2), Math.tanh)).toEqual(quiet(2))
})

test('a variance that no norm tells is estimated, and said to be', () => {
  const heard: string[] = []
  const dense = contracted(normalSpread(1, 2), [1, 1], () => ({
    offset: 0,
    length: 1,
    first: [3],
    second: [9],
  }))!
  const noisy = perturbed(dense, noiseUnit('dropout').outcomes(0.5), 'element')!
  const behind = contracted(noisy, [1, 1], () => ({ offset: 0, length: 1, first: [1], second: [1] }), {
    assume: (text) => heard.push(text),
  })!
  // Twice what the input adds up to, plus the square of the mean.
  expect(behind.noise[0]).toBeCloseTo(2 * 18 + 9, 9)
  expect(heard).toHaveLength(1)
})

test('an activation of a noisy value of which nothing is known has no moments', () => {
  const noisy = perturbed(quiet(2), noiseUnit('dropout').outcomes(0.5), 'element')!
  expect(applied(noisy, Math.tanh)).toBeUndefined()
})
