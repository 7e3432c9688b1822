import { concat } from '../formats/onnx/index.ts'
import { openModel, readModelBytes } from '../formats/open-model.ts'
import type { Files } from '../platform/files.ts'
import type { Result } from '../result/result.ts'
import { check } from './check.ts'
import { compare } from './compare.ts'
import { fix } from './fix.ts'
import type { Fixed } from './fixed.ts'
import type { RunOptions } from './options.ts'

/** Pictures of the generator: unlabelled use for the repair, and fresh ones for the comparison. */
const calibrationData = 'shapes:count=512,seed=3'
const testData = 'shapes:count=2000,seed=2'

export interface Demo {
  /** What can be said without data: the exposed layers. */
  readonly check: Result
  /** The repair, re-estimated on pictures that are used without their labels. */
  readonly fixed: Fixed
  /** The model before and after on pictures that neither training nor repair has seen. */
  readonly compare: Result
}

/** The whole journey on the model at `modelPath`, a network trained on pictures of the embedded generator. */
export async function demo(modelPath: string, options: RunOptions, files: Files): Promise<Demo> {
  const file = await openModel(modelPath, files)
  const fixed = await fix(file, { ...options, data: calibrationData }, files)
  const bytes = concat(file.write(fixed.edits))
  const repaired = await readModelBytes(bytes, 'repaired demo model', files)
  return {
    check: check(file, { select: ['dropout-before-batch-norm'] }),
    fixed,
    compare: await compare(file, repaired, { ...options, data: testData, modeSamples: 512 }, files),
  }
}
