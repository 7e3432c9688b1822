import { attributesOf } from '../../ir/builder.ts'
import { UserError } from '../../ir/errors.ts'
import type { Attribute, Dim, Node } from '../../ir/model.ts'
import { byteLengthOf, type DataType, Tensor } from '../../ir/tensor.ts'
import { inverseOf, permuted } from './permute.ts'
import type { Layer } from './topology.ts'
import type { StoredWeight } from './weights.ts'

/** A tensor that a layer takes or gives. */
export interface LayerValue {
  /** Name of the graph's value that holds it. */
  readonly name: string
  /** As Keras sees it, samples first: sizes, names (`N`), or undefined. */
  readonly shape: readonly Dim[]
  /** True if the shape is only assumed, behind a layer that is not understood. */
  readonly assumed?: boolean | undefined
  readonly dataType: DataType
  /**
   * True if the graph's value has what Keras sees as the last axis as its second (N x C x H x W for Keras'
   * N x H x W x C), which is where ONNX wants channels. Never true below rank 3.
   */
  readonly channelsSecond: boolean
  /** Boolean N x T value that tells which steps count, if a Masking or Embedding made one. */
  readonly mask?: string | undefined
}

/** An array of the file that an initializer holds, its axes in another order if `axes` says so. */
export interface Location {
  readonly weight: StoredWeight
  readonly axes: readonly number[] | undefined
}

type OpAttributes = Readonly<
  Record<string, number | string | readonly number[] | Tensor | Attribute | undefined>
>

/** Version of ONNX's own operator set that models read from Keras are written in. */
export const kerasOpset = 17

/** Operator sets that models read from Keras are written in. */
export const kerasOpsets: ReadonlyMap<string, number> = new Map([
  ['', kerasOpset],
  ['keras', 1],
])

/** The domain of layers that are known by name only. */
export const opaqueDomain = 'keras'

/**
 * Writes the nodes of layers. Axes are moved only where a layer needs another order than its input has, so that
 * between Conv, BatchNormalization and activations there is nothing.
 */
export class LayerBuilder {
  /** Version of Keras that wrote the model: 1, 2 or 3. */
  readonly kerasMajor: number
  /** What runs the file: TensorFlow.js differs from Keras in details. */
  readonly framework: 'keras' | 'tfjs'
  readonly nodes: Node[] = []
  readonly initializers = new Map<string, Tensor>()
  /** What could not be carried over, each with its layer. */
  readonly notes: string[] = []
  /** Where the initializers came from that hold an array of the file. */
  readonly locations = new Map<string, Location>()
  readonly #taken = new Set<string>()
  readonly #orders = new Map<string, string>()
  readonly #weights = new Map<string, string>()
  readonly #constants = new Map<string, string>()
  #layer: Layer | undefined

  constructor(kerasMajor: number, framework: 'keras' | 'tfjs' = 'keras') {
    this.kerasMajor = kerasMajor
    this.framework = framework
  }

  /** Nodes written from now on belong to `layer`. */
  enter(layer: Layer): void {
    this.#layer = layer
  }

  get path(): string {
    return this.#layer?.path ?? ''
  }

  /** `hint`, or that with a number behind if it is taken. */
  unique(hint: string): string {
    let name = hint
    for (let i = 1; this.#taken.has(name); i++) name = `${hint}_${i}`
    this.#taken.add(name)
    return name
  }

  /** Adds a node and returns its outputs, of which there are `outputs`. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: ReadonlyMap<string, Attribute>,
    { outputs = 1, domain = '' }: { outputs?: number; domain?: string } = {},
  ): string[] {
    const names = Array.from({ length: outputs }, () => this.unique(`${this.path}/${opType}`))
    const node: Node = {
      name: names[0] ?? opType,
      opType,
      domain,
      inputs,
      outputs: names,
      attributes,
      origin: { label: this.path },
    }
    this.nodes.push(node)
    return names
  }

  /** Adds a node with one output and returns that output's name. Plain numbers become int attributes. */
  op(opType: string, inputs: readonly string[], attributes: OpAttributes = {}): string {
    return this.node(opType, inputs, attributesOf(attributes))[0]!
  }

  /** An initializer; scalars and short lists of equal contents are written once. */
  constant(tensor: Tensor, hint = 'constant'): string {
    const small = tensor.size <= 16 && !tensor.strings
    const key = small ? `${tensor.dataType}[${tensor.dims}]${[...tensor.bytes]}` : ''
    const known = small ? this.#constants.get(key) : undefined
    if (known !== undefined) return known
    const name = this.unique(small ? hint : `${this.path}/${hint}`)
    this.initializers.set(name, tensor)
    if (small) this.#constants.set(key, name)
    return name
  }

  scalar(value: number, dataType: DataType = 'float32'): string {
    return this.constant(Tensor.of(dataType, [], [value]), 'scalar')
  }

  integers(values: readonly number[], hint = 'integers'): string {
    return this.constant(Tensor.int64([values.length], values), hint)
  }

  /**
   * An initializer with the contents of `weight`, its axes in the order `axes` (as they are if absent) and then of
   * shape `dims`. Applied twice, a layer shares it.
   */
  weight(
    weight: StoredWeight,
    { axes, dims }: { axes?: readonly number[]; dims?: readonly number[] } = {},
  ): string {
    const inOrder = axes?.every((axis, i) => axis === i) ?? true
    const key = `${weight.name}\n${inOrder ? '' : axes}\n${dims ?? ''}`
    const known = this.#weights.get(key)
    if (known !== undefined) return known
    const moved = inOrder ? weight.dims : axes!.map((axis) => weight.dims[axis]!)
    const tensor = new Tensor('float32', dims ?? moved, () => {
      if (inOrder) return asFloat32(weight)
      return permuted(asFloat32(weight, scratchOf(weight)), weight.dims, axes!, 'float32')
    })
    const name = this.unique(weight.name)
    this.initializers.set(name, tensor)
    this.#weights.set(key, name)
    this.locations.set(name, { weight, axes: inOrder ? undefined : axes })
    return name
  }

  /** Notes something that could not be carried over. */
  note(text: string): void {
    const note = `${this.path}: ${text}`
    if (!this.notes.includes(note)) this.notes.push(note)
  }

  /** Throws: the layer at hand cannot be read. */
  refuse(text: string): never {
    throw new UserError(`layer '${this.path}' (${this.#layer?.className}): ${text}`)
  }

  /** The graph's value with its axes in Keras' order. */
  inKerasOrder(value: LayerValue): string {
    if (!value.channelsSecond) return value.name
    const rank = value.shape.length
    return this.#moved(value.name, [0, ...range(2, rank), 1])
  }

  /** The graph's value with Keras' last axis second; below rank 3 they are the same. */
  withChannelsSecond(value: LayerValue): string {
    const rank = value.shape.length
    return value.channelsSecond || rank < 3
      ? value.name
      : this.#moved(value.name, [0, rank - 1, ...range(1, rank - 1)])
  }

  /** The graph's value in the order of `channelsSecond`. */
  ordered(value: LayerValue, channelsSecond: boolean): string {
    return channelsSecond ? this.withChannelsSecond(value) : this.inKerasOrder(value)
  }

  #moved(name: string, perm: readonly number[]): string {
    const key = `${name}\n${perm}`
    const known = this.#orders.get(key)
    if (known !== undefined) return known
    const moved = this.op('Transpose', [name], { perm })
    this.#orders.set(key, moved)
    this.#orders.set(`${moved}\n${inverseOf(perm)}`, name)
    return moved
  }

  /** The axis of the graph's value that Keras calls `axis` (negative ones count from the end). */
  axisOf(value: LayerValue, axis: number): number {
    const rank = value.shape.length
    const positive = axis < 0 ? axis + rank : axis
    if (!value.channelsSecond || positive === 0) return positive
    return positive === rank - 1 ? 1 : positive + 1
  }
}

/** Arrays up to this size are brought into the same memory before their axes are moved. */
const maxScratchBytes = 2 ** 26
let scratch: Uint8Array | undefined

/** Memory of the size of `weight`, used by the next one as well. */
function scratchOf({ dims, dataType }: StoredWeight): Uint8Array | undefined {
  const bytes = byteLengthOf(dataType, dims)
  if (bytes > maxScratchBytes) return undefined
  if (!scratch || scratch.length < bytes) scratch = new Uint8Array(bytes)
  return scratch.subarray(0, bytes)
}

/** Layers compute in float32, whatever their arrays are stored in. */
function asFloat32(weight: StoredWeight, into?: Uint8Array): Uint8Array {
  if (weight.dataType === 'float32') return weight.read(into)
  const stored = new Tensor(weight.dataType, weight.dims, weight.read())
  return Tensor.float32(weight.dims, stored.toNumbers()).bytes
}

export const range = (from: number, to: number): number[] =>
  Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
