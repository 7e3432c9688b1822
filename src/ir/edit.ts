import { UserError } from './errors.ts'
import { type Graph, keyOf, type Model, type Node } from './model.ts'
import { Tensor } from './tensor.ts'
import { usesOf } from './uses.ts'

/**
 * One change that a repair asks for. `ir` applies it to the Model, a format applies it to its own container.
 * Nodes are named by their key (first output).
 */
export type Edit = {
  readonly kind: 'set-running-statistics'
  /** Key of the BatchNormalization. */
  readonly node: string
  /** C running means. */
  readonly mean: Float64Array
  /** C running variances, as the Model stores them (ONNX: biased, without epsilon). */
  readonly variance: Float64Array
}

/** Positions of the running statistics among the inputs of ONNX's BatchNormalization. */
const meanInput = 3
const varianceInput = 4

/** The statistics tensors that an edit list gives new contents: value name -> new tensor and the nodes that read it. */
export interface StatisticsChange {
  /** Initializer or constant that holds the statistic. */
  readonly value: string
  readonly tensor: Tensor
  /** Which input of `node` reads it. */
  readonly node: Node
  readonly inputIndex: number
  /** True if nodes that the edits leave alone, or set to something else, read the same value: it must be split. */
  readonly shared: boolean
}

/** The model with the edits applied; the model given is left as it was. */
export function applyEdits(model: Model, edits: readonly Edit[]): Model {
  if (edits.length === 0) return model
  const initializers = new Map(model.graph.initializers)
  const renamed = new Map<Node, string[]>()
  const constants = new Map<string, Tensor>()
  for (const change of statisticsChanges(model.graph, edits)) {
    const constant = !initializers.has(change.value)
    if (change.shared) {
      const name = splitName(model.graph, change)
      initializers.set(name, change.tensor)
      const inputs = renamed.get(change.node) ?? [...change.node.inputs]
      inputs[change.inputIndex] = name
      renamed.set(change.node, inputs)
    } else if (constant) constants.set(change.value, change.tensor)
    else initializers.set(change.value, change.tensor)
  }
  const nodes = model.graph.nodes.map((node) => {
    const inputs = renamed.get(node)
    const value = constants.get(keyOf(node))
    if (value)
      return {
        ...node,
        opType: 'Constant',
        inputs: [],
        attributes: new Map([['value', { type: 'tensor' as const, value }]]),
      }
    return inputs ? { ...node, inputs } : node
  })
  return { ...model, graph: { ...model.graph, nodes, initializers } }
}

/** Name of the new initializer that a shared statistic is split into. */
export function splitName(graph: Graph, change: StatisticsChange): string {
  const base = `${change.value}__${keyOf(change.node)}`
  return graph.initializers.has(base) ? `${base}__split` : base
}

/**
 * What `edits` do to the tensors of `graph`. Exporters let BatchNormalizations share a tensor when its contents were
 * equal, so a tensor that the edits do not set alike for all its readers has to be split.
 */
export function statisticsChanges(graph: Graph, edits: readonly Edit[]): StatisticsChange[] {
  const nodes = new Map(graph.nodes.map((node) => [keyOf(node), node]))
  const readers = new Map<string, number>()
  for (const { name } of graph.outputs) readers.set(name, (readers.get(name) ?? 0) + 1)
  for (const node of graph.nodes)
    for (const input of node.inputs) readers.set(input, (readers.get(input) ?? 0) + 1)

  const changes: Omit<StatisticsChange, 'shared'>[] = []
  for (const edit of edits) {
    const node = nodes.get(edit.node)
    if (!node) throw new UserError(`cannot edit node '${edit.node}': the model has no node with that output`)
    for (const [inputIndex, values] of [
      [meanInput, edit.mean],
      [varianceInput, edit.variance],
    ] as const) {
      const value = node.inputs[inputIndex]
      const dataType = value === undefined ? undefined : storedTensor(graph, value)?.dataType
      if (value === undefined || dataType === undefined)
        throw new UserError(
          `cannot set the running statistics of '${edit.node}': they are computed inside the graph, not stored; export the model with constant statistics`,
        )
      changes.push({ value, node, inputIndex, tensor: Tensor.of(dataType, [values.length], values) })
    }
  }
  return changes.map((change) => {
    const alike = changes.filter(
      (other) => other.value === change.value && sameBytes(other.tensor.bytes, change.tensor.bytes),
    )
    return { ...change, shared: alike.length < (readers.get(change.value) ?? 0) }
  })
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

/** The tensor behind a value that does not depend on inputs: an initializer or the output of a Constant node. */
export function storedTensor(graph: Graph, value: string): Tensor | undefined {
  const initializer = graph.initializers.get(value)
  if (initializer) return initializer
  const constant = usesOf(graph).producer(value)
  return constant && constantTensor(constant, (name) => storedTensor(graph, name))
}

/** Contents of a node that only stands for a constant (Constant, ConstantOfShape of a stored shape, Identity). */
export function constantTensor(
  node: Node,
  stored: (value: string) => Tensor | undefined,
): Tensor | undefined {
  if (node.opType === 'Identity') return node.inputs[0] === undefined ? undefined : stored(node.inputs[0])
  if (node.opType === 'Constant') {
    for (const [name, attribute] of node.attributes) {
      if (name === 'value' && attribute.type === 'tensor') return attribute.value
      if (name === 'value_float' && attribute.type === 'float') return Tensor.float32([], [attribute.value])
      if (name === 'value_int' && attribute.type === 'int') return Tensor.int64([], [attribute.value])
      if (name === 'value_floats' && attribute.type === 'floats')
        return Tensor.float32([attribute.value.length], attribute.value)
      if (name === 'value_ints' && attribute.type === 'ints')
        return Tensor.int64([attribute.value.length], attribute.value)
    }
    return undefined
  }
  if (node.opType === 'ConstantOfShape') {
    const dims = node.inputs[0] === undefined ? undefined : stored(node.inputs[0])?.toNumbers()
    if (!dims || dims.reduce((n, d) => n * d, 1) > 1e6) return undefined
    const fill = node.attributes.get('value')
    const tensor = fill?.type === 'tensor' ? fill.value : Tensor.float32([1], [0])
    const value = tensor.toNumbers()[0] ?? 0
    return Tensor.of(
      tensor.dataType,
      [...dims],
      new Float64Array(dims.reduce((n, d) => n * d, 1)).fill(value),
    )
  }
  return undefined
}
