import {
  type ClassifierCell,
  type ClassifierOutcome,
  classifier,
  classifierGrid,
  familiesFor,
  outcomesOf,
} from '../classifier.ts'
import { defineStudy } from '../define-study.ts'
import { meanOf, pointOf } from '../statistics.ts'
import { method, noiseOf, placements, source } from './common.ts'

/** The families that are drawn. */
const shown = ['DenseNet', 'PreResNet'] as const

/**
 * Shift ratio of every norm, in graph order, with and without Dropout 0.5 before the last norm of every block.
 * Source: Li et al., arXiv:1801.05134, figure 1.
 */
export const figure1 = defineStudy<ClassifierCell, ClassifierOutcome>({
  id: 'li-2018/figure-1',
  claim: 'With Dropout before norms the variance shifts in every layer; without it, in none.',
  source: `${source}, figure 1`,
  method,
  needsData: true,
  minutes: { smoke: 2, small: 40, paper: 40_000 },
  grid: (budget) =>
    classifierGrid(
      budget,
      [0, 0.5].map((ratio) => noiseOf('dropout', ratio, placements.a)),
    ).filter(({ network }) => shown.some((family) => network === familiesFor(budget)[family])),
  experiment: classifier,
  summarise(cells, budget) {
    const networks = familiesFor(budget)
    const kinds = shown.flatMap((family) =>
      [0.5, 0].map((ratio) => ({
        family,
        ratio,
        found: outcomesOf(cells, { network: networks[family], ...noiseOf('dropout', ratio, placements.a) }),
      })),
    )
    const told = kinds.filter(({ found }) => found.length > 0)
    return {
      tables: [
        {
          title: 'Shift ratio and accuracy',
          columns: ['family', 'ratio', 'mean shift ratio', 'largest', 'accuracy %', 'layers', 'seeds'],
          rows: told.map(({ family, ratio, found }) => [
            family,
            ratio,
            meanOf(found.map((o) => o.meanRatio)),
            meanOf(found.map((o) => o.largestRatio)),
            100 - meanOf(found.map((o) => o.errorPercent)),
            found[0]!.ratios.length,
            found.length,
          ]),
          note: 'Published, DenseNet on CIFAR-100: accuracy 77.42 % without and 68.55 % with Dropout 0.5.',
        },
      ],
      figures: [
        {
          title: 'Shift ratio over the norms, in graph order',
          x: { label: 'batch normalization', scale: 'linear' },
          y: { label: 'shift ratio', scale: 'log' },
          note: 'Bands reach from the least to the most over seeds.',
          series: told.map(({ family, ratio, found }) => ({
            name: `${family}, ${ratio === 0 ? 'no Dropout' : `Dropout ${ratio}`}`,
            dashed: ratio === 0,
            points: found[0]!.ratios.map((_, i) =>
              pointOf(
                i,
                found.map((o) => o.ratios[i]!),
              ),
            ),
          })),
        },
      ],
      conclusions: told.map(
        ({ family, ratio, found }) =>
          `${family}, ${ratio === 0 ? 'no Dropout' : `Dropout ${ratio}`}: mean shift ratio ${meanOf(found.map((o) => o.meanRatio)).toFixed(2)}, largest ${meanOf(found.map((o) => o.largestRatio)).toFixed(2)}.`,
      ),
    }
  },
})
