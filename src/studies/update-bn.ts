import { factsOf } from '../analysis/index.ts'
import type { Dataset } from '../data/dataset.ts'
import { fairPart } from '../data/fair-part.ts'
import { applyEdits } from '../ir/edit.ts'
import type { Model } from '../ir/model.ts'
import { measureMoments } from '../measure/measure.ts'
import type { Budget } from '../result/study.ts'
import { recalibrate } from '../rewrite/repairs/recalibrate.ts'
import {
  dataOf,
  familiesFor,
  namedBuilder,
  outcomesOf,
  type Recipe,
  recalibratedOn,
  recipeFor,
  scoresOf,
  seedsFor,
  trainClassifier,
} from './classifier.ts'
import { type CellContext, defineStudy } from './define-study.ts'
import { meanOf, pointOf } from './statistics.ts'

type Cell = Recipe & { readonly network: string }

type Found = {
  readonly trained: number
  /** Error by number of samples, re-estimated with the noise on as PyTorch's `update_bn` does, and with it off. */
  readonly samples: readonly number[]
  readonly noiseOn: readonly number[]
  readonly noiseOff: readonly number[]
}

const counts = [8, 16, 32, 64, 128, 256, 1024] as const

/** Statistics of batches in train mode: what PyTorch's `update_bn` stores. */
async function updateBn(model: Model, train: Dataset, { threads, signal }: CellContext): Promise<Model> {
  const { trainingBatches } = await dataOf(model, train)
  const { moments } = await measureMoments(model, trainingBatches, 'train', { threads, signal })
  return applyEdits(
    model,
    recalibrate.plan({ model, facts: factsOf(model), statistics: moments, choices: {} }),
  )
}

/**
 * How many unlabelled samples a repair needs, and that the noise has to be off: PyTorch's `update_bn` leaves it on.
 * Source: docs/theory.md, "Recalibration".
 */
export const updateBnStudy = defineStudy<Cell, Found>({
  id: 'update-bn',
  claim:
    'Re-estimating statistics helps with the noise off and not with it on; 64 to 256 samples are enough.',
  source: 'docs/theory.md, "Recalibration"; PyTorch’s torch.optim.swa_utils.update_bn',
  method:
    'PreResNet with Dropout 0.5 before the last norm of every block; test error after the statistics are re-estimated on the first N training pictures, in train mode (noise on) and with the noise off.',
  needsData: true,
  minutes: { smoke: 1, small: 8, paper: 3000 },
  grid: (budget: Budget) =>
    seedsFor(budget, 3).map((seed) => ({
      network: familiesFor(budget).PreResNet!,
      ...recipeFor(budget, seed),
    })),
  experiment: {
    id: 'update-bn',
    version: 1,
    async run(cell, context) {
      const build = namedBuilder(cell.network, 'dropout', 0.5, 'before-norm')
      const { model, train, test } = await trainClassifier(build, cell, context)
      const error = async (repaired: Model) => (await scoresOf(repaired, test, context)).errorPercent
      const samples = [...counts.filter((count) => count < train.size), train.size]
      const noiseOn: number[] = []
      const noiseOff: number[] = []
      for (const count of samples) {
        noiseOn.push(await error(await updateBn(model, fairPart(train, count), context)))
        noiseOff.push(await error(await recalibratedOn(model, train, count, context)))
      }
      return { trained: await error(model), samples, noiseOn, noiseOff }
    },
  },
  summarise(cells) {
    const found = outcomesOf(cells, {})
    const [first] = found
    if (!first) return { tables: [], figures: [], conclusions: [] }
    const trained = meanOf(found.map((o) => o.trained))
    const at = (pick: (o: Found) => readonly number[], i: number) => found.map((o) => pick(o)[i]!)
    const points = (pick: (o: Found) => readonly number[]) =>
      first.samples.map((x, i) => pointOf(x, at(pick, i)))
    const best = meanOf(at((o) => o.noiseOff, first.samples.length - 1))
    const enough = first.samples.find(
      (_, i) => trained - meanOf(at((o) => o.noiseOff, i)) >= 0.9 * (trained - best),
    )
    return {
      tables: [
        {
          title: 'Test error by number of samples',
          columns: ['samples', 'as trained %', 'noise on (update_bn) %', 'noise off %', 'seeds'],
          rows: first.samples.map((count, i) => [
            count,
            trained,
            meanOf(at((o) => o.noiseOn, i)),
            meanOf(at((o) => o.noiseOff, i)),
            found.length,
          ]),
        },
      ],
      figures: [
        {
          title: 'Test error by number of samples',
          x: { label: 'samples, without labels', scale: 'log' },
          y: { label: 'test error, %', scale: 'linear' },
          note: 'Bands reach from the least to the most over seeds.',
          series: [
            { name: 'noise off', points: points((o) => o.noiseOff) },
            { name: 'noise on (update_bn)', points: points((o) => o.noiseOn) },
            {
              name: 'as trained',
              dashed: true,
              points: first.samples.map((x) => ({ x, y: trained })),
            },
          ],
        },
      ],
      conclusions: [
        `As trained ${trained.toFixed(1)} %, all samples with the noise on ${meanOf(at((o) => o.noiseOn, first.samples.length - 1)).toFixed(1)} %, with it off ${best.toFixed(1)} %.`,
        enough === undefined || !(trained > best)
          ? 'Re-estimating with the noise off gained nothing here.'
          : `${enough} samples give nine tenths of what all give.`,
      ],
    }
  },
})
