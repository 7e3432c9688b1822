import { namesIn } from './builder.ts'
import { UserError } from './errors.ts'
import { type Graph, isOnnxDomain, keyOf, type Model, type Node } from './model.ts'
import { elementCount, hasNumbers, Tensor } from './tensor.ts'
import { usesOf, valuesReadBy } from './uses.ts'

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

/** A statistics tensor that an edit list gives new contents, and the node that reads it. */
export interface StatisticsChange {
  /** Initializer or constant that holds the statistic. */
  readonly value: string
  readonly tensor: Tensor
  /** Which input of `node` reads it. */
  readonly node: Node
  readonly inputIndex: number
  /**
   * Name of the new initializer that `node` reads in place of `value`; undefined if `value` itself gets new contents.
   * New ones are for values that others read too, and for those that no tensor of the file holds as they are.
   */
  readonly splitName: string | undefined
}

/** The model with the edits applied; the model given is left as it was. */
export function applyEdits(model: Model, edits: readonly Edit[]): Model {
  if (edits.length === 0) return model
  const initializers = new Map(model.graph.initializers)
  const inputs = [...model.graph.inputs]
  const renamed = new Map<Node, string[]>()
  const constants = new Map<string, Tensor>()
  for (const { value, tensor, node, inputIndex, splitName } of statisticsChanges(model.graph, edits)) {
    if (splitName !== undefined) {
      initializers.set(splitName, tensor)
      if (initializersAreInputs(model))
        inputs.push({ name: splitName, type: { dataType: tensor.dataType, shape: tensor.dims } })
      const names = renamed.get(node) ?? [...node.inputs]
      names[inputIndex] = splitName
      renamed.set(node, names)
    } else if (initializers.has(value)) initializers.set(value, tensor)
    else constants.set(value, tensor)
  }
  const nodes = model.graph.nodes.map((node) => {
    const names = renamed.get(node)
    if (names) return { ...node, inputs: names }
    const tensor = constants.get(keyOf(node))
    return tensor
      ? { ...node, attributes: new Map([...node.attributes, ['value', { type: 'tensor', value: tensor }]]) }
      : node
  })
  return { ...model, graph: { ...model.graph, inputs, nodes: nodes as Node[], initializers } }
}

/** Before IR version 4 every initializer has to be listed among the inputs too. */
export const initializersAreInputs = (model: Model): boolean => model.irVersion < 4

/**
 * What `edits` do to the tensors of `graph`. Exporters let BatchNormalizations share a tensor when its contents were
 * equal, so a tensor that the edits do not set alike for all its readers has to be split.
 */
export function statisticsChanges(graph: Graph, edits: readonly Edit[]): StatisticsChange[] {
  const nodes = new Map(graph.nodes.map((node) => [keyOf(node), node]))
  const changes: Omit<StatisticsChange, 'splitName'>[] = []
  for (const edit of edits) {
    const node = nodes.get(edit.node)
    if (!node) throw new UserError(`cannot edit node '${edit.node}': the model has no node with that output`)
    for (const [inputIndex, values] of [
      [meanInput, edit.mean],
      [varianceInput, edit.variance],
    ] as const) {
      const value = node.inputs[inputIndex]
      const stored = value === undefined ? undefined : storedTensor(graph, value)
      if (value === undefined || stored === undefined)
        throw new UserError(
          `cannot set the running statistics of '${edit.node}': they are computed inside the graph, not stored; export the model with constant statistics`,
        )
      if (stored.size !== values.length)
        throw new UserError(
          `cannot set the running statistics of '${edit.node}': '${value}' holds ${stored.size} numbers, expected ${values.length}; export the model again`,
        )
      changes.push({ value, node, inputIndex, tensor: Tensor.of(stored.dataType, stored.dims, values) })
    }
  }

  const readers = readersOf(graph)
  const byValue = new Map<string, Omit<StatisticsChange, 'splitName'>[]>()
  for (const change of changes) {
    const same = byValue.get(change.value)
    if (same) same.push(change)
    else byValue.set(change.value, [change])
  }
  let taken: Set<string> | undefined
  const freshName = ({ value, node, inputIndex }: Omit<StatisticsChange, 'splitName'>): string => {
    taken ??= namesIn(graph)
    let name = `${value}__${keyOf(node)}__${inputIndex === meanInput ? 'mean' : 'variance'}`
    while (taken.has(name)) name = `${name}_`
    taken.add(name)
    return name
  }
  return changes.map((change) => {
    const same = byValue.get(change.value)!
    const [first] = same
    const isOwn =
      same.length === (readers.get(change.value) ?? 0) &&
      same.every((other) => sameBytes(other.tensor.bytes, first!.tensor.bytes)) &&
      isHeld(graph, change.value)
    return { ...change, splitName: isOwn ? undefined : freshName(change) }
  })
}

/** How often each value is read: by nodes, by what their subgraphs take from outside, as an output of the graph. */
function readersOf(graph: Graph): Map<string, number> {
  const readers = new Map<string, number>()
  const count = (value: string) => readers.set(value, (readers.get(value) ?? 0) + 1)
  for (const { name } of graph.outputs) count(name)
  for (const node of graph.nodes) for (const value of valuesReadBy(node)) count(value)
  return readers
}

/** Whether a tensor of the file is the value as it is: an initializer, or the attribute of a Constant node. */
function isHeld(graph: Graph, value: string): boolean {
  if (graph.initializers.has(value)) return true
  const constant = usesOf(graph).producer(value)
  return constant?.opType === 'Constant' && constant.attributes.get('value')?.type === 'tensor'
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

/** Constants that lead to one another in longer chains than this are computed, not stored. */
const maxChain = 100

/** The tensor behind a value that does not depend on inputs: an initializer or the output of a Constant node. */
export function storedTensor(graph: Graph, value: string): Tensor | undefined {
  const stored = (name: string, steps: number): Tensor | undefined => {
    const initializer = graph.initializers.get(name)
    if (initializer || steps > maxChain) return initializer
    const constant = usesOf(graph).producer(name)
    return constant && constantTensor(constant, (input) => stored(input, steps + 1))
  }
  return stored(value, 0)
}

/** Contents of a node that only stands for a constant (Constant, ConstantOfShape of a stored shape, Identity). */
export function constantTensor(
  node: Node,
  stored: (value: string) => Tensor | undefined,
): Tensor | undefined {
  if (!isOnnxDomain(node.domain)) return undefined
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
    const shape = node.inputs[0] === undefined ? undefined : stored(node.inputs[0])
    if (shape?.dataType !== 'int64' || shape.size > 8) return undefined
    const dims = [...shape.toNumbers()]
    const size = elementCount(dims)
    if (dims.some((dim) => dim < 0) || size > 1e6) return undefined
    const fill = node.attributes.get('value')
    const tensor = fill?.type === 'tensor' ? fill.value : Tensor.float32([1], [0])
    if (!hasNumbers(tensor.dataType)) return undefined
    const value = tensor.toNumbers()[0] ?? 0
    return Tensor.of(tensor.dataType, dims, new Float64Array(size).fill(value))
  }
  return undefined
}
