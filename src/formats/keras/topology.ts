import { UserError } from '../../ir/errors.ts'
import { Config, isObject, type Json, type JsonObject } from './config.ts'
import { fromKeras1 } from './keras1.ts'

/** An output of one application of a layer. */
export interface TensorRef {
  readonly layer: string
  /** Which application of that layer. */
  readonly node: number
  /** Which of its outputs. */
  readonly output: number
}

/** One layer of a model, whatever version of Keras wrote it: classes and settings are spelled as Keras 3 does. */
export interface Layer {
  readonly className: string
  /** The class as the file states it, without its package. */
  readonly statedClass: string
  readonly name: string
  /** `outer/inner` for layers of models inside models. */
  readonly path: string
  readonly config: Config
  /** Where Keras took the class from: `keras.layers`, `keras.src.ops.numpy`, ... */
  readonly module: string | undefined
  /** Shape of its input when it was built, samples first, if the file tells. */
  readonly builtFor: readonly (number | null)[] | undefined
  /** The model that it is, if it is one. */
  readonly inner: Topology | undefined
}

/** A position among a layer's arguments: a tensor, or a value that the file states. */
export type Argument = TensorRef | Json

/** One application of a layer. */
export interface Call {
  readonly layer: Layer
  readonly index: number
  /** All tensors among `args`, in order. */
  readonly inputs: readonly TensorRef[]
  readonly args: readonly Argument[]
  readonly kwargs: ReadonlyMap<string, Argument | readonly TensorRef[]>
}

/** A model as a graph of layers, applied in an order in which every tensor exists before it is used. */
export interface Topology {
  readonly name: string
  readonly layers: readonly Layer[]
  readonly calls: readonly Call[]
  readonly inputs: readonly TensorRef[]
  readonly outputs: readonly TensorRef[]
}

const maxDepth = 32
const maxLayers = 100_000

export const isTensorRef = (value: unknown): value is TensorRef =>
  typeof value === 'object' && value !== null && refMark in value

const refMark = Symbol('tensor')
const ref = (layer: string, node: number, output: number): TensorRef =>
  ({ layer, node, output, [refMark]: true }) as TensorRef

/** Tells how to get a file that can be read. */
export const exportHint =
  'export it to ONNX: in Keras 3 model.export("model.onnx", format="onnx"), else python -m tf2onnx.convert --saved-model FOLDER --output model.onnx'

/**
 * Reads a model's configuration (`{ class_name, config }`) as Keras 1, 2 and 3 and TensorFlow.js write it.
 * Throws a UserError for what is no Sequential or Functional model.
 */
export function readTopology(json: unknown): Topology {
  return new TopologyReader().model(json, '', 0)
}

/** The layer that a wrapper (TimeDistributed, Bidirectional) holds in its setting `key`. */
export function innerLayer({ config, path }: Layer, key = 'layer'): Layer {
  return new TopologyReader().layer(config.raw(key), `${path}/`, 0, 0)
}

class TopologyReader {
  #layers = 0

  model(json: unknown, prefix: string, depth: number): Topology {
    if (depth > maxDepth) throw new UserError(`the model nests models more than ${maxDepth} deep`)
    if (!isObject(json)) throw new UserError('the model configuration is no object; the file may be damaged')
    const className = typeof json.class_name === 'string' ? json.class_name : ''
    const { config } = json
    if (Array.isArray(config)) return this.#sequential({ layers: config }, prefix, depth)
    if (!isObject(config))
      throw new UserError(`the configuration of model class '${className}' is missing; ${exportHint}`)
    if (!Array.isArray(config.layers))
      throw new UserError(
        `'${className || 'the model'}' is a subclassed model: the file holds its weights but not how its layers are connected, only its Python code knows; ${exportHint}`,
      )
    return config.input_layers === undefined || config.input_layers === null
      ? this.#sequential(config, prefix, depth, json)
      : this.#functional(config, prefix, depth)
  }

  layer(json: unknown, prefix: string, depth: number, position: number): Layer {
    if (++this.#layers > maxLayers) throw new UserError(`the model has more than ${maxLayers} layers`)
    if (!isObject(json) || typeof json.class_name !== 'string')
      throw new UserError(`layer ${position} of the model has no class name; the file may be damaged`)
    const stated = isObject(json.config) ? json.config : {}
    const name = firstText(json.name, stated.name) ?? `${json.class_name.toLowerCase()}_${position}`
    const path = prefix + name
    const isModel =
      Array.isArray(json.config) || (Array.isArray(stated.layers) && !wrappers.has(json.class_name))
    const build = isObject(json.build_config) ? json.build_config.input_shape : undefined
    // A custom class keeps its registered package out of its name: `Custom>Uout`.
    const bare = json.class_name.slice(json.class_name.lastIndexOf('>') + 1)
    const { className, config } = fromKeras1(bare, stated)
    return {
      className,
      statedClass: bare,
      name,
      path,
      config: new Config(config, path),
      module: firstText(json.module),
      builtFor: shapeOf(build) ?? shapeOf(stated.batch_input_shape) ?? shapeOf(stated.batch_shape),
      inner: isModel ? this.model(json, `${path}/`, depth + 1) : undefined,
    }
  }

  #sequential(config: JsonObject, prefix: string, depth: number, json?: JsonObject): Topology {
    const layers = (config.layers as readonly Json[]).map((layer, i) => this.layer(layer, prefix, depth, i))
    const [first] = layers
    if (!first) throw new UserError('the model has no layers')
    if (first.className !== 'InputLayer' && first.className !== 'Input') {
      const build = isObject(json?.build_config) ? json.build_config.input_shape : undefined
      const shape =
        first.builtFor ??
        sequentialInput(first) ??
        shapeOf(config.build_input_shape) ??
        shapeOf(build) ??
        (first.inner && innerInput(first.inner))
      if (!shape)
        throw new UserError(
          `the Sequential model '${firstText(config.name) ?? ''}' was saved before its input shape was known; call model.build(...) and save it again`,
        )
      const name = uniqueName(`${first.name}_input`, layers)
      const dtype = first.config.raw('input_dtype') ?? (first.className === 'Embedding' ? 'int32' : 'float32')
      layers.unshift({
        className: 'InputLayer',
        statedClass: 'InputLayer',
        name,
        path: prefix + name,
        config: new Config({ name, batch_shape: shape, dtype }, prefix + name),
        module: undefined,
        builtFor: shape,
        inner: undefined,
      })
    }
    checkNames(layers)
    const calls = layers.map((layer, i): Call => {
      const before = layers[i - 1]
      const inputs = before ? [ref(before.name, 0, 0)] : []
      return { layer, index: 0, inputs, args: inputs, kwargs: new Map() }
    })
    return {
      name: firstText(config.name) ?? 'sequential',
      layers,
      calls,
      inputs: [ref(layers[0]!.name, 0, 0)],
      outputs: [ref(layers.at(-1)!.name, 0, 0)],
    }
  }

  #functional(config: JsonObject, prefix: string, depth: number): Topology {
    const stated = config.layers as readonly Json[]
    const layers = stated.map((layer, i) => this.layer(layer, prefix, depth, i))
    checkNames(layers)
    const calls = stated.flatMap((json, i) => callsOf(layers[i]!, json as JsonObject))
    const known = new Map(layers.map((layer) => [layer.name, layer]))
    const counts = new Map<string, number>()
    for (const { layer } of calls) counts.set(layer.name, (counts.get(layer.name) ?? 0) + 1)
    const [inputs, outputs] = [refsOf(config.input_layers), refsOf(config.output_layers)]
    const isNew = stated.some((json) => isObject(json) && isObject(firstOf(json.inbound_nodes)))
    const highest = new Map<string, number>()
    for (const { layer, node } of [...calls.flatMap(tensorsOf), ...outputs])
      highest.set(layer, Math.max(highest.get(layer) ?? 0, node))
    /** How many applications of a model inside, made when it was built, are counted before those of this model. */
    const outsideOf = ({ layer }: TensorRef, count: number, isOutput: boolean): number => {
      const { inner, statedClass } = known.get(layer)!
      // Keras 3 counts them only where it lists the outputs, and not for a Sequential model.
      if (isNew) return inner && isOutput && statedClass !== 'Sequential' ? 1 : 0
      return Math.max(0, (highest.get(layer) ?? 0) + 1 - count)
    }
    const settle = (tensor: TensorRef, isOutput = false): TensorRef => {
      const { layer, node, output } = tensor
      const count = counts.get(layer) ?? 0
      if (!known.has(layer))
        throw new UserError(`the model refers to a layer '${layer}' that it does not have`)
      const own = count === 1 ? 0 : node - outsideOf(tensor, count, isOutput)
      if (own >= 0 && own < count) return own === node ? tensor : ref(layer, own, output)
      throw new UserError(
        `the model refers to application ${node} of layer '${layer}', which is applied ${count} times`,
      )
    }
    const settled = calls.map((call): Call => {
      const deep = (value: Argument): Argument =>
        isTensorRef(value) ? settle(value) : Array.isArray(value) ? value.map(deep as never) : value
      const kwargs = new Map([...call.kwargs].map(([key, value]) => [key, deep(value as Argument)] as const))
      return {
        ...call,
        inputs: call.inputs.map((tensor) => settle(tensor)),
        args: call.args.map(deep),
        kwargs,
      }
    })
    return {
      name: firstText(config.name) ?? 'model',
      layers,
      calls: inOrder(settled),
      inputs: inputs.map((tensor) => settle(tensor)),
      outputs: outputs.map((tensor) => settle(tensor, true)),
    }
  }
}

/** Layers whose config holds `layers` without being a model of Keras' Sequential or Functional kind. */
const wrappers = new Set(['StackedRNNCells', 'Merge'])

const firstText = (...values: readonly unknown[]): string | undefined =>
  values.find((value): value is string => typeof value === 'string' && value !== '')

function shapeOf(value: unknown): readonly (number | null)[] | undefined {
  const isDim = (dim: unknown) => dim === null || (Number.isSafeInteger(dim) && (dim as number) >= 0)
  return Array.isArray(value) && value.every(isDim) ? value : undefined
}

/** Early Keras states the first layer's input without the samples. */
function sequentialInput({ config }: Layer): readonly (number | null)[] | undefined {
  const shape = shapeOf(config.raw('input_shape'))
  if (shape) return [null, ...shape]
  const dim = config.raw('input_dim')
  if (typeof dim !== 'number') return undefined
  const length = config.raw('input_length')
  return typeof length === 'number' ? [null, length, dim] : [null, dim]
}

function innerInput(inner: Topology): readonly (number | null)[] | undefined {
  return inner.layers.find(({ name }) => name === inner.inputs[0]?.layer)?.builtFor
}

function uniqueName(name: string, layers: readonly Layer[]): string {
  let unique = name
  while (layers.some((layer) => layer.name === unique)) unique += '_'
  return unique
}

function checkNames(layers: readonly Layer[]): void {
  const names = new Set<string>()
  for (const { name } of layers) {
    if (names.has(name))
      throw new UserError(
        `two layers of one model are called '${name}'; give them different names and save again`,
      )
    names.add(name)
  }
}

/** `["dense", 0, 0]`, perhaps with settings behind. */
const asRef = (value: unknown): TensorRef | undefined =>
  Array.isArray(value) &&
  typeof value[0] === 'string' &&
  Number.isSafeInteger(value[1]) &&
  value[1] >= 0 &&
  Number.isSafeInteger(value[2]) &&
  value[2] >= 0
    ? ref(value[0], value[1], value[2])
    : undefined

/** References in a list, a dictionary, or alone; in their order. */
function refsOf(value: unknown): TensorRef[] {
  const single = asRef(value)
  if (single) return [single]
  if (Array.isArray(value)) return value.flatMap(refsOf)
  return isObject(value) ? Object.values(value).flatMap(refsOf) : []
}

function callsOf(layer: Layer, json: JsonObject): Call[] {
  const nodes = Array.isArray(json.inbound_nodes) ? json.inbound_nodes : []
  if (nodes.length === 0) return [{ layer, index: 0, inputs: [], args: [], kwargs: new Map() }]
  return nodes.map((node, index) => {
    const { args, kwargs } = isObject(node) ? newCall(node) : oldCall(node)
    return { layer, index, args, kwargs, inputs: tensorsIn(args) }
  })
}

/** Keras 3: `{ args: [...], kwargs: {...} }` with tensors as `{ class_name: '__keras_tensor__', config }`. */
function newCall(node: JsonObject): Pick<Call, 'args' | 'kwargs'> {
  const args = Array.isArray(node.args) ? node.args.map(withTensors) : []
  const stated = isObject(node.kwargs) ? Object.entries(node.kwargs) : []
  return { args, kwargs: new Map(stated.map(([key, value]) => [key, withTensors(value)])) }
}

function withTensors(value: Json): Argument {
  if (Array.isArray(value)) return value.map(withTensors as never)
  if (!isObject(value)) return value
  if (value.class_name === '__keras_tensor__' && isObject(value.config)) {
    const found = asRef(value.config.keras_history)
    if (!found) throw new UserError('a layer takes a tensor of unknown origin; the file may be damaged')
    return found
  }
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withTensors(inner)])) as never
}

/** Keras 1 and 2: a list of `[layer, node, output, kwargs]`. */
function oldCall(node: Json): Pick<Call, 'args' | 'kwargs'> {
  const kwargs = new Map<string, Argument | readonly TensorRef[]>()
  const items = asItem(node) ? [node] : Array.isArray(node) ? node : []
  const args = items.map((item): Argument => {
    if (!Array.isArray(item)) return item
    const settings = item[3]
    if (isObject(settings))
      for (const [key, value] of Object.entries(settings)) {
        const refs = key === 'name' ? [] : refsOf(value)
        kwargs.set(key, refs.length === 0 ? value : asRef(value) ? refs[0]! : refs)
      }
    if (item[0] === '_CONSTANT_VALUE') return (item[2] ?? null) as Json
    const found = asRef(item)
    if (!found) throw new UserError('the inputs of a layer are not understood; the file may be damaged')
    return found
  })
  return { args, kwargs }
}

const asItem = (value: unknown): boolean => Array.isArray(value) && typeof value[0] === 'string'

const tensorsOf = (call: Call): TensorRef[] => [
  ...call.inputs,
  ...[...call.kwargs.values()].flatMap(tensorsIn),
]

const firstOf = (value: unknown): unknown => (Array.isArray(value) ? value[0] : undefined)

function tensorsIn(value: unknown): TensorRef[] {
  if (isTensorRef(value)) return [value]
  if (Array.isArray(value)) return value.flatMap(tensorsIn)
  return isObject(value) ? Object.values(value).flatMap(tensorsIn) : []
}

/** The calls, each behind those that it depends on. Throws a UserError if they go in a circle. */
function inOrder(calls: readonly Call[]): Call[] {
  const idOf = (layer: string, index: number) => `${index}\n${layer}`
  const byId = new Map(calls.map((call) => [idOf(call.layer.name, call.index), call]))
  const needs = (call: Call) =>
    tensorsOf(call).map(({ layer, node }) => {
      const needed = byId.get(idOf(layer, node))
      if (!needed) throw new UserError(`layer '${layer}' is used but never applied; the file may be damaged`)
      return needed
    })
  const waiting = new Map<Call, number>()
  const users = new Map<Call, Call[]>()
  for (const call of calls) {
    const needed = [...new Set(needs(call))]
    waiting.set(call, needed.length)
    for (const other of needed) users.set(other, [...(users.get(other) ?? []), call])
  }
  const ready = calls.filter((call) => waiting.get(call) === 0)
  for (const call of ready)
    for (const user of users.get(call) ?? []) {
      const left = waiting.get(user)! - 1
      waiting.set(user, left)
      if (left === 0) ready.push(user)
    }
  if (ready.length < calls.length) {
    const stuck = calls.find((call) => waiting.get(call)! > 0)!
    throw new UserError(`layer '${stuck.layer.name}' depends on its own output; the file may be damaged`)
  }
  return ready
}
