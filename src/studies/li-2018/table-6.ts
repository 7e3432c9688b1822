import {
  type ClassifierCell,
  type ClassifierOutcome,
  classifierGrid,
  outcomesOf,
  runClassifier,
} from '../classifier.ts'
import { defineStudy } from '../define-study.ts'
import { meanOf, meanText } from '../statistics.ts'
import { distinct, method, noiseOf, source } from './common.ts'
import { families, table6 as published, table6Betas } from './published.ts'

/**
 * Test error with Uout in placement b.
 * Source: Li et al., arXiv:1801.05134, table 6.
 */
export const table6 = defineStudy<ClassifierCell, ClassifierOutcome>({
  id: 'li-2018/table-6',
  version: 1,
  claim: 'Uout does no harm before the last convolution of every block.',
  source: `${source}, table 6`,
  method,
  needsData: true,
  minutes: { smoke: 2, small: 80, paper: 70_000 },
  grid: (budget) =>
    distinct(
      classifierGrid(
        budget,
        (budget === 'smoke' ? [0, 0.3] : table6Betas).map((value) => noiseOf('uout', value, 'before-weight')),
      ),
    ),
  run: runClassifier,
  summarise(cells) {
    const at = (family: string, beta: number) =>
      outcomesOf(cells, { family, ...noiseOf('uout', beta, 'before-weight') })
    const errors = (family: string, beta: number) => at(family, beta).map(({ errorPercent }) => errorPercent)
    const told = families.flatMap((family) => {
      const none = errors(family, 0)
      const best = table6Betas
        .slice(1)
        .map((beta) => errors(family, beta))
        .filter((values) => values.length > 0)
      return none.length > 0 && best.length > 0
        ? [{ family, change: Math.min(...best.map(meanOf)) - meanOf(none) }]
        : []
    })
    return {
      tables: [
        {
          title: 'Test error',
          columns: ['family', 'beta', 'error %', 'published %', 'mean shift ratio', 'seeds'],
          rows: families.flatMap((family) =>
            table6Betas.flatMap((beta, i) => {
              const found = at(family, beta)
              return found.length === 0
                ? []
                : [
                    [
                      family,
                      beta,
                      meanText(errors(family, beta)),
                      published[family][i]!,
                      meanText(found.map(({ meanRatio }) => meanRatio)),
                      found.length,
                    ],
                  ]
            }),
          ),
        },
      ],
      figures: [],
      conclusions: told.map(
        ({ family, change }) =>
          `${family}: the best beta changes the error by ${change >= 0 ? '+' : '−'}${Math.abs(change).toFixed(2)} points against none.`,
      ),
    }
  },
})
