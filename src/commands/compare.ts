import type { ModelFile } from '../formats/define-format.ts'
import type { Model } from '../ir/model.ts'
import { agreementOf, measure as measureModel } from '../measure/measure.ts'
import type { Files } from '../platform/files.ts'
import type { Result } from '../result/result.ts'
import { check } from './check.ts'
import { type Data, dataFor } from './data.ts'
import { describeModel } from './describe.ts'
import { withWeights } from './measure.ts'
import { needGraph } from './need-graph.ts'
import { type MeasureOptions, phase } from './options.ts'

/**
 * Two models on the same data: shift, accuracy and loss of each, and how far their eval-mode outputs agree.
 * Throws a UserError if the data does not fit one of them.
 */
export async function compare(
  a: ModelFile,
  b: ModelFile,
  options: MeasureOptions,
  files: Files,
): Promise<Result> {
  needGraph(a)
  needGraph(b)
  const [first, second] = await inEqualBatches(a.model, b.model, options, files)
  const before = await measureModel(a.model, first.batches, {
    ...options,
    files,
    modeData: first.trainingBatches,
    onProgress: phase(options, `measuring ${a.path}`),
  })
  const after = await measureModel(b.model, second.batches, {
    ...options,
    files,
    modeData: second.trainingBatches,
    onProgress: phase(options, `measuring ${b.path}`),
  })
  return {
    ...check(a, options),
    command: 'compare',
    seed: options.seed ?? 0,
    other: describeModel(b),
    measurement: withWeights(a.model, before.measurement),
    after: withWeights(b.model, after.measurement),
    comparison: {
      agreement: await agreementOf(
        { name: a.path, model: a.model, data: first.batches },
        { name: b.path, model: b.model, data: second.batches },
        { ...options, onProgress: phase(options, 'comparing outputs') },
      ),
    },
  }
}

/** Outputs are compared batch by batch, so a model that takes batches of one size decides for both. */
async function inEqualBatches(
  a: Model,
  b: Model,
  options: MeasureOptions,
  files: Files,
): Promise<readonly [Data, Data]> {
  const first = await dataFor(a, options, files)
  const second = await dataFor(b, options, files)
  const { batchSize, fixedBatch } = first.batches
  if (batchSize === second.batches.batchSize) return [first, second]
  if (fixedBatch) return [first, await dataFor(b, { ...options, batchSize }, files)]
  return [await dataFor(a, { ...options, batchSize: second.batches.batchSize }, files), second]
}
