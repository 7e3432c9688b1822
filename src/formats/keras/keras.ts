import { UserError } from '../../ir/errors.ts'
import { Archive } from '../../platform/archive.ts'
import { allOf } from '../../platform/parts.ts'
import { isZip, memberNames } from '../../platform/zip.ts'
import { defineFormat } from '../define-format.ts'
import { concat } from '../onnx/wire.ts'
import { isObject } from './config.ts'
import { configPatches, patched } from './edit-config.ts'
import { groupWeights } from './group-weights.ts'
import { Hdf5File, isHdf5 } from './hdf5.ts'
import { changedArrays, isStored, readKeras } from './read-keras.ts'

const members = { config: 'config.json', metadata: 'metadata.json', weights: 'model.weights.h5' } as const

/**
 * Keras 3 (and TensorFlow 2.12 and later): a zip archive of the layers as JSON and an HDF5 file of their arrays.
 * Source: keras.src.saving.saving_lib.
 */
export const keras = defineFormat({
  id: 'keras',
  name: 'Keras .keras',
  support: {
    reads: 'Keras 3, TensorFlow 2.12 and up; Sequential and Functional models',
    runs: 'all but custom and Lambda layers',
    repairs: 'running statistics; layers of noise replaced or moved',
    writes: 'the arrays and layers that changed, every other byte as it was',
  },
  readsParts: true,
  detect(head, source) {
    if (!isZip(head)) return false
    const names = memberNames(source)
    return (
      names.includes(members.config) && (names.includes(members.weights) || names.includes(members.metadata))
    )
  },
  async read(source, path) {
    const archive = await Archive.open(source, 'the archive')
    if (!archive.entries.has(members.weights))
      throw new UserError(
        `the archive has no ${members.weights} (Keras may have kept them in several files or as .npz); save the model again with model.save("model.keras")`,
      )
    const config = archive.text(members.config)
    const weights = archive.parts(members.weights)
    if (!isHdf5(weights.read(0, Math.min(8, weights.sizeBytes))))
      throw new UserError(`its ${members.weights} is no HDF5 file; save or fetch it again`)
    const file = await Hdf5File.open(weights)
    try {
      const built = readKeras(config, versionOf(archive), file, groupWeights, 'keras')
      return {
        path,
        sizeBytes: source.sizeBytes,
        model: built.model,
        notes: built.notes,
        companions: [],
        stores: (initializer) => isStored(built, initializer),
        write(edits) {
          if (edits.length === 0) return [allOf(source)]
          const arrays = changedArrays(built, edits)
          const layers = archive.read(members.config)
          const patches = configPatches(layers, [], built.model, edits, 'keras3')
          return archive.write(
            new Map([
              ...(arrays.size > 0 ? [[members.weights, file.write(arrays)] as const] : []),
              ...(patches.length > 0 ? [[members.config, concat(patched(layers, patches))] as const] : []),
            ]),
          )
        },
      }
    } finally {
      file.close()
    }
  },
})

function versionOf(archive: Archive): string {
  const fallback = '3'
  if (!archive.entries.has(members.metadata)) return fallback
  let metadata: unknown
  try {
    metadata = JSON.parse(archive.text(members.metadata))
  } catch {
    throw new UserError(`its ${members.metadata} is no valid JSON; save or fetch the file again`)
  }
  const version = isObject(metadata) ? metadata.keras_version : undefined
  return typeof version === 'string' ? version : fallback
}
