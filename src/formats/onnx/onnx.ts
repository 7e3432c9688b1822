import { inlineFunctions } from '../../ir/inline-functions.ts'
import { isNoiseFunction } from '../../ops/noise-call.ts'
import { allOf } from '../../platform/parts.ts'
import { defineFormat } from '../define-format.ts'
import { FolderOfModel } from './external.ts'
import { readModel } from './read.ts'
import { applyToFile } from './write.ts'

/**
 * ONNX, IR version 3 and up, operator sets 7 and up, with external data and local functions.
 * Source: the ONNX specification.
 */
export const onnx = defineFormat({
  id: 'onnx',
  name: 'ONNX',
  support: {
    reads: 'opset 7 and up, external data, local functions',
    runs: 'yes',
    repairs: 'running statistics; noise replaced or moved',
    writes: 'the records that changed, every other byte as it was',
  },
  // A ModelProto starts with its IR version, or in some writers with another of its first fields.
  detect: (bytes) => bytes.length > 0 && [0x08, 0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42].includes(bytes[0]!),
  async read(file, path, files) {
    const bytes = allOf(file)
    const folder = new FolderOfModel(files, path)
    const { model: stored, locations } = readModel(bytes, folder)
    await folder.check()
    const model = inlineFunctions(stored, isNoiseFunction)
    return {
      path,
      sizeBytes: bytes.length,
      model,
      companions: folder.locations.map((name) => ({ path: folder.pathOf(name), name })),
      write: (edits) => applyToFile(bytes, model, locations, edits),
    }
  },
})
