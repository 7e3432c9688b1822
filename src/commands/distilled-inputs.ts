import type { Model } from '../ir/model.ts'
import { measureMoments, type NormMoments } from '../measure/measure.ts'
import type { Files } from '../platform/files.ts'
import { type Distilled, distill } from '../train/distill.ts'
import { type Data, dataFor } from './data.ts'
import { type FixOptions, phase, type RunOptions } from './options.ts'

/** Loss up to which distilled inputs may stand for data. Source: docs/theory.md, "Distilled inputs". */
export const largestLoss = 0.02

export interface DistilledInputs {
  readonly distilled: Distilled
  readonly data: Data
  /** What the norms see on them with the noise on, which is what they were made to match. */
  readonly noisy: ReadonlyMap<string, NormMoments>
  /** Largest loss of a restart; not finite where one failed. */
  readonly loss: number
}

/** Inputs distilled from the model, and how well they match what it stored. */
export async function distilledInputs(
  model: Model,
  options: RunOptions & Pick<FixOptions, 'distillation'>,
  files: Files,
): Promise<DistilledInputs> {
  const { seed, threads, signal, distillation = {} } = options
  const onProgress = phase(options, 'distilling inputs from the model')
  const distilled = await distill(model, { ...distillation, seed, threads, signal, onProgress })
  const data = await dataFor(model, { data: distilled.data }, files)
  const noisy = await measureMoments(model, data.largeBatches, 'sample', { seed, threads, signal })
  return { distilled, data, noisy: noisy.moments, loss: Math.max(...distilled.losses) }
}
