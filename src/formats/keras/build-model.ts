import { UserError } from '../../ir/errors.ts'
import { type Dim, type Graph, isOnnxDomain, type Model, type Node, type ValueInfo } from '../../ir/model.ts'
import { withFunctions } from '../../ir/noise-edit.ts'
import { type DataType, dataTypes, isFloat } from '../../ir/tensor.ts'
import { noiseDomain, noiseFunction } from '../../ops/noise-call.ts'
import {
  kerasOpset,
  kerasOpsets,
  LayerBuilder,
  type LayerValue,
  type Location,
  opaqueDomain,
} from './layer-builder.ts'
import type { LayerCall } from './layers/define-layer.ts'
import { definitionOf } from './layers/index.ts'
import {
  type Argument,
  type Call,
  isTensorRef,
  type Layer,
  type TensorRef,
  type Topology,
} from './topology.ts'
import type { StoredWeight, WeightSource, WeightSpec } from './weights.ts'

export interface BuiltModel {
  readonly model: Model
  /** Where the initializers came from that hold an array of the file, by their name. */
  readonly locations: ReadonlyMap<string, Location>
  /** What the model cannot carry, each with its layer. */
  readonly notes: readonly string[]
}

/**
 * The layers of `topology` as a graph with ONNX semantics. Inputs and outputs keep the shapes that Keras gives them;
 * each node's origin is the layer's name (`outer/inner` inside nested models). Throws a UserError that names the layer.
 */
export function buildModel(
  topology: Topology,
  weights: WeightSource,
  { format, producer, kerasMajor }: { format: string; producer: string; kerasMajor: number },
): BuiltModel {
  const writer = new ModelWriter(weights, kerasMajor, format === 'tfjs' ? 'tfjs' : 'keras')
  const graph = writer.write(topology)
  const { locations, notes } = writer.build
  const isOpaque = graph.nodes.some(({ domain }) => domain === opaqueDomain)
  const called = graph.nodes.filter(({ domain }) => domain === noiseDomain).map(({ opType }) => opType)
  const functions = [...new Set(called)].flatMap((opType) => noiseFunction(opType, kerasOpset) ?? [])
  const opsets = new Map([...kerasOpsets].filter(([domain]) => isOnnxDomain(domain) || isOpaque))
  return {
    model: withFunctions(
      { format, irVersion: 8, opsets, graph, functions: [], producer, holdsBothModes: true },
      functions,
    ),
    locations,
    notes,
  }
}

class ModelWriter {
  readonly build: LayerBuilder
  readonly #source: WeightSource
  readonly #found = new Map<Layer, ReadonlyMap<string, StoredWeight>>()

  constructor(source: WeightSource, kerasMajor: number, framework: 'keras' | 'tfjs') {
    this.build = new LayerBuilder(kerasMajor, framework)
    this.#source = source
  }

  write(topology: Topology): Graph {
    const { build } = this
    const inputs: ValueInfo[] = []
    const values = topology.inputs.map((tensor): LayerValue => {
      const layer = topology.layers.find(({ name }) => name === tensor.layer)
      if (!layer) throw new UserError(`the model has no input layer '${tensor.layer}'`)
      const value = inputValue(layer, build.unique(layer.name))
      inputs.push({ name: value.name, type: { dataType: value.dataType, shape: value.shape } })
      return value
    })
    const results = this.#apply(topology, values)
    const outputs = topology.outputs.map(({ layer, output }, i) => ({
      value: results[i]!,
      wanted: output === 0 ? layer : `${layer}:${output}`,
    }))
    const feeds = new Set(inputs.map(({ name }) => name))
    const renamed = new Map<string, string>()
    const infos = outputs.map(({ value, wanted }): ValueInfo => {
      build.enter({ path: wanted } as Layer)
      const plain = build.inKerasOrder(value)
      const name = build.unique(wanted)
      if (feeds.has(plain) || renamed.has(plain)) {
        const copy = build.op('Identity', [plain])
        renamed.set(copy, name)
      } else renamed.set(plain, name)
      return { name, type: { dataType: value.dataType, shape: value.assumed ? undefined : value.shape } }
    })
    const nameOf = (value: string) => renamed.get(value) ?? value
    const nodes = build.nodes.map(
      (node): Node => ({ ...node, inputs: node.inputs.map(nameOf), outputs: node.outputs.map(nameOf) }),
    )
    return {
      name: topology.name,
      nodes,
      inputs,
      outputs: infos,
      initializers: build.initializers,
      types: new Map(),
    }
  }

  /** The outputs of `topology` for `inputs`. */
  #apply(topology: Topology, inputs: readonly LayerValue[]): readonly LayerValue[] {
    const values = new Map<string, readonly LayerValue[]>()
    const keyOf = ({ layer, node }: TensorRef) => `${node}\n${layer}`
    const tensorOf = (tensor: TensorRef): LayerValue => {
      const value = values.get(keyOf(tensor))?.[tensor.output]
      if (!value)
        throw new UserError(
          `layer '${tensor.layer}' has no output ${tensor.output}, which another layer takes`,
        )
      return value
    }
    topology.inputs.forEach((tensor, i) => {
      if (inputs[i]) values.set(keyOf(tensor), [inputs[i]])
    })
    for (const call of topology.calls) {
      const key = keyOf({ layer: call.layer.name, node: call.index, output: 0 })
      if (!values.has(key)) values.set(key, this.#call(call, tensorOf))
    }
    return topology.outputs.map(tensorOf)
  }

  #call(call: Call, tensorOf: (tensor: TensorRef) => LayerValue): readonly LayerValue[] {
    const { layer } = call
    const taken = new Map<LayerValue, LayerValue>()
    const valueFor = (tensor: TensorRef): LayerValue => {
      const value = tensorOf(tensor)
      const known = taken.get(value) ?? settled(value, layer)
      taken.set(value, known)
      return known
    }
    const inputs = call.inputs.map(valueFor)
    const keywordInputs = new Map<string, LayerValue[]>()
    for (const [key, value] of call.kwargs) {
      const tensors = [value].flat().filter(isTensorRef).map(valueFor)
      if (tensors.length > 0) keywordInputs.set(key, tensors)
    }
    const isActive = /Dropout|Noise|BatchNormalization|Bidirectional|LSTM|GRU|RNN/.test(layer.className)
    if (call.kwargs.get('training') === true && isActive) {
      this.build.enter(layer)
      this.build.note('is called with training=True: Keras applies its training behaviour at inference too')
    }
    if (layer.inner) {
      const given = [...inputs, ...[...keywordInputs.values()].flat()]
      if (given.length !== layer.inner.inputs.length)
        throw new UserError(
          `model '${layer.path}' has ${layer.inner.inputs.length} inputs, and is given ${given.length}`,
        )
      return this.#apply(layer.inner, given)
    }
    const deep = (value: Argument): unknown =>
      isTensorRef(value) ? valueFor(value) : Array.isArray(value) ? value.map(deep as never) : value
    return this.#emit(layer, inputs, {
      keywordInputs,
      kwargs: call.kwargs,
      args: call.args.map(deep),
      weight: (name) => this.#weightsOf(layer).get(name)!,
    })
  }

  #emit(
    layer: Layer,
    inputs: readonly LayerValue[],
    given: Pick<LayerCall, 'keywordInputs' | 'kwargs' | 'args' | 'weight'>,
  ): readonly LayerValue[] {
    const { build } = this
    const definition = definitionOf(layer, given.args)
    build.enter(layer)
    const opaque = (reason: string, shape?: readonly Dim[]): LayerValue => {
      build.note(`${reason}; the model can be checked but not run: ${layer.className} is kept as it is`)
      return opaqueLayer(build, layer, inputs, shape)
    }
    if (!definition) return [opaque(`'${layer.className}' is no layer that varshift knows`)]
    if (inputs.length === 0 && given.keywordInputs.size === 0)
      build.refuse('it is applied to nothing; the file may be damaged')
    const result = definition.emit({
      ...given,
      build,
      layer,
      config: layer.config,
      inputs,
      opaque,
      apply: (inner, innerInputs, weight) => {
        const outputs = this.#emit(inner, innerInputs, {
          keywordInputs: new Map(),
          kwargs: new Map(),
          args: innerInputs,
          weight,
        })
        build.enter(layer)
        return outputs
      },
    })
    const outputs = Array.isArray(result) ? (result as readonly LayerValue[]) : [result as LayerValue]
    const mask = definition.keepsMask ? inputs[0]?.mask : undefined
    const assumed = inputs.some((input) => input.assumed) || undefined
    return outputs.map((value) => ({
      ...value,
      mask: value.mask ?? mask,
      assumed: value.assumed ?? assumed,
    }))
  }

  #weightsOf(layer: Layer): ReadonlyMap<string, StoredWeight> {
    const known = this.#found.get(layer)
    if (known) return known
    const expected = specsOf(layer)
    const stored = this.#source.of(layer, expected)
    const found = new Map(
      expected.map(({ name, isCount }, i) => [name, isCount ? stored[i]! : checked(stored[i]!, layer)]),
    )
    this.#found.set(layer, found)
    return found
  }
}

/** The arrays that `layer` has, in Keras' order; undefined for a class that is not known. */
export function weightsExpectedOf(layer: Layer): readonly WeightSpec[] | undefined {
  return definitionOf(layer) ? specsOf(layer) : undefined
}

const specsOf = (layer: Layer): readonly WeightSpec[] =>
  definitionOf(layer)?.weights?.(layer.config, layer, specsOf) ?? []

function checked(weight: StoredWeight, layer: Layer): StoredWeight {
  if (!isFloat(weight.dataType))
    throw new UserError(
      `layer '${layer.path}': its array '${weight.name}' is of type ${weight.dataType}, expected floating-point numbers; save the model before it is quantised`,
    )
  return weight
}

/** A value behind a layer that is not understood has the shape for which the next one was built, if the file tells. */
function settled(value: LayerValue, layer: Layer): LayerValue {
  if (!value.assumed || !layer.builtFor) return value
  return { ...value, shape: shapeFrom(layer.builtFor), assumed: undefined }
}

const shapeFrom = (dims: readonly (number | null)[]): Dim[] =>
  dims.map((dim, axis) => dim ?? (axis === 0 ? 'N' : undefined))

function inputValue(layer: Layer, name: string): LayerValue {
  if (!layer.builtFor)
    throw new UserError(`input '${layer.path}' states no shape; save the model again with Keras`)
  const stated = layer.config.raw('dtype')
  const dtype = typeof stated === 'string' ? stated : 'float32'
  if (!Object.hasOwn(dataTypes, dtype) || dtype === 'string')
    throw new UserError(
      `input '${layer.path}' is of type '${dtype}', expected numbers; leave the text preprocessing out of the model`,
    )
  const dataType: DataType = isFloat(dtype as DataType) ? 'float32' : (dtype as DataType)
  return { name, shape: shapeFrom(layer.builtFor), dataType, channelsSecond: false }
}

function opaqueLayer(
  build: LayerBuilder,
  layer: Layer,
  inputs: readonly LayerValue[],
  shape?: readonly Dim[],
): LayerValue {
  const plain = inputs.map((input) => build.inKerasOrder(input))
  const [name = ''] = build.node(layer.className, plain, new Map(), { domain: opaqueDomain })
  const rank = inputs[0]?.shape.length ?? 2
  const assumed = Array.from({ length: rank }, (_, axis) => (axis === 0 ? inputs[0]?.shape[0] : undefined))
  return {
    name,
    shape: shape ?? assumed,
    assumed: shape === undefined || undefined,
    dataType: 'float32',
    channelsSecond: false,
  }
}
