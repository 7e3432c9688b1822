/**
 * Writes pictures of the embedded generator to an .npz file, for training elsewhere (NumPy, PyTorch).
 *
 *   npx jiti scripts/export-shapes.ts shapes:count=12000,seed=1 train.npz
 *
 * The file holds `x`, uint8, N x C x S x S, and `labels`, int64, N.
 */

import { encodeNpz } from '../src/data/npz-write.ts'
import { parseShapesSpec, shapes } from '../src/data/shapes.ts'
import { Tensor } from '../src/ir/tensor.ts'
import { nodeFiles } from '../src/platform/node.ts'

const [spec, path] = process.argv.slice(2)
if (!spec || !path) {
  console.error('usage: npx jiti scripts/export-shapes.ts shapes:count=12000,seed=1 out.npz')
  process.exit(2)
}
const dataset = shapes(parseShapesSpec(spec))
for await (const { inputs, labels } of dataset.batches({ batchSize: dataset.size })) {
  const arrays = new Map([...inputs, ['labels', Tensor.int64([dataset.size], labels!)] as const])
  await nodeFiles.writeAtomic(path, [encodeNpz(arrays)])
}
console.log(`${path}: ${dataset.name}, ${dataset.size} pictures`)
