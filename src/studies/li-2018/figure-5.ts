import { type ClassifierCell, type ClassifierOutcome, classifier, classifierGrid } from '../classifier.ts'
import { defineStudy } from '../define-study.ts'
import { meanOf, meanText } from '../statistics.ts'
import { byFamily, method, noiseOf, placements, source } from './common.ts'
import { figure5 as published } from './published.ts'

/**
 * Accuracy on the training data itself, in train and in eval mode.
 * Source: Li et al., arXiv:1801.05134, figure 5.
 */
export const figure5 = defineStudy<ClassifierCell, ClassifierOutcome>({
  id: 'li-2018/figure-5',
  claim:
    'The shift is no matter of generalisation: on the training data, too, eval mode is worse than train mode.',
  source: `${source}, figure 5`,
  method,
  needsData: true,
  minutes: { smoke: 1, small: 30, paper: 20_000 },
  grid: (budget) => classifierGrid(budget, [noiseOf('dropout', 0.5, placements.a)]),
  experiment: classifier,
  summarise(cells, budget) {
    const told = byFamily(cells, budget)
    const worse = told.filter(
      ({ found }) =>
        meanOf(found.map((o) => o.evalModePercent)) < meanOf(found.map((o) => o.trainModePercent)),
    )
    return {
      tables: [
        {
          title: 'Accuracy on training data',
          columns: [
            'family',
            'train mode %',
            'eval mode %',
            'published train mode %',
            'published eval mode %',
            'seeds',
          ],
          rows: told.map(({ family, found }) => [
            family,
            meanText(found.map((o) => o.trainModePercent)),
            meanText(found.map((o) => o.evalModePercent)),
            published[family]?.[0] ?? null,
            published[family]?.[1] ?? null,
            found.length,
          ]),
          note: 'Train mode has the noise on, which lowers it early in training.',
        },
      ],
      figures: [],
      conclusions:
        told.length === 0
          ? []
          : [
              `Eval mode is worse than train mode on the training data in ${worse.length} of ${told.length} families.`,
            ],
    }
  },
})
