import { GraphBuilder } from '../ir/builder.ts'
import { UserError } from '../ir/errors.ts'
import type { Dim, LocalFunction, Model, Node } from '../ir/model.ts'
import { seedOf } from '../ir/random.ts'
import { elementCount, Tensor } from '../ir/tensor.ts'
import { knownTensor } from '../ops/constant.ts'
import { type Known, opOf } from '../ops/index.ts'
import type { Initializer } from './initializers.ts'

/** A part of a network: maps a value to a value. Its own properties that are layers are its parts, by name. */
export interface Layer {
  forward(x: Value): Value
}

/** What a value can go through: a layer, or a function without parameters such as `relu`. */
export type Step = Layer | ((x: Value) => Value)

/** A value of a network under construction. */
export class Value {
  readonly name: string
  /** The first axis counts samples and is named 'N'; then channels and positions. */
  readonly shape: readonly Dim[]
  /** The graph that it belongs to. */
  readonly graph: Construction

  constructor(name: string, shape: readonly Dim[], graph: Construction) {
    this.name = name
    this.shape = shape
    this.graph = graph
  }

  /** The value after the steps, one after the other. */
  through(...steps: readonly Step[]): Value {
    return steps.reduce<Value>((x, step) => this.graph.enter(step, x), this)
  }

  /** Size of an axis of one sample, counted from 1 (channels). Throws a UserError if it is not a number. */
  size(axis: number): number {
    const size = this.shape[axis]
    if (typeof size !== 'number')
      throw new UserError(`axis ${axis} of '${this.name}' ${shapeText(this.shape)} has no fixed size`)
    return size
  }
}

/** The place of a layer in the network, where it writes its nodes and parameters. */
export interface Place {
  readonly build: GraphBuilder
  /** Whole number of its own, for a generator of random numbers. */
  readonly seed: number
  /** Name of the layer's parameter; made on first use, shared if the layer is used again. */
  parameter(name: string, dims: readonly number[], initial: Initializer): string
  /** The same for a running statistic, which no gradient changes. */
  statistic(name: string, dims: readonly number[], initial: Initializer): string
  /** Gives the model a function that nodes call. */
  define(definition: LocalFunction): void
}

export const shapeText = (shape: readonly Dim[]): string => `[${shape.map((dim) => dim ?? '?').join(', ')}]`

/** Nodes and parameters of a network while its layers are applied. */
export class Construction {
  readonly build: GraphBuilder
  readonly parameters: string[] = []
  readonly statistics: string[] = []
  readonly functions = new Map<string, LocalFunction>()
  readonly #seed: number
  readonly #known = new Map<string, Known>()
  readonly #paths = new Map<object, string>()
  /** Names of values. */
  readonly #used = new Set<string>()
  /** Paths of layers that have a name of their own. */
  readonly #reserved = new Set<string>()
  #scope = ''
  #functionPath: string | undefined

  constructor(empty: Model, seed: number) {
    this.build = new GraphBuilder(empty)
    this.#seed = seed
  }

  input(name: string, sampleShape: readonly number[]): Value {
    const shape = ['N', ...sampleShape]
    this.#used.add(name)
    this.#known.set(name, { dataType: 'float32', shape })
    return new Value(name, shape, this)
  }

  /** Names the parts of `layer` as PyTorch names its modules: by property, and by position in a list. */
  name(layer: object, path: string): void {
    if (this.#paths.has(layer)) return
    this.#paths.set(layer, path)
    this.#reserved.add(path)
    for (const [key, part] of Object.entries(layer))
      if (isLayer(part)) this.name(part, joined(path, key))
      else if (Array.isArray(part))
        part.forEach((item, i) => {
          if (isLayer(item)) this.name(item, joined(joined(path, key), String(i)))
        })
  }

  /** `x` after a step. A function has no name of its own: `key` gives it one within the layer around. */
  enter(step: Step, x: Value, key?: string): Value {
    const outer = this.#scope
    if (typeof step === 'function') this.#functionPath = key && joined(outer, key)
    else this.#scope = this.#paths.get(step) ?? outer
    try {
      return typeof step === 'function' ? step(x) : step.forward(x)
    } finally {
      this.#functionPath = undefined
      this.#scope = outer
    }
  }

  /** What `write` makes of its inputs, as a part of the network: `layer` if it has a name, else one named after `kind`. */
  place(layer: Layer | undefined, kind: string, write: (place: Place) => string): Value {
    let path = layer ? this.#paths.get(layer) : this.#functionPath
    if (!path) {
      path = firstFree(joined(this.#scope, kind), (name) => this.#used.has(name) || this.#reserved.has(name))
      if (layer) this.#paths.set(layer, path)
    }
    const first = this.build.nodes.length
    const made = (list: string[]) => (name: string, dims: readonly number[], initial: Initializer) =>
      this.#tensor(list, joined(path, name), dims, initial)
    const result = write({
      build: this.build,
      seed: seedOf(this.#seed, path),
      parameter: made(this.parameters),
      statistic: made(this.statistics),
      define: (definition) => this.functions.set(definition.name, definition),
    })
    return this.#finish(path, first, result)
  }

  #tensor(list: string[], name: string, dims: readonly number[], initial: Initializer): string {
    const known = this.build.initializers.get(name)
    if (!known) {
      list.push(name)
      // Drawn when first read: whoever counts or replaces parameters does not wait for them.
      const bytes = () => Tensor.float32(dims, initial(dims, seedOf(this.#seed, name))).bytes
      this.build.initializers.set(name, new Tensor('float32', dims, bytes))
    } else if (!list.includes(name) || known.dims.join() !== dims.join())
      throw new UserError(
        `'${name}' has shape ${shapeText(known.dims)} and cannot be used again as ${shapeText(dims)}; give the second layer parameters of its own`,
      )
    return name
  }

  /** Labels the nodes from `first` on and names the result after the place. */
  #finish(path: string, first: number, result: string): Value {
    const { nodes } = this.build
    const name = firstFree(path, (name) => this.#used.has(name))
    this.#used.add(name)
    const at = nodes.findLastIndex((node, i) => i >= first && node.outputs[0] === result)
    if (at < 0) throw new UserError(`'${path}' made no value of its input`)
    for (let i = first; i < nodes.length; i++) {
      const node = nodes[i]!
      const origin = { label: path }
      nodes[i] =
        i === at
          ? { ...node, name, outputs: [name, ...node.outputs.slice(1)], origin }
          : { ...node, name: `${name}/${node.name}`, origin }
      this.#infer(nodes[i]!, path)
    }
    return new Value(name, this.#known.get(name)!.shape!, this)
  }

  #infer(node: Node, path: string): void {
    const inputs = node.inputs.map((input) => {
      const tensor = this.build.initializers.get(input)
      return tensor ? knownTensor(tensor) : (this.#known.get(input) ?? {})
    })
    const outputs = opOf(node).inferTypes({ node, opset: this.build.opset, inputs, inferGraph: () => [] })
    const shape = outputs[0]?.shape
    if (!shape?.every((dim) => typeof dim === 'string' || (dim !== undefined && dim > 0)))
      throw new UserError(
        `'${path}' cannot take a value of shape ${inputs.map((input) => shapeText(input.shape ?? [])).join(', ')}: its result would have shape ${shapeText(shape ?? [])}; check kernel, stride and padding against the size of the input`,
      )
    node.outputs.forEach((output, i) => {
      if (output) this.#known.set(output, outputs[i] ?? {})
    })
  }
}

function firstFree(path: string, isTaken: (name: string) => boolean): string {
  for (let n = 0; ; n++) {
    const name = n === 0 ? path : `${path}_${n}`
    if (!isTaken(name)) return name
  }
}

const joined = (path: string, key: string) => (path === '' ? key : `${path}.${key}`)

const isLayer = (value: unknown): value is Layer =>
  typeof value === 'object' && value !== null && typeof (value as Layer).forward === 'function'

/** A layer that writes nodes and parameters of its own. `kind` names it where nothing else does. */
export function defineLayer(kind: string, write: (place: Place, x: Value) => string): Layer {
  const layer: Layer = {
    forward: (x) => x.graph.place(layer, kind, (place) => write(place, x)),
  }
  return layer
}

/** A function without parameters. */
export const defineFunction =
  (kind: string, write: (build: GraphBuilder, x: Value) => string) =>
  (x: Value): Value =>
    x.graph.place(undefined, kind, ({ build }) => write(build, x))

/** Number of elements of one sample. Throws a UserError if an axis has no fixed size. */
export const sampleSize = (x: Value): number =>
  elementCount(x.shape.slice(1).map((_, axis) => x.size(axis + 1)))
