import type { Budget, StudyFigure } from '../result/study.ts'
import {
  type ClassifierCell,
  type ClassifierOutcome,
  classifier,
  outcomesOf,
  recipeFor,
  seedsFor,
} from './classifier.ts'
import { defineStudy, type Study } from './define-study.ts'
import { meanOf, meanText } from './statistics.ts'

/** One way to train, of several that a study puts side by side. */
export type Variant = {
  readonly name: string
  readonly network: string
  readonly noise: string
  readonly value: number
  readonly placement: string
  readonly batchSize?: number
}

/** A variant with what its cells found, one per seed. */
export type Told = Variant & { readonly found: readonly ClassifierOutcome[] }

interface Comparison {
  readonly id: string
  readonly claim: string
  readonly source: string
  readonly method: string
  readonly minutes: Readonly<Record<Budget, number>>
  /** Seeds at the small budget; 3 unless given. */
  readonly seeds?: number
  variants(budget: Budget): readonly Variant[]
  /** Curves over what the variants differ in, if that is a number. */
  figures?(told: readonly Told[]): readonly StudyFigure[]
}

/** A study of classifiers that differ in one thing: error as trained and re-estimated, and shift, side by side. */
export function defineComparison({ variants, figures, seeds, ...head }: Comparison): Study {
  return defineStudy<ClassifierCell, ClassifierOutcome>({
    ...head,
    needsData: true,
    grid: (budget) =>
      variants(budget).flatMap(({ name: _, ...variant }) =>
        seedsFor(budget, seeds).map((seed) => ({ ...recipeFor(budget, seed), ...variant })),
      ),
    experiment: classifier,
    summarise(cells, budget) {
      const told: Told[] = variants(budget).flatMap(({ name, ...variant }) => {
        const found = outcomesOf(cells, variant)
        return found.length === 0 ? [] : [{ name, ...variant, found }]
      })
      const errorOf = (found: readonly ClassifierOutcome[]) => meanOf(found.map((o) => o.errorPercent))
      const order = told.toSorted((a, b) => errorOf(a.found) - errorOf(b.found))
      const shift = told.toSorted(
        (a, b) => meanOf(a.found.map((o) => o.meanRatio)) - meanOf(b.found.map((o) => o.meanRatio)),
      )
      return {
        tables: [
          {
            title: 'Side by side',
            columns: [
              'variant',
              'error as trained %',
              'error re-estimated %',
              'loss as trained',
              'loss re-estimated',
              'mean shift ratio',
              'largest',
              'd cos²',
              'seeds',
            ],
            rows: told.map(({ name, found }) => [
              name,
              meanText(found.map((o) => o.errorPercent)),
              meanText(found.map((o) => o.recalibratedErrorPercent)),
              meanText(
                found.map((o) => o.loss),
                3,
              ),
              meanText(
                found.map((o) => o.recalibratedLoss),
                3,
              ),
              meanText(found.map((o) => o.meanRatio)),
              meanText(found.map((o) => o.largestRatio)),
              meanText(found.map((o) => o.dCos2)),
              found.length,
            ]),
          },
        ],
        figures: told.length === 0 ? [] : [...(figures?.(told) ?? [])],
        conclusions:
          told.length === 0
            ? []
            : [
                `Error as trained, best first: ${order.map(({ name, found }) => `${name} (${errorOf(found).toFixed(1)} %)`).join(', ')}.`,
                `Mean shift ratio, smallest first: ${shift.map(({ name, found }) => `${name} (${meanOf(found.map((o) => o.meanRatio)).toFixed(2)})`).join(', ')}.`,
              ],
      }
    },
  })
}
