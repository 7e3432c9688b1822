import type { Dim } from '../../../ir/model.ts'
import type { Config } from '../config.ts'
import type { LayerBuilder, LayerValue } from '../layer-builder.ts'
import type { Layer } from '../topology.ts'
import type { StoredWeight, WeightSpec } from '../weights.ts'

/** One application of a layer, to be written as nodes. */
export interface LayerCall {
  readonly build: LayerBuilder
  readonly layer: Layer
  readonly config: Config
  readonly inputs: readonly LayerValue[]
  /** Tensors given by keyword (`initial_state`), by that keyword. */
  readonly keywordInputs: ReadonlyMap<string, readonly LayerValue[]>
  /** Arguments by keyword as the file states them, but tensors. */
  readonly kwargs: ReadonlyMap<string, unknown>
  /** Arguments as the file states them, tensors replaced by their values. */
  readonly args: readonly unknown[]
  /** The layer's array of that name. */
  weight(name: string): StoredWeight
  /** Applies a layer that this one wraps; `weight` finds its arrays. */
  apply(
    inner: Layer,
    inputs: readonly LayerValue[],
    weight: (name: string) => StoredWeight,
  ): readonly LayerValue[]
  /** Keeps the layer as a node that nothing looks into, and notes why; its output is assumed to be of `shape`. */
  opaque(reason: string, shape?: readonly Dim[]): LayerValue
}

/** What one or more classes of Keras layers mean, in ONNX's terms. */
export interface LayerDefinition {
  readonly classNames: readonly string[]
  /**
   * The arrays that a layer of this class has, in Keras' order; none if absent. `specsOf` tells those of a layer that
   * it wraps.
   */
  weights?(
    config: Config,
    layer: Layer,
    specsOf: (inner: Layer) => readonly WeightSpec[],
  ): readonly WeightSpec[]
  /** Whether the mask of its first input holds for its output (default: it ends here). */
  readonly keepsMask?: boolean
  /** Writes the nodes of one application and returns what they make. */
  emit(call: LayerCall): LayerValue | readonly LayerValue[]
}

export const defineLayer = (definition: LayerDefinition): LayerDefinition => definition

/** `names`, of which the last is the bias that the layer has unless `use_bias` says no. */
export const withBias =
  (...names: readonly string[]) =>
  (config: Config): WeightSpec[] =>
    [...names, ...(config.flag('use_bias', true) ? ['bias'] : [])].map((name) => ({ name }))

/** The array, if its shape is `dims` (sizes that are not known fit). Throws a UserError if it is not. */
export function expectDims(call: LayerCall, weight: StoredWeight, dims: readonly Dim[]): StoredWeight {
  const fits =
    weight.dims.length === dims.length &&
    weight.dims.every((size, i) => typeof dims[i] !== 'number' || dims[i] === size)
  if (fits) return weight
  const expected = dims.map((dim) => dim ?? '?').join(', ')
  return call.build.refuse(
    `its array '${weight.name}' has shape [${weight.dims.join(', ')}], expected [${expected}]; the weights may belong to another model`,
  )
}
