import { UserError } from '../../ir/errors.ts'
import type { Worker, Workers } from '../../platform/workers.ts'
import type { Outcome } from '../define-study.ts'
import type { Job, Queue } from './queue.ts'

/** What a worker answers to a job. */
export type Answer = { readonly outcome: Outcome } | { readonly failure: string }

/** How often a cell is tried whose worker dies. */
const tries = 3

/** Runs cells in worker processes of this machine, one at a time in each. */
export function processQueue(workers: Workers, slots: number): Queue {
  const idle: Worker[] = []
  const all = new Set<Worker>()
  return {
    slots,
    async execute(job, signal) {
      for (let attempt = 1; ; attempt++) {
        signal.throwIfAborted()
        const worker = idle.pop() ?? workers.start()
        all.add(worker)
        const answer = await ask(worker, job, signal)
        if (answer) {
          idle.push(worker)
          if ('failure' in answer) throw new UserError(answer.failure)
          return answer.outcome
        }
        all.delete(worker)
        signal.throwIfAborted()
        if (attempt === tries)
          throw new UserError(
            `the worker of this cell ended ${tries} times without an answer; run it alone (--workers 1) with more memory free`,
          )
      }
    },
    async close() {
      await Promise.all([...all].map((worker) => worker.stop()))
    },
  }
}

/** The worker's answer; undefined if it ended without one. An abort ends the worker. */
async function ask(worker: Worker, job: Job, signal: AbortSignal): Promise<Answer | undefined> {
  const stop = () => void worker.stop()
  signal.addEventListener('abort', stop, { once: true })
  try {
    return (await worker.ask(job)) as Answer | undefined
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
