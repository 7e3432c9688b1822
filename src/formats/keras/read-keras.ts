import type { Edit } from '../../ir/edit.ts'
import { UserError } from '../../ir/errors.ts'
import { type BuiltModel, buildModel, weightsExpectedOf } from './build-model.ts'
import { changedWeights } from './changed-weights.ts'
import { datasetOf } from './h5-arrays.ts'
import type { Dataset, Hdf5File } from './hdf5.ts'
import { exportHint, type Layer, readTopology, type Topology } from './topology.ts'
import type { WeightSource, WeightSpec } from './weights.ts'

export type MakeSource = (
  file: Hdf5File,
  topology: Topology,
  expectedOf: (layer: Layer) => readonly WeightSpec[] | undefined,
) => WeightSource

/**
 * The model that the JSON text `config` describes, with the arrays that `makeSource` finds in `weights`.
 * `version` is that of the Keras that wrote it, if the file tells.
 */
export function readKeras(
  config: string,
  version: string | undefined,
  weights: Hdf5File,
  makeSource: MakeSource,
  format: string,
): BuiltModel {
  const kerasMajor = majorOf(version)
  const topology = readTopology(parseConfig(config))
  return buildModel(topology, makeSource(weights, topology, weightsExpectedOf), {
    format,
    producer: version === undefined ? 'keras' : `keras ${version}`,
    kerasMajor,
  })
}

/** Files without a version are older than it. */
function majorOf(version: string | undefined): number {
  if (version === undefined) return 1
  const major = Number(/^\d+/.exec(version)?.[0])
  if (major >= 1 && major <= 3) return major
  throw new UserError(
    `the model was written by Keras '${version}', expected version 1, 2 or 3; ${exportHint}`,
  )
}

/** Far deeper than models nest; what reads the configuration descends with it. */
const maxNesting = 500

export function checkNesting(text: string): void {
  let depth = 0
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[{\]}]/gs)) {
    if (token === '[' || token === '{') depth++
    if (token === ']' || token === '}') depth--
    if (depth > maxNesting)
      throw new UserError(`the model configuration nests more than ${maxNesting} deep; the file is damaged`)
  }
}

/** The JSON of a configuration, which Python may have written with NaN and Infinity: they become null. */
export function parseConfig(text: string): unknown {
  checkNesting(text)
  try {
    return JSON.parse(text)
  } catch (error) {
    // Python writes Infinity and NaN, which JSON lacks.
    const plain = text.replace(/(?<=[:[,]\s*)-?(?:Infinity|NaN)(?=\s*[,\]}])/g, 'null')
    try {
      return JSON.parse(plain)
    } catch {
      throw new UserError(
        `the model configuration is no valid JSON (${(error as Error).message}); save or fetch the file again`,
      )
    }
  }
}

/** Whether the file holds the initializer as it is, so that it can be set. */
export const isStored = ({ locations }: BuiltModel, initializer: string): boolean =>
  locations.get(initializer)?.weight.locator !== undefined

/** The arrays of the file that `edits` change, with what they hold then. */
export const changedArrays = (built: BuiltModel, edits: readonly Edit[]): Map<Dataset, Uint8Array> =>
  new Map([...changedWeights(built, edits)].map(([weight, bytes]) => [datasetOf(weight), bytes]))
