import { UserError } from '../../ir/errors.ts'
import { checkNesting } from '../keras/read-keras.ts'

export type JsonObject = Readonly<Record<string, unknown>>

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** How the numbers of a weight are packed: value = scale * packed + min, or half precision. */
export interface Quantization {
  readonly dataType: 'uint8' | 'uint16' | 'float16'
  readonly scale: number
  readonly min: number
}

/** One weight, as the manifest declares it. */
export interface WeightSpec {
  readonly name: string
  readonly dims: readonly number[]
  /** What it is once unpacked. */
  readonly dataType: 'float32' | 'int32' | 'bool' | 'string' | 'complex64'
  readonly quantization: Quantization | undefined
  /** Which group of the manifest, and which weight of that. */
  readonly group: number
  readonly index: number
}

/** What a model.json says. */
export interface ModelJson {
  /** A network of Keras layers, or a TensorFlow graph made for inference. */
  readonly kind: 'layers' | 'graph'
  readonly topology: JsonObject
  /** In the order of the shards' bytes. */
  readonly weights: readonly WeightSpec[]
  /** Paths relative to the folder of the model, in order. */
  readonly shards: readonly string[]
  readonly producer: string
}

/** Strings of V8 hold no more. */
const maxBytes = 2 ** 29 - 24
const maxRank = 32

/**
 * Reads the text of a model.json. Files of old versions state no `format`, and hold the layers in
 * `modelTopology.model_config`. Throws a UserError that says where it is wrong.
 */
export function readModelJson(bytes: Uint8Array): ModelJson {
  const json = parsed(bytes)
  const { modelTopology: topology, weightsManifest: manifest } = json
  if (!isObject(topology))
    throw new UserError(
      'the model.json has no modelTopology, only weights; give the file that was saved with the model',
    )
  const isGraph = json.format === 'graph-model' || Array.isArray(topology.node)
  const groups = Array.isArray(manifest) ? (manifest as unknown[]) : []
  const weights: WeightSpec[] = []
  const shards = new Set<string>()
  for (const [group, entry] of groups.entries()) {
    if (!isObject(entry) || !Array.isArray(entry.weights) || !Array.isArray(entry.paths))
      throw new UserError(
        `group ${group} of the weights manifest does not list weights and paths; convert the model again`,
      )
    for (const [index, spec] of entry.weights.entries()) weights.push(weightSpec(spec, group, index))
    for (const path of entry.paths) {
      if (typeof path !== 'string')
        throw new UserError(`group ${group} of the weights manifest lists a path that is no text`)
      if (shards.has(path))
        throw new UserError(`the weights manifest lists the shard '${path}' twice; convert the model again`)
      shards.add(path)
    }
  }
  const producers = [json.generatedBy, json.convertedBy].filter((by) => typeof by === 'string')
  return {
    kind: isGraph ? 'graph' : 'layers',
    topology,
    weights,
    shards: [...shards],
    producer: producers.join(', '),
  }
}

function parsed(bytes: Uint8Array): JsonObject {
  if (bytes.length > maxBytes)
    throw new UserError(
      `the model.json has ${bytes.length} bytes, expected at most ${maxBytes}; no network is like this`,
    )
  let json: unknown
  const text = new TextDecoder().decode(bytes)
  checkNesting(text)
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new UserError(
      `the model.json is no valid JSON (${(error as Error).message}); it may be truncated, or written with NaN: save it again`,
    )
  }
  if (!isObject(json)) throw new UserError('the model.json holds no object; save the model again')
  return json
}

const dataTypes = ['float32', 'int32', 'bool', 'string', 'complex64'] as const

const oneOf = <const C extends string>(choices: readonly C[], value: unknown): C | undefined =>
  choices.find((choice) => choice === value)

function weightSpec(spec: unknown, group: number, index: number): WeightSpec {
  const place = `weight ${index} of group ${group} in the weights manifest`
  if (!isObject(spec) || typeof spec.name !== 'string')
    throw new UserError(`${place} has no name; convert the model again`)
  const owner = `weight '${spec.name}'`
  const { shape } = spec
  const isDim = (dim: unknown) => Number.isSafeInteger(dim) && (dim as number) >= 0
  if (!Array.isArray(shape) || shape.length > maxRank || !shape.every(isDim))
    throw new UserError(
      `${owner} has the shape ${shown(shape)}, expected a list of whole numbers; convert the model again`,
    )
  const dataType = oneOf(dataTypes, spec.dtype)
  if (!dataType)
    throw new UserError(
      `${owner} is of type ${shown(spec.dtype)}, expected ${dataTypes.join(', ')}; convert the model again`,
    )
  const quantization = spec.quantization == null ? undefined : quantizationOf(spec.quantization, owner)
  if (quantization && dataType !== 'float32' && (dataType !== 'int32' || quantization.dataType === 'float16'))
    throw new UserError(
      `${owner} of type ${dataType} is quantised to ${quantization.dataType}, which TensorFlow.js does not do; convert the model again`,
    )
  return { name: spec.name, dims: shape as number[], dataType, quantization, group, index }
}

function quantizationOf(stated: unknown, owner: string): Quantization {
  const { dtype, scale, min } = isObject(stated) ? stated : {}
  const dataType = oneOf(['uint8', 'uint16', 'float16'], dtype)
  if (!dataType)
    throw new UserError(
      `${owner} is quantised to ${shown(dtype)}, expected uint8, uint16 or float16; convert the model again`,
    )
  if (dataType === 'float16') return { dataType, scale: 1, min: 0 }
  if (typeof scale !== 'number' || typeof min !== 'number')
    throw new UserError(
      `${owner} is quantised to ${dataType} without scale and min, which tell its values; convert the model again`,
    )
  return { dataType, scale, min }
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 80 ? `${text.slice(0, 80)}...` : text
}
