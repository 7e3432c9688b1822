import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { withFunctions } from '../ir/noise-edit.ts'
import { elementCount, type Tensor } from '../ir/tensor.ts'
import { type Mode, toMode } from '../rewrite/modes/mode.ts'
import { Construction, type Layer, shapeText, Value } from './construction.ts'

/** The operator set that networks are written in: the first that has GroupNormalization per channel. */
const opset = 21

export interface BuildOptions {
  /** Shape of one sample: channels, then positions. */
  readonly input: readonly number[]
  /** Of the initial parameters; each depends on the seed and its own name only (default 0). */
  readonly seed?: number
  readonly name?: string
}

/** Several outputs by their names. */
export type Outputs = Readonly<Record<string, Value>>

/**
 * A network with its parameters. The graph itself is in no mode: `train()` and `eval()` give graphs that run as
 * PyTorch's model.train() and model.eval() do. Graphs take one input, `x` (N x sample).
 */
export class Network {
  /** Noise and BatchNormalization in it are set by the modes; initializers hold parameters, named as in PyTorch. */
  readonly model: Model
  /** Names of what gradients change, in order of use: `conv1.weight`, ... */
  readonly parameters: readonly string[]
  /** Names of running statistics: `bn1.running_mean`, ... */
  readonly statistics: readonly string[]

  constructor(model: Model, parameters: readonly string[], statistics: readonly string[]) {
    this.model = model
    this.parameters = parameters
    this.statistics = statistics
  }

  /** Noise on, batch statistics. */
  train = (options?: { seed?: number }): Model => this.#in('train', options)

  /** Noise off, running statistics. */
  eval = (): Model => this.#in('eval')

  /** Noise on, running statistics (Monte Carlo dropout). */
  sample = (options?: { seed?: number }): Model => this.#in('sample', options)

  #in(mode: Mode, options: { seed?: number } = {}): Model {
    return toMode(this.model, mode, options)
  }

  get parameterCount(): number {
    const { initializers } = this.model.graph
    return this.parameters.reduce((sum, name) => sum + initializers.get(name)!.size, 0)
  }

  /** Parameters and statistics by name. */
  state(): ReadonlyMap<string, Tensor> {
    const { initializers } = this.model.graph
    return new Map([...this.parameters, ...this.statistics].map((name) => [name, initializers.get(name)!]))
  }

  /** The same network with other values. Throws a UserError for a name or a shape that it does not have. */
  withState(state: ReadonlyMap<string, Tensor>): Network {
    const own = this.state()
    const initializers = new Map(this.model.graph.initializers)
    for (const [name, tensor] of state) {
      const dims = own.get(name)?.dims
      if (!dims)
        throw new UserError(
          `the network has no parameter '${name}'; it has ${[...own.keys()].slice(0, 4).join(', ')}, ...`,
        )
      if (dims.join() !== tensor.dims.join() || tensor.dataType !== 'float32')
        throw new UserError(
          `'${name}' is float32${shapeText(dims)}, got ${tensor.dataType}${shapeText(tensor.dims)}`,
        )
      initializers.set(name, tensor)
    }
    const graph = { ...this.model.graph, initializers }
    return new Network({ ...this.model, graph }, this.parameters, this.statistics)
  }
}

/**
 * Applies `layer` to an input and gives the network that comes of it. Layers that are properties of others are named
 * as PyTorch names modules (`layer1.0.bn2`); one that is used twice shares its parameters.
 * Throws a UserError where a layer cannot take what it is given.
 */
export function network(
  layer: { forward(x: Value): Value | Outputs } | ((x: Value) => Value | Outputs),
  { input, seed = 0, name = 'network' }: BuildOptions,
): Network {
  if (
    input.length === 0 ||
    !input.every((size) => Number.isInteger(size) && size > 0) ||
    elementCount(input) > 2 ** 31
  )
    throw new UserError(`the input of a network needs whole sizes above 0, got ${shapeText(input)}`)
  const x = { name: 'x', type: { dataType: 'float32', shape: ['N', ...input] } } as const
  const empty: Model = {
    format: 'onnx',
    irVersion: 10,
    opsets: new Map([['', opset]]),
    functions: [],
    producer: 'varshift',
    graph: { name, inputs: [x], outputs: [], nodes: [], initializers: new Map(), types: new Map() },
  }
  const made = new Construction(empty, seed)
  if (typeof layer !== 'function') made.name(layer, '')
  const value = made.input('x', input)
  const result = typeof layer === 'function' ? layer(value) : layer.forward(value)
  const outputs =
    result instanceof Value ? [result] : Object.entries(result).map(([key, output]) => renamed(output, key))
  const graph = {
    ...empty.graph,
    outputs: outputs.map(({ name, shape }) => ({ name, type: { dataType: 'float32', shape } as const })),
    nodes: made.build.nodes,
    initializers: made.build.initializers,
  }
  const model = withFunctions({ ...empty, graph }, [...made.functions.values()])
  return new Network(model, made.parameters, made.statistics)
}

const renamed = (value: Value, name: string): Value =>
  value.graph.place(undefined, name, ({ build }) => build.op('Identity', [value.name]))

export type { Layer }
