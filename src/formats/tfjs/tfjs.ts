import { type Edit, noiseEdits } from '../../ir/edit.ts'
import { UserError } from '../../ir/errors.ts'
import { defineFormat } from '../define-format.ts'
import { changedWeights } from '../keras/changed-weights.ts'
import { readGraphModel } from './graph-model.ts'
import { readLayersModel } from './layers-model.ts'
import { readModelJson } from './model-json.ts'
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
    repairs: 'running statistics',
    writes: 'the shards that changed, quantised as before',
  },
  detect: (bytes) => {
    const first = bytes.find((byte) => byte > 0x20 && ![0xef, 0xbb, 0xbf].includes(byte))
    return first === 0x7b && /"(modelTopology|weightsManifest)"\s*:/.test(new TextDecoder().decode(bytes))
  },
  async read(bytes, path, files) {
    const { topology, shards, weights: specs, producer, kind } = readModelJson(bytes)
    const weights = await ShardedWeights.open(files, path, shards, specs)
    const read = kind === 'layers' ? readLayersModel : readGraphModel
    const built = read(topology, weights, producer)
    const changed = (edits: readonly Edit[]) => {
      if (noiseEdits(edits).length > 0)
        throw new UserError(
          'noise cannot be replaced in a TensorFlow.js file yet; change the layers where the model is made',
        )
      const changes = [...changedWeights(built, edits)].map(
        ([{ locator }, contents]): WeightChange => ({ weight: locator as PlacedWeight, contents }),
      )
      return writeWeights(bytes, weights, changes)
    }
    return {
      path,
      sizeBytes: bytes.length,
      bytes,
      model: built.model,
      notes: built.notes,
      companions: weights.shards.map(({ path, name }) => ({ path, name })),
      write: (edits) => changed(edits).chunks,
      writeCompanions: (edits) => changed(edits).companions,
    }
  },
})
