import { GraphBuilder } from '../ir/builder.ts'
import { normal, uniform } from '../ir/random.ts'
import { Tensor } from '../ir/tensor.ts'
import { parseModel } from '../ir/text.ts'
import { noiseUnit } from '../ops/noises/index.ts'
import type { Budget } from '../result/study.ts'
import { createSession } from '../runtime/session.ts'
import { classifier, familiesFor, outcomesOf, recipeFor, seedsFor } from './classifier.ts'
import { type CellContext, defineStudy } from './define-study.ts'
import { meanOf, meanText } from './statistics.ts'

/** Ways to drop; `sqrt-scaled` is Dropout times sqrt(keep), which keeps the standard deviation where the mean is 0. */
const kinds = ['dropout', 'sqrt-scaled', 'moment-preserving'] as const
type Kind = (typeof kinds)[number]

/** Inputs of mean 0 and 1, skewed, and with heavy tails (Student's t with 5 degrees of freedom), all of variance 1. */
const inputs = ['zero-mean', 'shifted', 'skewed', 'heavy-tailed'] as const
type Input = (typeof inputs)[number]

type Cell = {
  readonly what: 'moments' | 'training'
  readonly kind: Kind
  /** Of `moments`. */
  readonly input: Input | null
  readonly ratio: number
  readonly budget: Budget
  readonly seed: number
}

type Found = {
  /** `moments`: mean and standard deviation behind over in front. */
  readonly mean?: number
  readonly meanBefore?: number
  readonly deviationRatio?: number
  /** `training`. */
  readonly errorPercent?: number
  readonly recalibratedErrorPercent?: number
  readonly largestRatio?: number
}

function draw(input: Input, count: number, seed: number): Float64Array {
  const z = normal(count, 0, 1, seed)
  switch (input) {
    case 'zero-mean':
      return z
    case 'shifted':
      return z.map((v) => v + 1)
    case 'skewed':
      return uniform(count, 0, 1, seed).map((u) => -Math.log(1 - u))
    case 'heavy-tailed': {
      const degrees = 5
      const squares = new Float64Array(count)
      for (let i = 0; i < degrees; i++)
        normal(count, 0, 1, seed * 10 + i + 1).forEach((v, j) => {
          squares[j]! += v * v
        })
      const scale = Math.sqrt((degrees - 2) / degrees)
      return z.map((v, i) => (scale * v) / Math.sqrt(squares[i]! / degrees))
    }
  }
}

async function moments({ kind, input, ratio, seed }: Cell, { threads }: CellContext): Promise<Found> {
  const dims = [4000, 4, 25]
  const count = dims.reduce((n, d) => n * d, 1)
  const base = parseModel(`noise (float32[${dims.join(', ')}] x) => (y) { }`)
  const build = new GraphBuilder(base)
  const unit = noiseUnit(kind === 'moment-preserving' ? kind : 'dropout')
  const noisy = unit.emit(build, 'x', { value: ratio, seed })
  const y = kind === 'sqrt-scaled' ? build.mul(noisy, build.scalar(Math.sqrt(1 - ratio))) : noisy
  const graph = {
    ...base.graph,
    nodes: build.nodes,
    initializers: build.initializers,
    outputs: [{ name: y, type: undefined }],
  }
  const session = await createSession({ ...base, graph }, { threads })
  const x = draw(input!, count, seed)
  const out = (await session.run(new Map([['x', Tensor.float32(dims, x)]]))).get(y)!.toNumbers()
  await session.release()
  const look = (values: Float64Array) => {
    const mean = values.reduce((a, b) => a + b, 0) / count
    return { mean, deviation: Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / count) }
  }
  const [before, after] = [look(x), look(out)]
  return {
    mean: after.mean,
    meanBefore: before.mean,
    deviationRatio: after.deviation / before.deviation,
  }
}

async function training({ kind, ratio, budget, seed }: Cell, context: CellContext): Promise<Found> {
  const cell = {
    ...recipeFor(budget, seed),
    network: familiesFor(budget).PreResNet,
    noise: kind,
    value: ratio,
    placement: 'before-norm',
  }
  const { errorPercent, recalibratedErrorPercent, largestRatio } = await classifier.run(cell, context)
  return { errorPercent, recalibratedErrorPercent, largestRatio }
}

/**
 * How to restore mean and standard deviation behind Dropout for inputs that are not zero-mean or not normal, and what
 * it does to training with BN.
 */
export const dropoutMoments = defineStudy<Cell, Found>({
  id: 'dropout-moments',
  claim:
    'Scaling Dropout by sqrt(keep) keeps the standard deviation of zero-mean inputs only; moment-preserving dropout keeps mean and deviation of any.',
  source: 'docs/theory.md, "Direct" and open question 2',
  method:
    'Moments: 400,000 numbers in 4 channels through each kind, run by ONNX Runtime. Training: PreResNet with the noise directly before the last norm of every block, ratio 0.5.',
  needsData: true,
  minutes: { smoke: 1, small: 15, paper: 3000 },
  grid: (budget: Budget) => [
    ...inputs.flatMap((input) =>
      kinds.flatMap((kind) =>
        [0.3, 0.5].map((ratio) => ({ what: 'moments' as const, kind, input, ratio, budget, seed: 1 })),
      ),
    ),
    ...(['dropout', 'moment-preserving'] as const).flatMap((kind) =>
      seedsFor(budget, 3).map((seed) => ({
        what: 'training' as const,
        kind,
        input: null,
        ratio: 0.5,
        budget,
        seed,
      })),
    ),
  ],
  experiment: {
    id: 'dropout-moments',
    version: 1,
    run: (cell, context) => (cell.what === 'moments' ? moments(cell, context) : training(cell, context)),
  },
  summarise(cells) {
    const rows = inputs.flatMap((input) =>
      kinds.flatMap((kind) =>
        [0.3, 0.5].flatMap((ratio) => {
          const [found] = outcomesOf(cells, { what: 'moments', input, kind, ratio })
          return found ? [{ input, kind, ratio, ...found }] : []
        }),
      ),
    )
    const trained = (['dropout', 'moment-preserving'] as const).flatMap((kind) => {
      const found = outcomesOf(cells, { what: 'training', kind })
      return found.length === 0 ? [] : [{ kind, found }]
    })
    const worst = (kind: Kind) => {
      const own = rows.filter((row) => row.kind === kind)
      return own.length === 0
        ? undefined
        : {
            deviation: Math.max(...own.map((row) => Math.abs(row.deviationRatio! - 1))),
            mean: Math.max(...own.map((row) => Math.abs(row.mean! - row.meanBefore!))),
          }
    }
    return {
      tables: [
        {
          title: 'Moments behind the noise',
          columns: ['input', 'noise', 'ratio', 'mean before', 'mean behind', 'deviation behind over before'],
          rows: rows.map((row) => [
            row.input,
            row.kind,
            row.ratio,
            row.meanBefore!,
            row.mean!,
            row.deviationRatio!,
          ]),
          note: 'Inputs have variance 1.',
        },
        {
          title: 'Training with the noise before norms',
          columns: ['noise', 'error as trained %', 'error re-estimated %', 'largest shift ratio', 'seeds'],
          rows: trained.map(({ kind, found }) => [
            kind,
            meanText(found.map((o) => o.errorPercent!)),
            meanText(found.map((o) => o.recalibratedErrorPercent!)),
            meanText(found.map((o) => o.largestRatio!)),
            found.length,
          ]),
        },
      ],
      figures: [],
      conclusions: [
        ...kinds.flatMap((kind) => {
          const found = worst(kind)
          return found
            ? [
                `${kind}: over all inputs the deviation is off by at most ${(100 * found.deviation).toFixed(1)} %, the mean by at most ${found.mean.toFixed(3)}.`,
              ]
            : []
        }),
        ...trained.map(
          ({ kind, found }) =>
            `Trained with ${kind}: error ${meanOf(found.map((o) => o.errorPercent!)).toFixed(1)} % as trained, ${meanOf(found.map((o) => o.recalibratedErrorPercent!)).toFixed(1)} % re-estimated; largest shift ratio ${meanOf(found.map((o) => o.largestRatio!)).toFixed(2)}.`,
        ),
      ],
    }
  },
})
