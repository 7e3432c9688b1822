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
import { families, table4 as published, table4Ratios } from './published.ts'

/**
 * Test error with one Dropout after the last norm.
 * Source: Li et al., arXiv:1801.05134, table 4.
 */
export const table4 = defineStudy<ClassifierCell, ClassifierOutcome>({
  id: 'li-2018/table-4',
  version: 1,
  claim: 'One Dropout after the last norm does no harm.',
  source: `${source}, table 4`,
  method,
  needsData: true,
  minutes: { smoke: 2, small: 80, paper: 70_000 },
  grid: (budget) =>
    distinct(
      classifierGrid(
        budget,
        (budget === 'smoke' ? [0, 0.3] : table4Ratios).map((value) =>
          noiseOf('dropout', value, 'head-after-pool'),
        ),
      ),
    ),
  run: runClassifier,
  summarise(cells) {
    const at = (family: string, ratio: number) =>
      outcomesOf(cells, { family, ...noiseOf('dropout', ratio, 'head-after-pool') })
    const errors = (family: string, ratio: number) =>
      at(family, ratio).map(({ errorPercent }) => errorPercent)
    const told = families.flatMap((family) => {
      const none = errors(family, 0)
      const best = table4Ratios
        .slice(1)
        .map((ratio) => errors(family, ratio))
        .filter((values) => values.length > 0)
      return none.length > 0 && best.length > 0
        ? [{ family, change: Math.min(...best.map(meanOf)) - meanOf(none) }]
        : []
    })
    return {
      tables: [
        {
          title: 'Test error',
          columns: ['family', 'ratio', 'error %', 'published %', 'mean shift ratio', 'seeds'],
          rows: families.flatMap((family) =>
            table4Ratios.flatMap((ratio, i) => {
              const found = at(family, ratio)
              return found.length === 0
                ? []
                : [
                    [
                      family,
                      ratio,
                      meanText(errors(family, ratio)),
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
          `${family}: the best ratio changes the error by ${change >= 0 ? '+' : '−'}${Math.abs(change).toFixed(2)} points against none.`,
      ),
    }
  },
})
