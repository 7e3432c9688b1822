/** Starts processes that answer questions; `node-workers.ts` is the one for Node. */
export interface Workers {
  start(): Worker
}

export interface Worker {
  /** Sends a question (plain JSON) and resolves with the answer; undefined if the process ends before it answers. */
  ask(question: unknown): Promise<unknown>
  /** Ends the process at once; resolves when it is gone. */
  stop(): Promise<void>
}
