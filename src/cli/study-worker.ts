/**
 * The process that runs cells of a study: it is started by `varshift study`, gets one job after the other from it, and
 * ends with it. Arguments: threads of ONNX Runtime.
 */
import { UserError } from '../ir/errors.ts'
import { nodeFiles } from '../platform/node.ts'
import { answerQuestions } from '../platform/node-workers.ts'
import { openPart } from '../studies/data.ts'
import { studyCalled } from '../studies/index.ts'
import type { Answer } from '../studies/runner/process-queue.ts'
import type { Job } from '../studies/runner/queue.ts'

const threads = Number(process.argv[2] ?? 1)

answerQuestions(async (question): Promise<Answer> => {
  const job = question as Job
  try {
    const outcome = await studyCalled(job.study).experiment.run(job.parameters, {
      openData: (part) => openPart(job.data, part, nodeFiles),
      threads,
      signal: new AbortController().signal,
    })
    return { outcome }
  } catch (error) {
    return { failure: error instanceof UserError ? error.message : String((error as Error).stack) }
  }
})
