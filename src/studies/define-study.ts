import type { Dataset } from '../data/dataset.ts'
import type { Budget, StudyFigure, StudyGallery, StudyTable } from '../result/study.ts'

/** What tells one cell of a grid from another; everything in it is part of the cell's identity. */
export type Parameters = Readonly<Record<string, string | number | boolean | null>>

/** What a cell found: plain JSON, small. */
export type Outcome = Readonly<Record<string, unknown>>

/** What a cell may use: nothing but this, its parameters and the code, so that it runs anywhere. */
export interface CellContext {
  /** The data that the study is run on: its training part or its test part. */
  openData(part: 'train' | 'test'): Promise<Dataset>
  /** Threads of ONNX Runtime. */
  readonly threads: number
  readonly signal: AbortSignal
}

/** A cell with its outcome; undefined if it was not run. */
export interface Cell<P extends Parameters, O extends Outcome> {
  readonly parameters: P
  readonly outcome: O | undefined
}

export interface Summary {
  readonly tables: readonly StudyTable[]
  readonly figures: readonly StudyFigure[]
  readonly galleries?: readonly StudyGallery[]
  /** What the figures say, in plain words; computed from them. */
  readonly conclusions: readonly string[]
}

/** How cells of one kind are made. Studies of the same experiment share their cells. */
export interface Experiment<P extends Parameters, O extends Outcome> {
  readonly id: string
  /** To be raised whenever a change of the code changes what a cell finds. */
  readonly version: number
  run(parameters: P, context: CellContext): Promise<O>
}

export interface StudyDefinition<P extends Parameters, O extends Outcome> {
  /** `author-year/table-n` or the question in a few words. */
  readonly id: string
  /** What is put to the test, in one sentence. */
  readonly claim: string
  readonly source: string
  /** How a cell is made, in a sentence or two. */
  readonly method: string
  /** Whether cells read the data given with `--data`; the others make their own. */
  readonly needsData: boolean
  /** About how long the whole grid takes on two cores, in minutes. */
  readonly minutes: Readonly<Record<Budget, number>>
  /** The grid: independent cells, in the order of the tables. */
  grid(budget: Budget): readonly P[]
  readonly experiment: Experiment<P, O>
  /** Depends on nothing but the cells; some may be missing. */
  summarise(cells: readonly Cell<P, O>[], budget: Budget): Summary
}

/** A study whose types of parameters and outcomes are its own affair. */
export type Study = StudyDefinition<Parameters, Outcome>

export const defineStudy = <P extends Parameters, O extends Outcome>(study: StudyDefinition<P, O>): Study =>
  study as unknown as Study
