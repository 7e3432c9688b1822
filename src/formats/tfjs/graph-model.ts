import { UserError } from '../../ir/errors.ts'
import type { Attribute, Dim, Graph, Node, ValueInfo } from '../../ir/model.ts'
import { type DataType, Tensor } from '../../ir/tensor.ts'
import type { BuiltModel } from '../keras/build-model.ts'
import type { Location } from '../keras/layer-builder.ts'
import { isObject, type JsonObject } from './model-json.ts'
import { type PlacedWeight, type ShardedWeights, storedWeight } from './weights.ts'

/** The domain of TensorFlow's operators, which are known by name only. */
export const opaqueDomain = 'tensorflow'

/** Types of TensorFlow, by the names that its graphs use in JSON. */
const dataTypes: Readonly<Record<string, DataType>> = {
  DT_FLOAT: 'float32',
  DT_INT32: 'int32',
  DT_BOOL: 'bool',
  DT_UINT8: 'uint8',
  DT_INT64: 'int64',
}

interface GraphNode {
  readonly name: string
  readonly op: string
  readonly inputs: readonly string[]
  readonly attributes: JsonObject
}

/**
 * Reads a TensorFlow.js graph model: TensorFlow's operators are kept by name, batch normalizations that survived the
 * conversion are understood. Such graphs are made for inference, so noise is gone from them.
 */
export function readGraphModel(topology: JsonObject, weights: ShardedWeights, producer: string): BuiltModel {
  const nodes = inOrder(graphNodes(topology))
  const locations = new Map<string, Location>()
  const initializers = new Map<string, Tensor>()
  const inputs: ValueInfo[] = []
  const written: Node[] = []
  const read = new Map<string, Set<string>>()
  for (const input of nodes.flatMap((node) => node.inputs)) {
    const { name } = referenceOf(input)
    const values = read.get(name) ?? new Set()
    read.set(name, values.add(valueNamed(input)))
  }
  for (const node of nodes) {
    const weight = weights.weights.get(node.name)
    if (node.op === 'Const' && weight && isPlain(weight)) {
      const { dataType, dims } = weight
      initializers.set(node.name, new Tensor(dataType, dims, () => weights.contents(weight)))
      locations.set(node.name, { weight: storedWeight(weight, weights), axes: undefined })
    } else if (node.op === 'Placeholder') inputs.push(inputOf(node))
    else if (/^FusedBatchNorm(V[23])?$/.test(node.op)) written.push(...batchNormalization(node))
    else written.push(opaque(node, read.get(node.name) ?? new Set()))
  }
  const unread = nodes.filter(({ name, op }) => op !== 'Const' && op !== 'Placeholder' && !read.has(name))
  const outputs = unread.map(({ name }): ValueInfo => ({ name }))
  const graph: Graph = { name: 'graph', nodes: written, inputs, outputs, initializers, types: new Map() }
  const opsets = new Map([
    ['', 17],
    [opaqueDomain, 1],
  ])
  const survived = written.some(({ opType }) => opType === 'BatchNormalization')
  const left = survived
    ? 'all but its batch normalizations is known by name only'
    : 'it holds no batch normalization: if the network had any, they were folded into the layers in front, and nothing can be said about their statistics'
  const note = `a graph model is made for inference: noise is gone from it, and ${left}; to measure or repair the network, convert the trained Keras model to a layers model`
  return {
    model: { format: 'tfjs', irVersion: 8, opsets, graph, functions: [], producer },
    locations,
    notes: [note],
  }
}

function graphNodes(topology: JsonObject): GraphNode[] {
  if (!Array.isArray(topology.node))
    throw new UserError('the graph model lists no nodes; convert the model again')
  const names = new Set<string>()
  return topology.node.map((node: unknown, i): GraphNode => {
    if (!isObject(node) || typeof node.name !== 'string' || typeof node.op !== 'string')
      throw new UserError(`node ${i} of the graph model has no name or operator; convert the model again`)
    const { name, op } = node
    if (names.has(name))
      throw new UserError(`two nodes of the graph model are called '${name}'; convert the model again`)
    names.add(name)
    const inputs = Array.isArray(node.input) ? node.input : []
    if (!inputs.every((input) => typeof input === 'string'))
      throw new UserError(`node '${name}' of the graph model reads what is no name; convert the model again`)
    const attributes = isObject(node.attr) ? node.attr : {}
    // With ^ in front they only say what runs first.
    return { name, op, inputs: inputs.filter((input) => !input.startsWith('^')), attributes }
  })
}

/** `name:2` is output 2 of a node, `name` its first. */
function referenceOf(value: string): { name: string; output: number } {
  const [, name = value, output = '0'] = /^(.*):(\d{1,6})$/.exec(value) ?? []
  return { name, output: Number(output) }
}

const valueNamed = (reference: string): string => {
  const { name, output } = referenceOf(reference)
  return output === 0 ? name : `${name}:${output}`
}

/** The nodes, each behind those that it reads. Throws a UserError for loops. */
function inOrder(nodes: readonly GraphNode[]): GraphNode[] {
  const byName = new Map(nodes.map((node) => [node.name, node]))
  const waiting = new Map<GraphNode, number>()
  const readers = new Map<string, GraphNode[]>()
  for (const node of nodes) {
    const sources = new Set(node.inputs.map((input) => referenceOf(input).name))
    for (const source of sources) {
      if (!byName.has(source))
        throw new UserError(
          `node '${node.name}' of the graph model reads '${source}', which is not there; convert the model again`,
        )
      const known = readers.get(source)
      if (known) known.push(node)
      else readers.set(source, [node])
    }
    waiting.set(node, sources.size)
  }
  const ready = nodes.filter((node) => waiting.get(node) === 0)
  for (const { name } of ready)
    for (const reader of readers.get(name) ?? []) {
      const left = waiting.get(reader)! - 1
      waiting.set(reader, left)
      if (left === 0) ready.push(reader)
    }
  if (ready.length < nodes.length)
    throw new UserError(
      `node '${nodes.find((node) => waiting.get(node)! > 0)!.name}' of the graph model lies in a loop, which is not read; convert the trained Keras model to a layers model (tensorflowjs_converter --output_format tfjs_layers_model) or to ONNX`,
    )
  return ready
}

const attributeOf = (node: GraphNode, name: string): JsonObject => {
  const attribute = Object.hasOwn(node.attributes, name) ? node.attributes[name] : undefined
  return isObject(attribute) ? attribute : {}
}

/** Texts of a graph are in base 64, or lists of bytes. */
function textAttribute(node: GraphNode, name: string, missing: string): string {
  const { s } = attributeOf(node, name)
  if (Array.isArray(s))
    return String.fromCharCode(...s.filter((byte) => Number.isInteger(byte)).slice(0, 100))
  if (typeof s !== 'string') return missing
  try {
    return atob(s)
  } catch {
    return s
  }
}

/** TensorFlow keeps N x H x W x C unless it says otherwise: the axes are moved to where ONNX wants them, and back. */
function batchNormalization(node: GraphNode): Node[] {
  const { name, inputs, attributes } = node
  if (inputs.length < 5)
    throw new UserError(`batch normalization '${name}' has ${inputs.length} inputs, expected 5`)
  const { f: epsilon = 1e-4 } = attributeOf(node, 'epsilon')
  const { b: training = !('is_training' in attributes) } = attributeOf(node, 'is_training')
  const isLast = textAttribute(node, 'data_format', 'NHWC') === 'NHWC'
  const [x = '', ...parameters] = inputs.map(valueNamed)
  const norm = (input: string, output: string): Node => ({
    name,
    opType: 'BatchNormalization',
    domain: '',
    inputs: [input, ...parameters.slice(0, 4)],
    outputs: training === true ? [output, `${name}:1`, `${name}:2`] : [output],
    attributes: new Map<string, Attribute>([
      ['epsilon', { type: 'float', value: Number(epsilon) }],
      ...(training === true ? [['training_mode', { type: 'int', value: 1 }] as const] : []),
    ]),
    origin: { label: labelOf(name) },
  })
  const move = (input: string, output: string, perm: readonly number[]): Node => ({
    name: `${output}/Transpose`,
    opType: 'Transpose',
    domain: '',
    inputs: [input],
    outputs: [output],
    attributes: new Map([['perm', { type: 'ints', value: perm }]]),
    origin: { label: labelOf(name) },
  })
  if (!isLast) return [norm(x, name)]
  return [
    move(x, `${name}/channels_second`, [0, 3, 1, 2]),
    norm(`${name}/channels_second`, `${name}/normalized`),
    move(`${name}/normalized`, name, [0, 2, 3, 1]),
  ]
}

const isPlain = ({ dataType }: PlacedWeight): boolean => dataType !== 'string' && dataType !== 'complex64'

/** What the layer was called before its operator was. */
const labelOf = (name: string): string => name.replace(/\/FusedBatchNorm(V[23])?(_\d+)?$/, '') || name

const opaque = ({ name, op, inputs }: GraphNode, read: ReadonlySet<string>): Node => ({
  name,
  opType: op,
  domain: opaqueDomain,
  inputs: inputs.map(valueNamed),
  outputs: [name, ...[...read].filter((value) => value !== name)],
  attributes: new Map(),
  origin: { label: name },
})

function inputOf(node: GraphNode): ValueInfo {
  const { shape } = attributeOf(node, 'shape')
  const dims = isObject(shape) && Array.isArray(shape.dim) ? shape.dim : undefined
  const sizeOf = (dim: unknown, axis: number): Dim => {
    const size = isObject(dim) ? Number(dim.size ?? -1) : -1
    return Number.isSafeInteger(size) && size >= 0 ? size : axis === 0 ? 'N' : undefined
  }
  const { type } = attributeOf(node, 'dtype')
  const dataType = typeof type === 'string' ? dataTypes[type] : undefined
  return { name: node.name, type: { dataType, shape: dims?.map(sizeOf) } }
}
