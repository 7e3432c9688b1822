import { fork } from 'node:child_process'
import type { Workers } from './workers.ts'

/**
 * Processes that run the module at `path` with `args`. They end with this one: a process whose parent is gone, however
 * it went, loses its channel, and `answerQuestions` leaves then.
 */
export function nodeWorkers(path: string, args: readonly string[]): Workers {
  return {
    start() {
      // What a worker prints is nobody's result.
      const child = fork(path, [...args], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
      let settle: ((answer: unknown) => void) | undefined
      let alive = true
      const gone = new Promise<void>((resolve) => {
        const leave = () => {
          alive = false
          settle?.(undefined)
          resolve()
        }
        child.on('exit', leave)
        child.on('error', leave)
      })
      child.on('message', (answer) => settle?.(answer))
      return {
        ask: (question) =>
          new Promise((resolve) => {
            settle = resolve
            if (!alive) resolve(undefined)
            else child.send(question as object, (error) => error && resolve(undefined))
          }),
        async stop() {
          child.kill('SIGKILL')
          await gone
        },
      }
    },
  }
}

/** The other side: answers each question that the parent sends, one after the other, until the parent is gone. */
export function answerQuestions(answer: (question: unknown) => Promise<unknown>): void {
  process.on('disconnect', () => process.exit())
  // The parent decides when to stop; Ctrl-C reaches the whole group of processes.
  process.on('SIGINT', () => {})
  process.on('message', (question) => {
    void answer(question).then((given) => process.send!(given))
  })
}
