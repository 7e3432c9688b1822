import { UserError } from '../../ir/errors.ts'
import { type BuiltModel, buildModel } from '../keras/build-model.ts'
import { readTopology } from '../keras/topology.ts'
import type { StoredWeight, WeightSource, WeightSpec } from '../keras/weights.ts'
import type { JsonObject } from './model-json.ts'
import { type PlacedWeight, type ShardedWeights, storedWeight } from './weights.ts'

/** A model of Keras layers, as TensorFlow.js and its converter describe it. */
export function readLayersModel(topology: JsonObject, weights: ShardedWeights, producer: string): BuiltModel {
  const config = topology.model_config ?? topology
  const version = typeof topology.keras_version === 'string' ? topology.keras_version : ''
  const made = [version && `Keras ${version}`, producer].filter(Boolean).join(', ')
  return buildModel(readTopology(config), namedWeights(weights), {
    format: 'tfjs',
    producer: made,
    // Its layers compute what those of Keras 2 do, whatever made the file.
    kerasMajor: 2,
  })
}

/**
 * Finds weights by name, in whatever order the manifest lists them: `layer/kernel`, in recurrent layers also
 * `layer/cell/kernel`, in wrappers `layer/forward_inner/kernel`. Weights of models inside models carry the inner
 * layer's name alone, or the outer one's before it.
 */
function namedWeights(weights: ShardedWeights): WeightSource {
  const byLayer = new Map<string, { weight: PlacedWeight; rest: readonly string[] }[]>()
  for (const weight of weights.weights.values()) {
    const parts = weight.name.replace(/:0$/, '').split('/')
    for (let i = 0; i < parts.length - 1; i++) {
      const layer = parts.slice(0, i + 1).join('/')
      for (const key of new Set([layer, parts[i]!])) {
        const entry = { weight, rest: parts.slice(i + 1) }
        const known = byLayer.get(key)
        if (known) known.push(entry)
        else byLayer.set(key, [entry])
      }
    }
  }
  return {
    of(layer, expected) {
      if (expected.length === 0) return []
      const held = byLayer.get(layer.path) ?? byLayer.get(layer.name) ?? []
      const left = new Set(held)
      return expected.map((spec, i): StoredWeight => {
        const found = [...left].find(({ rest }) => isCalled(rest, spec, i))
        if (!found)
          throw new UserError(
            `layer '${layer.path}' (${layer.className}): its array '${spec.name}' is not in the weights manifest, which lists for it: ${held.map(({ weight }) => weight.name).join(', ') || 'nothing'}; convert the model again`,
          )
        left.delete(found)
        return storedWeight(found.weight, weights)
      })
    },
  }
}

/** Whether the parts of a name behind the layer's mean the array `spec`, the layer's `position`th. */
function isCalled(rest: readonly string[], spec: WeightSpec, position: number): boolean {
  const wanted = spec.name.split('/')
  const last = rest.at(-1)!
  // Converters of Keras 3 number the arrays of a layer.
  if (last !== wanted.at(-1)) return rest.length === 1 && last === String(position)
  return wanted.slice(0, -1).every((part) => rest.some((name) => name.startsWith(part)))
}
