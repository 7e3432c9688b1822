import { namesIn } from './builder.ts'
import { UserError } from './errors.ts'
import { modeChanges, type SetEvalMode, withMode } from './mode-edit.ts'
import { type Graph, isOnnxDomain, keyOf, type Model, type Node } from './model.ts'
import { type NoiseEdit, noiseChanges, withFunctions } from './noise-edit.ts'
import { elementCount, hasNumbers, Tensor } from './tensor.ts'
import { usesOf, valuesReadBy } from './uses.ts'

/**
 * One change to a model. `ir` applies it to the Model, a format applies it to its own container.
 */
export type Edit = SetRunningStatistics | SetTensor | SetEvalMode | NoiseEdit

export type { SetEvalMode } from './mode-edit.ts'
export type { InsertNoise, NoiseEdit, NoiseNode, ReplaceNoise } from './noise-edit.ts'

export interface SetRunningStatistics {
  readonly kind: 'set-running-statistics'
  /** Key of the BatchNormalization (its first output). */
  readonly node: string
  /** C running means. */
  readonly mean: Float64Array
  /** C running variances, as the Model stores them (ONNX: biased, without epsilon). */
  readonly variance: Float64Array
}

/** New contents for a stored tensor, seen by all that read it; running statistics have an edit of their own. */
export interface SetTensor {
  readonly kind: 'set-tensor'
  /** Initializer, or output of a Constant node that holds a tensor. */
  readonly value: string
  /** Of the type and shape of the old one. */
  readonly tensor: Tensor
}

/** Positions of the running statistics among the inputs of ONNX's BatchNormalization. */
const meanInput = 3
const varianceInput = 4

/** A stored tensor that an edit list gives new contents. */
export interface TensorChange {
  /** Initializer or constant that holds the old contents. */
  readonly value: string
  readonly tensor: Tensor
  /**
   * The new initializer called `name` that input `inputIndex` of `node` reads in place of `value`; undefined if
   * `value` itself gets new contents. New ones are for running statistics that others read too, and for those that no
   * tensor of the file holds as they are.
   */
  readonly split: { readonly node: Node; readonly inputIndex: number; readonly name: string } | undefined
}

/** The edits that put or take noises. */
export const noiseEdits = (edits: readonly Edit[]): NoiseEdit[] =>
  edits.filter((edit) => edit.kind === 'replace-noise' || edit.kind === 'insert-noise')

/** The edits that set a node to eval mode. */
export const modeEdits = (edits: readonly Edit[]): SetEvalMode[] =>
  edits.filter((edit) => edit.kind === 'set-eval-mode')

/** The model with the edits applied; the model given is left as it was. */
export function applyEdits(model: Model, edits: readonly Edit[]): Model {
  if (edits.length === 0) return model
  const initializers = new Map(model.graph.initializers)
  const inputs = [...model.graph.inputs]
  const add = (name: string, tensor: Tensor) => {
    initializers.set(name, tensor)
    if (initializersAreInputs(model))
      inputs.push({ name, type: { dataType: tensor.dataType, shape: tensor.dims } })
  }
  const noise = noiseChanges(model, noiseEdits(edits))
  for (const [name, tensor] of noise.initializers) add(name, tensor)
  const renamed = new Map([...noise.renamed].map(([key, names]) => [key, new Map(names)]))
  const modes = modeChanges(model, modeEdits(edits))
  if (modes.off) add(...modes.off)
  const constants = new Map<string, Tensor>()
  for (const { value, tensor, split } of tensorChanges(model.graph, edits)) {
    if (split) {
      add(split.name, tensor)
      const names = renamed.get(keyOf(split.node)) ?? new Map<number, string>()
      renamed.set(keyOf(split.node), names.set(split.inputIndex, split.name))
    } else if (initializers.has(value)) initializers.set(value, tensor)
    else constants.set(value, tensor)
  }
  const changed = (original: Node): Node => {
    const mode = modes.nodes.get(keyOf(original))
    const node = mode ? withMode(original, mode) : original
    const names = renamed.get(keyOf(node))
    if (names) return { ...node, inputs: node.inputs.map((input, i) => names.get(i) ?? input) }
    const tensor = constants.get(keyOf(node))
    return tensor
      ? { ...node, attributes: new Map([...node.attributes, ['value', { type: 'tensor', value: tensor }]]) }
      : node
  }
  const nodes = model.graph.nodes.flatMap((node) => {
    const key = keyOf(node)
    return [...(noise.before.get(key) ?? []), ...(noise.replaced.get(key) ?? [changed(node)])]
  })
  return withFunctions({ ...model, graph: { ...model.graph, inputs, nodes, initializers } }, noise.functions)
}

/** Before IR version 4 every initializer has to be listed among the inputs too. */
export const initializersAreInputs = (model: Model): boolean => model.irVersion < 4

/** What `edits` do to the tensors of `graph`. */
export function tensorChanges(graph: Graph, edits: readonly Edit[]): TensorChange[] {
  const changes = [
    ...settings(
      graph,
      edits.filter((edit) => edit.kind === 'set-tensor'),
    ),
    ...statisticsChanges(
      graph,
      edits.filter((edit) => edit.kind === 'set-running-statistics'),
    ),
  ]
  const set = new Map<string, Tensor>()
  for (const { value, tensor, split } of changes) {
    if (split) continue
    const before = set.get(value)
    if (before && !sameBytes(before.bytes, tensor.bytes))
      throw new UserError(`cannot set '${value}' to two contents at once; set each tensor once`)
    set.set(value, tensor)
  }
  return changes
}

function settings(graph: Graph, edits: readonly SetTensor[]): TensorChange[] {
  return edits.map(({ value, tensor }) => {
    const stored = storedTensor(graph, value)
    if (!stored || !isHeld(graph, value))
      throw new UserError(
        `cannot set '${value}': the model stores no tensor of that name; name an initializer, or a Constant`,
      )
    const text = ({ dataType, dims }: Tensor) => `${dataType} [${dims.join(', ')}]`
    if (text(stored) !== text(tensor))
      throw new UserError(
        `cannot set '${value}': it holds ${text(stored)}, got ${text(tensor)}; give a tensor of the same type and shape`,
      )
    return { value, tensor, split: undefined }
  })
}

/** New contents for the input of a node. */
interface InputChange {
  readonly value: string
  readonly tensor: Tensor
  readonly node: Node
  readonly inputIndex: number
}

/**
 * Exporters let BatchNormalizations share a tensor when its contents were equal, so a tensor that the edits do not set
 * alike for all its readers has to be split.
 */
function statisticsChanges(graph: Graph, edits: readonly SetRunningStatistics[]): TensorChange[] {
  if (edits.length === 0) return []
  const nodes = new Map(graph.nodes.map((node) => [keyOf(node), node]))
  const changes: InputChange[] = []
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
  const byValue = new Map<string, InputChange[]>()
  for (const change of changes) {
    const same = byValue.get(change.value)
    if (same) same.push(change)
    else byValue.set(change.value, [change])
  }
  let taken: Set<string> | undefined
  const freshName = ({ value, node, inputIndex }: InputChange): string => {
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
    const { value, tensor, node, inputIndex } = change
    return { value, tensor, split: isOwn ? undefined : { node, inputIndex, name: freshName(change) } }
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
