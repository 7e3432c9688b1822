import type { Dataset } from '../data/dataset.ts'
import { openDataset } from '../data/open.ts'
import { UserError } from '../ir/errors.ts'
import type { Files } from '../platform/files.ts'
import { sha256 } from './runner/store.ts'

/** What studies are run on unless `--data` says otherwise: made-up pictures, 20,000 to train on and 4,000 to test. */
export const standardData = 'shapes:'

/** Where the pictures to test on begin, of those that the generator makes. */
const testStart = 1_000_000

const shapesPart = { train: 'shapes:count=20000', test: `shapes:count=4000,start=${testStart}` } as const

/** A part of the study's data: `SPEC` to train on, `SPEC#test` to test (CIFAR and IDX folders), or generated pictures. */
export async function openPart(
  spec: string | undefined,
  part: 'train' | 'test',
  files: Files,
): Promise<Dataset> {
  if (spec === undefined) throw new UserError('this study makes its own data')
  if (spec === standardData) return openDataset(shapesPart[part], files)
  if (part === 'train') return openDataset(spec, files)
  if (spec.startsWith(standardData)) return openDataset(`${spec},start=${testStart}`, files)
  try {
    return await openDataset(`${spec}#test`, files)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    throw new UserError(
      `${spec} has no part to test on, which studies need: give a folder of CIFAR or IDX files (cifar10:DIR, DIR), or shapes:count=N`,
      { cause: error },
    )
  }
}

/** Samples that are hashed at once. */
const hashBatch = 1000

/** Hash of both parts: every sample with its label. */
export async function hashOfData(spec: string, files: Files, signal: AbortSignal): Promise<string> {
  if (spec === standardData) return sha256(JSON.stringify(shapesPart))
  const digests: string[] = []
  for (const part of ['train', 'test'] as const) {
    const dataset = await openPart(spec, part, files)
    if (!dataset.labelled)
      throw new UserError(`${spec} has no labels, which studies need; give labelled data`)
    for await (const { inputs, labels } of dataset.batches({ batchSize: hashBatch, signal })) {
      for (const [name, { dims, bytes }] of inputs)
        digests.push(name, dims.join('x'), await digestOf(bytes), labels ? await digestOf(labels) : '')
    }
  }
  return sha256(JSON.stringify(digests))
}

async function digestOf(data: Uint8Array | Int32Array): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', data as Uint8Array<ArrayBuffer>)
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}
