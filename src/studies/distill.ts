import { distilledRepair } from '../commands/fix-distilled.ts'
import { applyEdits } from '../ir/edit.ts'
import {
  batchNorm,
  conv,
  dropout,
  flatten,
  globalAveragePool,
  linear,
  maxPool,
  network,
  relu,
  reshape,
  sequential,
} from '../models/index.ts'
import type { Budget } from '../result/study.ts'
import {
  type Build,
  familiesFor,
  namedBuilder,
  noFiles,
  type Recipe,
  recalibratedOn,
  recipeFor,
  scoresOf,
  seedsFor,
  trainClassifier,
} from './classifier.ts'
import { defineStudy } from './define-study.ts'
import { meanOf } from './statistics.ts'

type Cell = Recipe & {
  readonly name: string
  /** A name of models, or `keras-style`, `dense` or `conv-1d`. */
  readonly network: string
  readonly placement: string
  readonly ratio: number
}

type Found = {
  readonly trained: { readonly errorPercent: number; readonly loss: number }
  readonly real: { readonly errorPercent: number; readonly loss: number }
  /** What the repair would give, also where it was refused. */
  readonly distilled: { readonly errorPercent: number; readonly loss: number } | null
  readonly outcome: string
  readonly reason: string
  readonly losses: readonly number[]
  readonly testImages: number
}

/** conv-ReLU-BN-pool-dropout as Keras' examples have it, and a dense head with Dropout in front of its norm. */
const kerasStyle =
  (ratio: number): Build =>
  (options) =>
    network(
      sequential([
        ...[16, 32, 48].flatMap((width) => [
          conv(width, 3, { padding: 1 }),
          relu,
          batchNorm(),
          maxPool(2),
          dropout(ratio),
        ]),
        flatten,
        linear(64),
        relu,
        dropout(ratio),
        batchNorm(),
        linear(options.classes),
      ]),
      options,
    )

/** linear-ReLU-dropout-BN, three layers, on raw pixels: what cannot be matched from noise. */
const dense =
  (ratio: number): Build =>
  (options) =>
    network(
      sequential([
        flatten,
        ...[256, 256, 128].flatMap((width) => [linear(width), relu, dropout(ratio), batchNorm()]),
        linear(options.classes),
      ]),
      options,
    )

/** dropout-conv-ReLU-BN, five times, over one axis: the rows of the picture's channels are the channels of a signal. */
const signal =
  (ratio: number): Build =>
  (options) =>
    network(
      sequential([
        reshape(-1, options.input[2]!),
        ...[64, 64, 64, 64, 64].flatMap((width) => [
          dropout(ratio),
          conv(width, 3, { padding: 1 }),
          relu,
          batchNorm(),
        ]),
        globalAveragePool,
        flatten,
        linear(options.classes),
      ]),
      options,
    )

const ownBuilders = { 'keras-style': kerasStyle, dense, 'conv-1d': signal } as const

const builderOf = ({ network: name, placement, ratio }: Cell) =>
  ownBuilders[name as keyof typeof ownBuilders]?.(ratio) ?? namedBuilder(name, 'dropout', ratio, placement)

/** Samples of real data that the repair with data uses. */
const realSamples = 256

/** Gain of real data, in points of error, from which on a repair is needed. */
const needed = 1

/**
 * The repair without data against the repair with data.
 * Source: docs/theory.md, "Distilled inputs".
 */
export const distillStudy = defineStudy<Cell, Found>({
  id: 'distill',
  claim:
    'On convolutional networks a file alone wins back at least 80 % of what real data would, and where it cannot, the repair refuses.',
  source: 'docs/theory.md, "Distilled inputs"',
  method: `Networks trained with Dropout in front of norms; error and cross entropy as trained, repaired on inputs distilled from the file, and re-estimated on ${realSamples} real pictures without labels. A repair that was refused is scored all the same.`,
  needsData: true,
  minutes: { smoke: 2, small: 20, paper: 2000 },
  grid: (budget: Budget) => {
    const seeds = seedsFor(budget, 3)
    const nets = [
      ...Object.entries(familiesFor(budget)).flatMap(([name, network]) =>
        ['before-norm', 'before-weight'].map((placement) => ({ name, network, placement, ratio: 0.5 })),
      ),
      { name: 'keras-style', network: 'keras-style', placement: 'before-weight', ratio: 0.5 },
      { name: 'keras-style', network: 'keras-style', placement: 'before-weight', ratio: 0.3 },
      { name: 'conv 1-D', network: 'conv-1d', placement: 'before-weight', ratio: 0.25 },
      { name: 'dense', network: 'dense', placement: 'before-norm', ratio: 0.5 },
    ]
    // Seed by seed, so that a study that was stopped tells something of every network.
    return seeds.flatMap((seed) => nets.map((net) => ({ ...net, ...recipeFor(budget, seed) })))
  },
  experiment: {
    id: 'distill',
    version: 2,
    async run(cell, context) {
      const { model, train, test } = await trainClassifier(builderOf(cell), cell, context)
      const trained = await scoresOf(model, test, context)
      const real = await scoresOf(await recalibratedOn(model, train, realSamples, context), test, context)
      const { threads, signal } = context
      const settings = { threads, signal, seed: cell.seed }
      const found = await distilledRepair(model, settings, noFiles, { regardless: true })
      return {
        trained,
        real,
        distilled: found.edits ? await scoresOf(applyEdits(model, found.edits), test, context) : null,
        outcome: found.outcome,
        reason: found.reason,
        losses: found.distillation?.losses ?? [],
        testImages: cell.testImages,
      }
    },
  },
  summarise(cells) {
    const done = cells.flatMap(({ parameters, outcome }) => (outcome ? [{ ...parameters, ...outcome }] : []))
    const gainOf = ({ trained, real }: Found) => trained.errorPercent - real.errorPercent
    const ownGain = ({ trained, distilled }: Found) =>
      distilled ? trained.errorPercent - distilled.errorPercent : Number.NaN
    /** Half of the 95 % interval of an error, in points. */
    const half = ({ trained, testImages }: Found) => {
      const share = trained.errorPercent / 100
      return 196 * Math.sqrt((share * (1 - share)) / testImages)
    }
    const refused = done.filter(({ outcome }) => outcome === 'refused')
    const kept = done.filter(({ outcome }) => outcome === 'found')
    const wanted = kept.filter((cell) => gainOf(cell) >= needed)
    const shares = wanted.map((cell) => ownGain(cell) / gainOf(cell))
    const harmed = (cell: (typeof done)[number]) =>
      ownGain(cell) < -half(cell) || (cell.distilled?.loss ?? 0) > cell.trained.loss * 1.02
    const rightlyRefused = refused.filter(harmed)
    const wronglyRefused = refused.filter((cell) => ownGain(cell) > half(cell) && gainOf(cell) >= needed)
    return {
      tables: [
        {
          title: 'Without data against with data',
          columns: [
            'network',
            'placement',
            'ratio',
            'seed',
            'error as trained %',
            'distilled %',
            'real data %',
            'loss as trained',
            'distilled loss',
            'real loss',
            'outcome',
            'loss reached',
          ],
          rows: done.map((cell) => [
            cell.name,
            cell.placement,
            cell.ratio,
            cell.seed,
            cell.trained.errorPercent,
            cell.distilled?.errorPercent ?? null,
            cell.real.errorPercent,
            cell.trained.loss,
            cell.distilled?.loss ?? null,
            cell.real.loss,
            cell.outcome,
            cell.losses.length > 0 ? Math.max(...cell.losses) : null,
          ]),
        },
      ],
      figures: [],
      conclusions:
        done.length === 0
          ? []
          : [
              shares.length === 0
                ? 'Real data gained a point nowhere among the repairs that were kept.'
                : `Where real data gains a point or more and the repair was kept (${shares.length} cells), distilling wins ${(100 * meanOf(shares)).toFixed(0)} % of that gain on average, ${(100 * Math.min(...shares)).toFixed(0)} % at worst; ${shares.filter((share) => share >= 0.8).length} cells reach 80 %.`,
              `Of ${kept.length} repairs that were kept, ${kept.filter(harmed).length} harm error beyond its interval or raise cross entropy by more than 2 %.`,
              `Refused: ${refused.length}; rightly (it would have harmed): ${rightlyRefused.length}, wrongly (it would have helped): ${wronglyRefused.length}.`,
            ],
    }
  },
})
