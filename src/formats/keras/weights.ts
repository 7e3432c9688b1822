import type { DataType } from '../../ir/tensor.ts'
import type { Layer } from './topology.ts'

/** One array of a layer, as its file stores it. */
export interface StoredWeight {
  /** What the file calls it, for messages. */
  readonly name: string
  readonly dataType: DataType
  readonly dims: readonly number[]
  /** Row-major, little-endian. Called when the contents are first needed; `into` is memory that may hold them. */
  read(into?: Uint8Array): Uint8Array
  /** Says to the file's own writer where it lies. */
  readonly locator: unknown
}

/** One array that a layer has, in the order in which Keras makes them. */
export interface WeightSpec {
  readonly name: string
  /** False for what training does not change by gradients: files may list these last (default true). */
  readonly trainable?: boolean
  /** True for a whole number, which nothing that a model computes depends on. */
  readonly isCount?: boolean
}

/** Finds the arrays of layers in a file. */
export interface WeightSource {
  /** The arrays of `layer` in the order of `expected`. Throws a UserError if the file does not hold them. */
  of(layer: Layer, expected: readonly WeightSpec[]): readonly StoredWeight[]
}
