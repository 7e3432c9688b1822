import type { Console } from './console.ts'
import { exitCodes } from './exit-codes.ts'

/** Runs `work` with a signal that the first Ctrl-C aborts; a second one ends the program at once. */
export async function interruptible<T>(
  console: Console,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const onInterrupt = () => {
    if (controller.signal.aborted) process.exit(exitCodes.interrupted)
    controller.abort()
    console.note('stopping after this batch (Ctrl-C again to quit at once)')
  }
  process.on('SIGINT', onInterrupt)
  try {
    return await work(controller.signal)
  } finally {
    process.off('SIGINT', onInterrupt)
  }
}

/** What the work gives; undefined if it failed because it was told to stop. */
export const unlessStopped = <T>(signal: AbortSignal, work: Promise<T>): Promise<T | undefined> =>
  work.catch((error: unknown) => {
    if (signal.aborted) return undefined
    throw error
  })
