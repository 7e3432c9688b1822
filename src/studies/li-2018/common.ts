import type { Budget } from '../../result/study.ts'
import {
  type ClassifierCell,
  type ClassifierOutcome,
  families,
  familiesFor,
  outcomesOf,
} from '../classifier.ts'
import type { Cell } from '../define-study.ts'

/** What the studies of Li et al. have in common. */
export const source =
  'Li et al., Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift, arXiv:1801.05134'

export const placements = { a: 'before-norm', b: 'before-weight' } as const

export const method =
  'The four families, trained by the same recipe (small budgets: few pictures at half size, few epochs, small networks; compare orders and differences with the paper, not levels); test error in eval mode, shift ratios on training pictures.'

/** Noise of a kind in a placement, or none where its parameter is 0. */
export const noiseOf = (noise: string, value: number, placement: string) =>
  value === 0 ? { noise: 'none', value: 0, placement: 'none' } : { noise, value, placement }

/** Cells of seeds and families that differ in nothing but a noise of 0 are one. */
export const distinct = <T extends Readonly<Record<string, unknown>>>(cells: readonly T[]): T[] => [
  ...new Map(cells.map((cell) => [JSON.stringify(cell), cell])).values(),
]

/** What was found of each family that something was found of, over all cells. */
export const byFamily = (cells: readonly Cell<ClassifierCell, ClassifierOutcome>[], budget: Budget) =>
  families.flatMap((family) => {
    const found = outcomesOf(cells, { network: familiesFor(budget)[family] })
    return found.length === 0 ? [] : [{ family, found }]
  })
