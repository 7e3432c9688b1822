import type { Budget } from '../../result/study.ts'
import {
  type ClassifierCell,
  type ClassifierOutcome,
  classifier,
  classifierGrid,
  type Family,
  families,
  familiesFor,
  outcomesOf,
} from '../classifier.ts'
import { defineStudy, type Study } from '../define-study.ts'
import { meanOf, meanText } from '../statistics.ts'
import { distinct, method, noiseOf, source } from './common.ts'

interface ErrorTable {
  readonly id: string
  readonly claim: string
  /** The table of the paper. */
  readonly table: string
  readonly minutes: Readonly<Record<Budget, number>>
  /** Kind and placement of the noise, name and values of its parameter, 0 (none) first. */
  readonly noise: string
  readonly placement: string
  readonly parameter: string
  readonly values: readonly number[]
  /** Those of them that smaller budgets run. */
  readonly smallValues: readonly number[]
  /** Test error in percent by family, for each of `values`. */
  readonly published: Readonly<Record<(typeof families)[number], readonly number[]>>
}

/** A table of test errors by family and strength of one kind of noise in one place. */
export function defineErrorTable(table: ErrorTable): Study {
  const { id, claim, minutes, noise, placement, parameter, values, smallValues, published } = table
  return defineStudy<ClassifierCell, ClassifierOutcome>({
    id,
    claim,
    source: `${source}, ${table.table}`,
    method,
    needsData: true,
    minutes,
    grid: (budget) =>
      distinct(
        classifierGrid(
          budget,
          (budget === 'paper' ? values : smallValues).map((value) => noiseOf(noise, value, placement)),
        ),
      ),
    experiment: classifier,
    summarise(cells, budget) {
      const networks = familiesFor(budget)
      const at = (family: Family, value: number) =>
        outcomesOf(cells, { network: networks[family], ...noiseOf(noise, value, placement) })
      const rows = families.flatMap((family) =>
        values.flatMap((value, i) => {
          const found = at(family, value)
          return found.length === 0 ? [] : [{ family, value, found, published: published[family][i]! }]
        }),
      )
      const errors = (family: string, wanted: (value: number) => boolean) =>
        rows
          .filter((row) => row.family === family && wanted(row.value))
          .map(({ found }) => meanOf(found.map(({ errorPercent }) => errorPercent)))
      return {
        tables: [
          {
            title: 'Test error',
            columns: ['family', parameter, 'error %', 'published %', 'mean shift ratio', 'seeds'],
            rows: rows.map(({ family, value, found, published }) => [
              family,
              value,
              meanText(found.map(({ errorPercent }) => errorPercent)),
              published,
              meanText(found.map(({ meanRatio }) => meanRatio)),
              found.length,
            ]),
          },
        ],
        figures: [],
        conclusions: families.flatMap((family) => {
          const [none] = errors(family, (value) => value === 0)
          const others = errors(family, (value) => value > 0)
          if (none === undefined || others.length === 0) return []
          const change = Math.min(...others) - none
          return [
            `${family}: the best ${parameter} changes the error by ${change >= 0 ? '+' : '−'}${Math.abs(change).toFixed(2)} points against none.`,
          ]
        }),
      }
    },
  })
}
