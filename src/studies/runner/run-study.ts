import { UserError } from '../../ir/errors.ts'
import { type Budget, type StudyCell, type StudyResult, studyVersion } from '../../result/study.ts'
import { version } from '../../version.ts'
import type { Outcome, Study } from '../define-study.ts'
import type { Queue } from './queue.ts'
import { type CellStore, keyOfCell } from './store.ts'

export interface RunStudyOptions {
  readonly budget: Budget
  readonly queue: Queue
  readonly store: CellStore
  /** As `--data` takes it, with the hash of its contents; undefined for studies that make their own. */
  readonly data: { readonly spec: string; readonly hash: string } | undefined
  /** Command line that gives this result, and the machine, for the record. */
  readonly command: string
  readonly machine: string
  readonly signal: AbortSignal
  onProgress?(state: StudyProgress): void
}

export interface StudyProgress {
  readonly done: number
  readonly of: number
  /** Estimated from the cells run so far; undefined before the first. */
  readonly secondsLeft: number | undefined
}

/**
 * Runs every cell of the grid that is not in the store yet, and makes the tables of all that are there. The result is
 * the same whatever the order in which cells finish, and whether they ran now or before. An aborted run returns what it
 * has. A cell that fails is told with its reason; the others go on.
 */
export async function runStudy(study: Study, options: RunStudyOptions): Promise<StudyResult> {
  const { budget, queue, store, data, signal, onProgress } = options
  const grid = study.grid(budget)
  const keys = await Promise.all(grid.map((parameters) => keyOfCell(study, parameters, data?.hash)))
  if (new Set(keys).size < keys.length)
    throw new Error(`study ${study.id} has the same cell twice in its grid`)
  const cells: StudyCell[] = await Promise.all(
    grid.map(async (parameters, i) => {
      const stored = await store.read(keys[i]!)
      return stored
        ? { key: keys[i]!, parameters, outcome: stored.outcome, durationMs: stored.durationMs }
        : { key: keys[i]!, parameters, outcome: null }
    }),
  )

  const open = cells.flatMap((cell, i) => (cell.outcome ? [] : [i]))
  const startedAt = performance.now()
  let [next, ran] = [0, 0]
  const report = () =>
    onProgress?.({
      done: cells.length - open.length + ran,
      of: cells.length,
      secondsLeft:
        ran === 0 ? undefined : (((performance.now() - startedAt) / ran) * (open.length - ran)) / 1000,
    })
  const lane = async () => {
    while (next < open.length && !signal.aborted) {
      const at = open[next++]!
      const { key, parameters } = cells[at]!
      const began = performance.now()
      try {
        const job = { study: study.id, key, parameters, data: data?.spec }
        const outcome = await queue.execute(job, signal)
        const durationMs = Math.round(performance.now() - began)
        await store.write(key, { outcome, durationMs })
        cells[at] = { key, parameters, outcome, durationMs }
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof UserError)) throw error
        cells[at] = { key, parameters, outcome: null, error: error.message }
      }
      ran++
      report()
    }
  }
  report()
  await Promise.all(Array.from({ length: Math.min(queue.slots, open.length) }, lane))

  const { id, claim, source, method } = study
  const summary = study.summarise(
    cells.map(({ parameters, outcome }) => ({ parameters, outcome: (outcome ?? undefined) as Outcome })),
    budget,
  )
  return {
    schema: 'varshift-study/1',
    schemaVersion: studyVersion,
    tool: { name: 'varshift', version },
    study: { id, claim, source, method },
    budget,
    data: data?.spec ?? 'made by the study itself',
    command: options.command,
    machine: options.machine,
    notRun: cells.filter(({ outcome }) => outcome === null).length,
    cells,
    tables: [...summary.tables],
    figures: [...summary.figures],
    ...(summary.galleries ? { galleries: [...summary.galleries] } : {}),
    conclusions: [...summary.conclusions],
  }
}
