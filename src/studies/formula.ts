import { GraphBuilder } from '../ir/builder.ts'
import { normal, uniform } from '../ir/random.ts'
import { Tensor } from '../ir/tensor.ts'
import { parseModel } from '../ir/text.ts'
import { sharedAxesOf } from '../ops/define-noise.ts'
import { noiseUnit } from '../ops/noises/index.ts'
import type { Budget } from '../result/study.ts'
import { createSession } from '../runtime/session.ts'
import { type CellContext, defineStudy } from './define-study.ts'

/** Kinds of noise with the parameter at which each is tried. */
const kinds = {
  dropout: 0.5,
  gaussian: 0.5,
  uout: 0.5,
  'spatial-dropout': 0.5,
  'drop-path': 0.5,
} as const

type Kind = keyof typeof kinds

type Case = {
  readonly kind: Kind
  readonly value: number
  /** Channels and positions of a sample: d = channels x positions numbers are summed. */
  readonly channels: number
  readonly positions: number
  /** Mean and variance of every input, correlation of any two. */
  readonly mean: number
  readonly variance: number
  readonly correlation: number
  readonly samples: number
  readonly seed: number
}

type Found = {
  readonly evalVariance: number
  readonly trainVariance: number
  readonly predictedEval: number
  readonly predictedTrain: number
  /** Standard errors of the two simulated variances. */
  readonly evalError: number
  readonly trainError: number
  readonly dCos2: number
}

const samplesOf = { smoke: 20_000, small: 400_000, paper: 4_000_000 } as const

/** Samples that go through ONNX Runtime at once. */
const chunk = 10_000

function grid(budget: Budget): Case[] {
  const cases: Case[] = []
  const add = (kind: Kind, value: number, rest: Omit<Case, 'kind' | 'value' | 'samples' | 'seed'>) =>
    cases.push({ kind, value, ...rest, samples: samplesOf[budget], seed: cases.length + 1 })
  const standard = { channels: 16, positions: 4, mean: 1, variance: 2, correlation: 0.25 }
  for (const [kind, value] of Object.entries(kinds) as [Kind, number][]) {
    add(kind, value, standard)
    add(kind, value, { ...standard, mean: 0, correlation: 0 })
    add(kind, value, { ...standard, channels: 1, positions: 1 })
  }
  for (const mean of [0, 1, 3]) for (const keep of [0.3, 0.9]) add('dropout', 1 - keep, { ...standard, mean })
  for (const correlation of [0.5, 0.9]) add('dropout', 0.5, { ...standard, correlation })
  for (const channels of [1, 4, 64]) add('dropout', 0.5, { ...standard, channels })
  return cases
}

/** Weights of the sum: alike enough that their mean counts, as in a trained layer with large d cos^2. */
const weightsOf = ({ channels, positions, seed }: Case): Float64Array =>
  channels * positions === 1 ? Float64Array.of(1) : uniform(channels * positions, -0.5, 1.5, 1000 + seed)

/**
 * The closed forms (docs/theory.md, "Direct" and "Linear"): for Y = sum w m x with inputs of mean c, variance v and
 * common correlation rho,
 *
 *   Var_eval  = v ((1 - rho) sum w^2 + rho (sum w)^2)
 *   Var_train = Var_eval + s2 E[sum over draws of (sum over what shares the draw of w x)^2]
 */
function predicted(at: Case): { evalVariance: number; trainVariance: number } {
  const { kind, value, channels, positions, mean: c, variance: v, correlation } = at
  const w = weightsOf(at)
  const unit = noiseUnit(kind)
  const square = (from: number, to: number) => {
    let [sum, squares] = [0, 0]
    for (let i = from; i < to; i++) {
      sum += w[i]!
      squares += w[i]! ** 2
    }
    const variance = v * ((1 - correlation) * squares + correlation * sum ** 2)
    return { variance, second: variance + (c * sum) ** 2 }
  }
  const all = channels * positions
  const { variance: evalVariance, second } = square(0, all)
  const share = { element: 1, channel: positions, sample: all, batch: all }[unit.sharing]
  let noise = unit.sharing === 'sample' ? second : 0
  if (unit.sharing !== 'sample')
    for (let from = 0; from < all; from += share) noise += square(from, from + share).second
  return { evalVariance, trainVariance: evalVariance + unit.relativeVariance(value) * noise }
}

/** Noise as the tool itself emits it, on an input of N x C x P. */
async function noiseSession({ kind, value, channels, positions, seed }: Case, threads: number) {
  const base = parseModel(`noise (float32[N, ${channels}, ${positions}] x) => (y) { }`)
  const build = new GraphBuilder(base)
  const unit = noiseUnit(kind)
  const y = unit.emit(build, 'x', { value, seed, sharedAxes: sharedAxesOf(unit.sharing, 3) })
  const outputs = [{ name: y, type: undefined }]
  const graph = { ...base.graph, nodes: build.nodes, initializers: build.initializers, outputs }
  const session = await createSession({ ...base, graph }, { threads })
  return { session, output: y }
}

async function run(at: Case, { threads, signal }: CellContext): Promise<Found> {
  const { channels, positions, mean, variance, correlation, samples, seed } = at
  const d = channels * positions
  const w = weightsOf(at)
  const { session, output } = await noiseSession(at, threads)
  const own = Math.sqrt(variance * (1 - correlation))
  const shared = Math.sqrt(variance * correlation)
  const sums = { eval: new Float64Array(samples), train: new Float64Array(samples) }
  for (let from = 0; from < samples; from += chunk) {
    signal.throwIfAborted()
    const size = Math.min(chunk, samples - from)
    const z = normal(size * (d + 1), 0, 1, seed * 100_000 + from / chunk)
    const x = new Float32Array(size * d)
    for (let n = 0; n < size; n++)
      for (let i = 0; i < d; i++)
        x[n * d + i] = mean + shared * z[n * (d + 1) + d]! + own * z[n * (d + 1) + i]!
    const fed = new Map([['x', Tensor.float32([size, channels, positions], x)]])
    const noisy = (await session.run(fed)).get(output)!.toNumbers()
    for (let n = 0; n < size; n++)
      for (let i = 0; i < d; i++) {
        sums.eval[from + n]! += w[i]! * x[n * d + i]!
        sums.train[from + n]! += w[i]! * noisy[n * d + i]!
      }
  }
  await session.release()
  const seen = { eval: varianceOf(sums.eval), train: varianceOf(sums.train) }
  const expected = predicted(at)
  const sum = w.reduce((a, b) => a + b, 0)
  return {
    evalVariance: seen.eval.variance,
    trainVariance: seen.train.variance,
    predictedEval: expected.evalVariance,
    predictedTrain: expected.trainVariance,
    evalError: seen.eval.error,
    trainError: seen.train.error,
    dCos2: sum ** 2 / w.reduce((a, b) => a + b * b, 0),
  }
}

/** Variance with its standard error, from the fourth moment. */
function varianceOf(values: Float64Array): { variance: number; error: number } {
  const n = values.length
  const mean = values.reduce((a, b) => a + b, 0) / n
  let [second, fourth] = [0, 0]
  for (const value of values) {
    second += (value - mean) ** 2 / n
    fourth += (value - mean) ** 4 / n
  }
  return { variance: second, error: Math.sqrt((fourth - second ** 2) / n) }
}

/**
 * Holds each closed form of the theory against simulation: what noise in front of a sum does to its variance.
 * Source: Li et al., arXiv:1801.05134, equations 5 to 13, and docs/theory.md.
 */
export const formula = defineStudy<Case, Found>({
  id: 'formula',
  claim: 'The closed forms predict the variance in train and in eval mode for every kind of noise.',
  source: 'Li et al., arXiv:1801.05134, section 4; docs/theory.md',
  method:
    'Correlated normal inputs, noise drawn by the nodes that varshift itself emits, run by ONNX Runtime; the variance of a weighted sum against the closed form.',
  needsData: false,
  minutes: { smoke: 0.2, small: 2, paper: 20 },
  grid,
  experiment: { id: 'formula', version: 1, run },
  summarise(cells) {
    const done = cells.flatMap(({ parameters, outcome }) => (outcome ? [{ ...parameters, ...outcome }] : []))
    const off = (simulated: number, expected: number, error: number) => ({
      percent: 100 * (simulated / expected - 1),
      errors: (simulated - expected) / error,
    })
    const rows = done.map((cell) => ({
      cell,
      evalOff: off(cell.evalVariance, cell.predictedEval, cell.evalError),
      trainOff: off(cell.trainVariance, cell.predictedTrain, cell.trainError),
    }))
    const all = rows.flatMap(({ evalOff, trainOff }) => [evalOff, trainOff])
    const largest = (of: 'percent' | 'errors') => Math.max(0, ...all.map((x) => Math.abs(x[of])))
    const beyond = all.filter(({ errors }) => Math.abs(errors) > 4).length
    return {
      tables: [
        {
          title: 'Simulated against predicted variance',
          columns: [
            'noise',
            'parameter',
            'channels x positions',
            'mean',
            'correlation',
            'd cos²',
            'eval simulated',
            'eval predicted',
            'train simulated',
            'train predicted',
            'shift ratio predicted',
            'largest deviation %',
            'in standard errors',
          ],
          rows: rows.map(({ cell, evalOff, trainOff }) => [
            cell.kind,
            cell.value,
            `${cell.channels} x ${cell.positions}`,
            cell.mean,
            cell.correlation,
            cell.dCos2,
            cell.evalVariance,
            cell.predictedEval,
            cell.trainVariance,
            cell.predictedTrain,
            cell.predictedEval / cell.predictedTrain,
            Math.max(Math.abs(evalOff.percent), Math.abs(trainOff.percent)),
            Math.max(Math.abs(evalOff.errors), Math.abs(trainOff.errors)),
          ]),
        },
      ],
      figures: [],
      conclusions:
        all.length === 0
          ? []
          : [
              `Largest deviation over ${all.length} variances: ${largest('percent').toFixed(2)} %, ${largest('errors').toFixed(1)} standard errors of the simulation.`,
              beyond === 0
                ? 'Every closed form holds within four standard errors.'
                : `${beyond} of ${all.length} variances lie more than four standard errors from their closed form: it does not hold there.`,
            ],
    }
  },
})
