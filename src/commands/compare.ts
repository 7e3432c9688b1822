import type { ModelFile } from '../formats/define-format.ts'
import { agreementOf, measure as measureModel } from '../measure/measure.ts'
import type { Files } from '../platform/files.ts'
import type { Result } from '../result/result.ts'
import { check } from './check.ts'
import { dataFor } from './data.ts'
import { describeModel } from './describe.ts'
import { withWeights } from './measure.ts'
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
  const first = await dataFor(a.model, options, files)
  const second = await dataFor(b.model, options, files)
  const before = await measureModel(a.model, first.batches, {
    ...options,
    onProgress: phase(options, `measuring ${a.path}`),
  })
  const after = await measureModel(b.model, second.batches, {
    ...options,
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
