import { UserError } from '../../ir/errors.ts'
import type { Dataset, Hdf5File } from './hdf5.ts'
import type { Layer } from './topology.ts'
import type { StoredWeight, WeightSpec } from './weights.ts'

/** The array at `path` of the file, for a layer of that name. */
export function arrayOf(file: Hdf5File, path: string, layer: string): StoredWeight {
  const dataset = file.dataset(path)
  if (!dataset)
    throw new UserError(`the array '${path}' of layer '${layer}' is missing; save the model again with Keras`)
  const { dataType, dims } = dataset
  if (dataType === undefined)
    throw new UserError(
      `the array '${path}' of layer '${layer}' is of a type that varshift does not read, expected floating-point numbers`,
    )
  return { name: path, dataType, dims, read: (into) => file.read(dataset, into), locator: dataset }
}

/** Where the array lies. Throws a UserError for one that the file stores in another order. */
export function datasetOf(weight: StoredWeight): Dataset {
  if (weight.locator) return weight.locator as Dataset
  throw new UserError(
    `the array '${weight.name}' is stored as Keras 1 did and cannot be changed; save the model again with Keras 2 or 3`,
  )
}

/** The arrays, if there are as many as expected. */
export function checkCount(
  arrays: readonly StoredWeight[],
  layer: Layer,
  expected: readonly WeightSpec[],
): readonly StoredWeight[] {
  if (arrays.length === expected.length) return arrays
  throw new UserError(
    `layer '${layer.path}' (${layer.className}) has ${arrays.length} arrays in the file, expected ${expected.length} (${expected.map(({ name }) => name).join(', ')}); the weights may belong to another model`,
  )
}
