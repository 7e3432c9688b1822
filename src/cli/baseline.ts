import * as path from 'node:path'
import { UserError } from '../ir/errors.ts'
import type { Files } from '../platform/files.ts'
import { writeText } from './write.ts'

/**
 * Findings that are known: fingerprints by model, whose path is relative to the folder of the baseline file.
 *
 *   { "version": 1, "models": { "nets/a.onnx": ["dropout-before-batch-norm:block1.bn"] } }
 */
export type Baseline = Readonly<Record<string, readonly string[]>>

const baselineVersion = 1

/** The baseline in the file at `file`. Throws a UserError if it is missing or no baseline. */
export async function readBaseline(file: string, files: Files): Promise<Baseline> {
  if (!(await files.stat(file)))
    throw new UserError(`there is no baseline ${file}; make it with --update-baseline`)
  let contents: { version?: unknown; models?: unknown } | null
  try {
    contents = JSON.parse(new TextDecoder().decode(await files.read(file)))
  } catch (error) {
    throw new UserError(
      `the baseline ${file} is not JSON (${(error as Error).message}); make it anew with --update-baseline`,
    )
  }
  const { version, models } = contents ?? {}
  const isBaseline =
    version === baselineVersion &&
    typeof models === 'object' &&
    models !== null &&
    Object.values(models).every(
      (list) => Array.isArray(list) && list.every((fingerprint) => typeof fingerprint === 'string'),
    )
  if (!isBaseline)
    throw new UserError(
      `${file} is not a baseline of version ${baselineVersion}; make it anew with --update-baseline`,
    )
  return models as Baseline
}

/** The name of a model in the baseline at `file`. */
export const nameInBaseline = (file: string, model: string): string =>
  path.relative(path.dirname(path.resolve(file)), path.resolve(model)).replaceAll('\\', '/')

export async function writeBaseline(file: string, baseline: Baseline, files: Files): Promise<void> {
  const models = Object.entries(baseline)
    .filter(([, fingerprints]) => fingerprints.length > 0)
    .map(([name, fingerprints]) => [name, fingerprints.toSorted()] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  const contents = { version: baselineVersion, models: Object.fromEntries(models) }
  await writeText(file, `${JSON.stringify(contents, undefined, 2)}\n`, files)
}
