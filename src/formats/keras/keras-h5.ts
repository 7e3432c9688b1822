import { UserError } from '../../ir/errors.ts'
import { allOf } from '../../platform/parts.ts'
import { defineFormat } from '../define-format.ts'
import { configPatches, patched } from './edit-config.ts'
import { Hdf5File, isHdf5 } from './hdf5.ts'
import { manyTexts, namedWeights } from './named-weights.ts'
import { changedArrays, isStored, readKeras } from './read-keras.ts'

/**
 * Keras' older format: one HDF5 file with the layers as JSON in an attribute and their arrays in groups.
 * Source: keras.src.legacy.saving.legacy_h5_format.
 */
export const kerasH5 = defineFormat({
  id: 'keras-h5',
  name: 'Keras .h5',
  support: {
    reads: 'whole models of Keras 1, 2 and 3; Sequential and Functional models',
    runs: 'all but custom and Lambda layers',
    repairs: 'running statistics; layers of noise replaced or moved',
    writes: 'the arrays and layers that changed, all else as it was',
  },
  readsParts: true,
  detect: isHdf5,
  async read(source, path) {
    const file = await Hdf5File.open(source)
    try {
      const [config] = file.texts('/', 'model_config') ?? []
      if (config === undefined) throw withoutModel(file)
      const [version] = file.texts('/', 'keras_version') ?? file.texts('model_weights', 'keras_version') ?? []
      const built = readKeras(config, version, file, namedWeights, 'keras-h5')
      return {
        path,
        sizeBytes: source.sizeBytes,
        model: built.model,
        notes: built.notes,
        companions: [],
        stores: (initializer) => isStored(built, initializer),
        write(edits) {
          if (edits.length === 0) return [allOf(source)]
          const layers = new TextEncoder().encode(config)
          const patches = configPatches(layers, [], built.model, edits, 'keras2')
          const texts =
            patches.length === 0 ? [] : [['model_config', textOf(patched(layers, patches))] as const]
          return [file.write(changedArrays(built, edits), new Map(texts))]
        },
      }
    } finally {
      file.close()
    }
  },
})

function textOf(chunks: readonly Uint8Array[]): string {
  const decoder = new TextDecoder()
  return chunks.map((chunk) => decoder.decode(chunk, { stream: true })).join('')
}

function withoutModel(file: Hdf5File): UserError {
  const { groups } = file.children('/')
  const isWeights =
    manyTexts(file, '/', 'layer_names').length > 0 ||
    groups.includes('layers') ||
    groups.includes('_layer_checkpoint_dependencies')
  return new UserError(
    isWeights
      ? 'the file holds the weights of a Keras model but not its layers; load them into the model in Python and save all of it: model.load_weights(...), model.save("model.keras")'
      : 'this HDF5 file holds no Keras model (it has no attribute model_config); give a file written by model.save(...)',
  )
}
