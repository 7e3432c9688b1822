import { type Edit, tensorChanges } from '../../ir/edit.ts'
import { UserError } from '../../ir/errors.ts'
import { Tensor } from '../../ir/tensor.ts'
import type { BuiltModel } from './build-model.ts'
import { inverseOf, permuted } from './permute.ts'
import type { StoredWeight } from './weights.ts'

/** The arrays of the file that `edits` change, with what they hold then, in the array's own type and order of axes. */
export function changedWeights(
  { model, locations }: Pick<BuiltModel, 'model' | 'locations'>,
  edits: readonly Edit[],
): Map<StoredWeight, Uint8Array> {
  const changed = new Map<StoredWeight, Uint8Array>()
  for (const { value, tensor, split } of tensorChanges(model.graph, edits)) {
    const location = split ? undefined : locations.get(value)
    if (!location)
      throw new UserError(
        split
          ? `the applications of a layer share '${value}' and cannot be given different contents; give them the same`
          : `'${value}' is not stored in the file: Keras leaves it out where it is off`,
      )
    const { weight, axes } = location
    const stored = axes
      ? permuted(
          tensor.bytes,
          axes.map((axis) => weight.dims[axis]!),
          inverseOf(axes),
          tensor.dataType,
        )
      : tensor.bytes
    changed.set(weight, converted(stored, tensor, weight.dataType))
  }
  return changed
}

function converted(bytes: Uint8Array, { dataType, dims }: Tensor, to: Tensor['dataType']): Uint8Array {
  if (dataType === to) return bytes
  return Tensor.of(to, dims, new Tensor(dataType, dims, bytes).toNumbers()).bytes
}
