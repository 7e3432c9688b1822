import type { Node, TensorType } from '../ir/model.ts'
import type { Sharing } from '../ops/define-noise.ts'

export type { Sharing } from '../ops/define-noise.ts'

/**
 * A stochastic regulariser found in a graph: an operator (Dropout) or the few nodes that spell one out.
 * All are `output = m * input` with E[m] = 1, except `additive` (output = input + n) and `alpha`.
 */
export interface Noise {
  /** The value that it perturbs and the value that it makes of it. Replacing `output` by `input` switches it off. */
  readonly input: string
  readonly output: string
  /** Identifies it: key of the node that writes `output`. */
  readonly key: string
  readonly label: string
  /** Id of the noise unit: `dropout`, `gaussian`, `uout`, `spatial-dropout`, `drop-path`, `alpha-dropout`, `additive-gaussian`. */
  readonly kind: string
  /** The nodes that make it up, in graph order; the last writes `output`. */
  readonly nodes: readonly Node[]
  /** Its parameter as users know it, and its value if the file fixes it. */
  readonly parameter: { readonly name: 'ratio' | 'sigma' | 'beta'; readonly value: number | undefined }
  /** s2 = Var[m]; for additive noise the variance added. Undefined if the file does not fix the parameter. */
  readonly relativeVariance: number | undefined
  readonly sharing: Sharing
  /** Axes of the input along which one draw is shared: [2, 3] for spatial dropout on N x C x H x W. */
  readonly sharedAxes: readonly number[]
  /** When it acts in the file as it stands: `always`, `never`, or as an input of the graph decides (`dynamic`). */
  readonly active: 'always' | 'never' | 'dynamic'
}

/** A BatchNormalization with running statistics. */
export interface Norm {
  readonly node: Node
  readonly key: string
  readonly label: string
  /** C per-channel vectors; undefined where the graph computes them instead of storing them. */
  readonly scale: Float64Array | undefined
  readonly shift: Float64Array | undefined
  readonly mean: Float64Array | undefined
  readonly variance: Float64Array | undefined
  readonly epsilon: number
  /** The file as it stands normalises by batch statistics (training_mode = 1, or old forms without stored statistics). */
  readonly batchStatistics: boolean
}

/** A node inside a subgraph (If, Loop, Scan), where it can be found but not measured. */
export interface Nested {
  readonly node: Node
  readonly label: string
  /** Labels of the enclosing nodes, outermost first. */
  readonly inside: readonly string[]
}

/** How what leaves a noise arrives at a BatchNormalization. */
export interface NoisePath {
  readonly noise: Noise
  readonly norm: Norm
  /**
   * `direct`: only nodes that move elements (reshape, transpose); `linear`: also linear ones (convolution, add, average
   * pool); `nonlinear`: an activation, max pool or another BatchNormalization lies between.
   */
  readonly through: 'direct' | 'linear' | 'nonlinear'
  /** The shortest such way, noise and norm not included, in order. */
  readonly steps: readonly Node[]
  /** Of `steps`: the first that is not linear, if any. */
  readonly firstNonlinear?: Node | undefined
}

/** Closed-form prediction of what a BatchNormalization will see with the noise off. */
export interface Prediction {
  readonly norm: Norm
  /** Eval-mode variance over stored variance, C values (D of theory; below 1 means that eval sees less). */
  readonly channelRatio: Float64Array
  /** Channel mean of the eval variance over channel mean of the stored variance. */
  readonly layerRatio: number
  /** Nine of ten layers are measured within. */
  readonly layerInterval: readonly [number, number]
  /** Whether more than what was stored at the layer itself went into it. */
  readonly isRough: boolean
  /** What had to be assumed, in words; empty if the formula is exact. */
  readonly assumptions: readonly string[]
}

/** Why no prediction was possible for a norm that noise reaches. */
export interface Unpredicted {
  readonly norm: Norm
  readonly reason: string
}

/** What stands nested inside the subgraphs of a model. */
export interface NestedFacts {
  readonly norms: readonly Nested[]
  readonly noises: readonly Nested[]
}

/** Everything that analysis says of a model; each part is computed when first asked for. */
export interface Facts {
  /** The noises of the main graph, in its order. */
  readonly noises: readonly Noise[]
  /** The BatchNormalizations of the main graph, in its order. */
  readonly norms: readonly Norm[]
  readonly nested: NestedFacts
  /** One entry for every noise and every norm that it reaches, by norm and then by noise, in graph order. */
  readonly paths: readonly NoisePath[]
  /** The same by key of the norm; every norm has an entry. */
  readonly pathsTo: ReadonlyMap<string, readonly NoisePath[]>
  /** By key of the norm, for every norm that a noise reaches. */
  readonly predictions: ReadonlyMap<string, Prediction | Unpredicted>
  /** Element types and shapes of the values of the main graph, as far as they can be told. */
  readonly types: ReadonlyMap<string, TensorType>
}
