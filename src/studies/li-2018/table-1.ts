import {
  type ClassifierCell,
  type ClassifierOutcome,
  classifier,
  classifierGrid,
  type families,
} from '../classifier.ts'
import { defineStudy } from '../define-study.ts'
import { meanOf, meanText } from '../statistics.ts'
import { byFamily, method, noiseOf, source } from './common.ts'
import { table1 as published } from './published.ts'

/**
 * d cos^2 of the weights in front of norms, in networks trained without Dropout: the larger, the smaller the shift.
 * Source: Li et al., arXiv:1801.05134, table 1.
 */
export const table1 = defineStudy<ClassifierCell, ClassifierOutcome>({
  id: 'li-2018/table-1',
  claim:
    'Weights of wide networks have the largest d cos², so that noise in front of them shifts the variance least.',
  source: `${source}, table 1`,
  method: `${method} Here over the weights in front of norms, in the paper over all convolutions.`,
  needsData: true,
  minutes: { smoke: 1, small: 30, paper: 20_000 },
  grid: (budget) => classifierGrid(budget, [noiseOf('dropout', 0, '')]),
  experiment: classifier,
  summarise(cells, budget) {
    const told = byFamily(cells, budget).map(({ family, found }) => ({
      family,
      values: found.map(({ dCos2 }) => dCos2),
    }))
    const order = (value: (family: (typeof families)[number]) => number) =>
      told
        .map(({ family }) => family)
        .toSorted((a, b) => value(b) - value(a))
        .join(' > ')
    const own = new Map(told.map(({ family, values }) => [family, meanOf(values)]))
    return {
      tables: [
        {
          title: 'd cos²',
          columns: ['family', 'd cos²', 'published', 'seeds'],
          rows: told.map(({ family, values }) => [
            family,
            meanText(values),
            published[family],
            values.length,
          ]),
        },
      ],
      figures: [],
      conclusions:
        told.length === 0
          ? []
          : [
              `Order here: ${order((family) => own.get(family)!)}; published: ${order((family) => published[family])}.`,
            ],
    }
  },
})
