import type { Outcome, Parameters } from '../define-study.ts'

/** One cell to be run: plain JSON, so that it can be sent anywhere. */
export interface Job {
  readonly study: string
  /** Identity of the cell. */
  readonly key: string
  readonly parameters: Parameters
  /** Data as `--data` takes it, as the worker finds it; its contents are part of `key`. */
  readonly data: string | undefined
}

/**
 * Where cells are run. A distributed queue is another implementation: nothing in a cell depends on shared memory or on
 * where it runs.
 */
export interface Queue {
  /** Cells that run at the same time. */
  readonly slots: number
  /**
   * Runs the cell somewhere and returns what it found. Rejects with a UserError if the cell failed, also if its worker
   * died again and again; with the signal's reason if it was aborted.
   */
  execute(job: Job, signal: AbortSignal): Promise<Outcome>
  /** Ends the workers. */
  close(): Promise<void>
}
