import type { Edit } from '../../ir/edit.ts'
import { allOf } from '../../platform/parts.ts'
import { defineFormat } from '../define-format.ts'
import { changedWeights } from '../keras/changed-weights.ts'
import { configPatches } from '../keras/edit-config.ts'
import { readGraphModel } from './graph-model.ts'
import { readLayersModel } from './layers-model.ts'
import { isObject, readModelJson } from './model-json.ts'
import { type PlacedWeight, ShardedWeights } from './weights.ts'
import { type WeightChange, writeWeights } from './write.ts'

/**
 * TensorFlow.js: model.json, in which the network is described, and the shards of weights beside it.
 * Source: TensorFlow.js 4, `tfjs-core/src/io`.
 */
export const tfjs = defineFormat({
  id: 'tfjs',
  name: 'TensorFlow.js model.json',
  support: {
    reads: 'layers models with their weight shards; graph models where normalizations survive',
    runs: 'layers models, all but custom layers',
    repairs: 'running statistics; layers of noise replaced or moved',
    writes: 'the shards and layers that changed; weights that no longer fit their quantisation as float32',
  },
  detect(head, file) {
    const first = head.find((byte) => byte > 0x20 && ![0xef, 0xbb, 0xbf].includes(byte))
    return (
      first === 0x7b && /"(modelTopology|weightsManifest)"\s*:/.test(new TextDecoder().decode(allOf(file)))
    )
  },
  async read(file, path, files) {
    const bytes = allOf(file)
    const { topology, shards, weights: specs, producer, kind } = readModelJson(bytes)
    const weights = await ShardedWeights.open(files, path, shards, specs)
    const read = kind === 'layers' ? readLayersModel : readGraphModel
    const built = read(topology, weights, producer)
    const changed = (edits: readonly Edit[]) => {
      const changes = [...changedWeights(built, edits)].map(
        ([{ locator }, contents]): WeightChange => ({ weight: locator as PlacedWeight, contents }),
      )
      const root = isObject(topology.model_config) ? ['modelTopology', 'model_config'] : ['modelTopology']
      return writeWeights(bytes, weights, changes, configPatches(bytes, root, built.model, edits, 'tfjs'))
    }
    return {
      path,
      sizeBytes: bytes.length,
      model: built.model,
      notes: built.notes,
      companions: weights.shards.map(({ path, name }) => ({ path, name })),
      stores: (initializer) => built.locations.has(initializer),
      write: (edits) => changed(edits).chunks,
      writeCompanions: (edits) => changed(edits).companions,
    }
  },
})
