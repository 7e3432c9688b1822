import { measure } from '../measure/measure.ts'
import {
  averagePool,
  batchNorm,
  conv,
  dropout,
  flatten,
  globalAveragePool,
  linear,
  maxPool,
  network,
  relu,
  sequential,
} from '../models/index.ts'
import type { Budget } from '../result/study.ts'
import {
  type Build,
  dataOf,
  outcomesOf,
  type Recipe,
  recalibratedOn,
  recipeFor,
  scoresOf,
  seedsFor,
  trainClassifier,
} from './classifier.ts'
import { defineStudy } from './define-study.ts'
import { meanOf, meanText } from './statistics.ts'

type Cell = Recipe & { readonly pool: 'max' | 'average'; readonly ratio: number }

type Found = {
  readonly errorPercent: number
  readonly recalibratedErrorPercent: number
  /** Mean over norms behind a pooling of |real - stored mean| in stored standard deviations (median channel). */
  readonly meanShift: number
  readonly shiftRatio: number
}

const builderOf =
  ({ pool, ratio }: Cell): Build =>
  (options) =>
    network(
      sequential([
        ...[16, 32, 48].flatMap((width) => [
          conv(width, 3, { padding: 1, bias: false }),
          batchNorm(),
          relu,
          ...(ratio > 0 ? [dropout(ratio)] : []),
          pool === 'max' ? maxPool(2) : averagePool(2),
        ]),
        conv(48, 3, { padding: 1, bias: false }),
        batchNorm(),
        relu,
        globalAveragePool,
        flatten,
        linear(options.classes),
      ]),
      options,
    )

/**
 * Max against average pooling behind noise: the mean of a maximum of noisy values is larger than the maximum of their
 * means, so that a Dropout in front of a max pool shifts the mean of what the next norm sees as well as its variance.
 */
export const pooling = defineStudy<Cell, Found>({
  id: 'pooling',
  claim: 'Behind Dropout, max pooling shifts the mean of the next norm’s input; average pooling does not.',
  source: 'docs/theory.md, "Behind"',
  method:
    'conv-BN-ReLU-Dropout-pool, three times, then conv-BN-ReLU and a linear classifier; shift measured on training pictures in eval mode.',
  needsData: true,
  minutes: { smoke: 1, small: 12, paper: 3000 },
  grid: (budget: Budget) =>
    (['max', 'average'] as const).flatMap((pool) =>
      [0, 0.3, 0.5].flatMap((ratio) =>
        seedsFor(budget, 3).map((seed) => ({ pool, ratio, ...recipeFor(budget, seed) })),
      ),
    ),
  experiment: {
    id: 'pooling',
    version: 1,
    async run(cell, context) {
      const { model, train, test } = await trainClassifier(builderOf(cell), cell, context)
      const { threads, signal } = context
      const { batches } = await dataOf(model, train)
      const { measurement } = await measure(model, batches, {
        threads,
        signal,
        modeSamples: 0,
        samples: 1000,
      })
      // The first norm comes before any noise.
      const behind = measurement.layers.slice(1)
      const repaired = await recalibratedOn(model, train, 1000, context)
      return {
        errorPercent: (await scoresOf(model, test, context)).errorPercent,
        recalibratedErrorPercent: (await scoresOf(repaired, test, context)).errorPercent,
        meanShift: meanOf(behind.map(({ meanShift }) => Math.abs(meanShift.median))),
        shiftRatio: meanOf(behind.map(({ shiftRatio }) => shiftRatio)),
      }
    },
  },
  summarise(cells) {
    const told = [0, 0.3, 0.5].flatMap((ratio) =>
      (['max', 'average'] as const).flatMap((pool) => {
        const found = outcomesOf(cells, { pool, ratio })
        return found.length === 0 ? [] : [{ ratio, pool, found }]
      }),
    )
    const shift = (pool: string, ratio: number) =>
      told.find((one) => one.pool === pool && one.ratio === ratio)?.found.map((o) => o.meanShift)
    return {
      tables: [
        {
          title: 'Shift behind the pooling',
          columns: [
            'ratio',
            'pooling',
            'mean shift, sd',
            'shift ratio',
            'error as trained %',
            'error re-estimated %',
            'seeds',
          ],
          rows: told.map(({ ratio, pool, found }) => [
            ratio,
            pool,
            meanText(
              found.map((o) => o.meanShift),
              3,
            ),
            meanText(found.map((o) => o.shiftRatio)),
            meanText(found.map((o) => o.errorPercent)),
            meanText(found.map((o) => o.recalibratedErrorPercent)),
            found.length,
          ]),
        },
      ],
      figures: [],
      conclusions: [0.3, 0.5].flatMap((ratio) => {
        const [max, average] = [shift('max', ratio), shift('average', ratio)]
        return max && average
          ? [
              `Dropout ${ratio}: the mean moves by ${meanText(max, 3)} standard deviations behind max pooling, by ${meanText(average, 3)} behind average pooling.`,
            ]
          : []
      }),
    }
  },
})
