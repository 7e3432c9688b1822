import { storedTensor } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import { isOnnxDomain, labelOf, type Model, type Node } from '../ir/model.ts'
import type { Tensor } from '../ir/tensor.ts'
import { type Uses, usesOf } from '../ir/uses.ts'
import { opOf } from '../ops/index.ts'

/** What a parameter is to its layer: only weights and embeddings decay by default. */
export type ParameterKind = 'weight' | 'embedding' | 'bias' | 'norm' | 'slope'

/** A tensor that training changes. */
export interface Parameter {
  /** Initializer, or output of the Constant node that holds it. */
  readonly value: string
  readonly kind: ParameterKind
  /** The layer that reads it first. */
  readonly layer: string
  /** That layer, and which of its inputs the parameter is, perhaps behind nodes that only move its elements. */
  readonly reader: { readonly node: Node; readonly inputIndex: number }
  readonly tensor: Tensor
}

/** Inputs that hold parameters, by operator. */
const slots: Readonly<Record<string, Readonly<Record<number, ParameterKind>>>> = {
  Conv: { 1: 'weight', 2: 'bias' },
  ConvTranspose: { 1: 'weight', 2: 'bias' },
  Gemm: { 1: 'weight', 2: 'bias' },
  MatMul: { 0: 'weight', 1: 'weight' },
  BatchNormalization: { 1: 'norm', 2: 'norm' },
  InstanceNormalization: { 1: 'norm', 2: 'norm' },
  LayerNormalization: { 1: 'norm', 2: 'norm' },
  GroupNormalization: { 1: 'norm', 2: 'norm' },
  PRelu: { 1: 'slope' },
  Gather: { 0: 'embedding' },
}

/**
 * The parameters of a model, in graph order: weights, biases (also those that an Add behind a weight layer adds), scale
 * and shift of norms, slopes and embeddings that the model stores as float32. A tensor that anything else reads too (a
 * shape, a running statistic, a constant of arithmetic) is no parameter. A tensor that several layers read is one.
 */
export function parametersOf(model: Model): Parameter[] {
  const { graph } = model
  const uses = usesOf(graph)
  const found = new Map<string, Parameter>()
  const tried = new Set<string>()
  for (const node of graph.nodes)
    for (const value of node.inputs) {
      if (!value || tried.has(value)) continue
      tried.add(value)
      const tensor = heldTensor(model, uses, value)
      if (tensor?.dataType !== 'float32' || tensor.size === 0 || uses.isOutput(value)) continue
      const reading = readingOf(uses, value)
      if (!reading) continue
      const { kind, node: reader, inputIndex } = reading
      found.set(value, { value, tensor, kind, layer: labelOf(reader), reader: { node: reader, inputIndex } })
    }
  return [...found.values()]
}

/** The tensor that `value` itself holds, so that an edit can set it. */
function heldTensor(model: Model, uses: Uses, value: string): Tensor | undefined {
  const producer = uses.producer(value)
  if (producer && producer.attributes.get('value')?.type !== 'tensor') return undefined
  if (producer && producer.opType !== 'Constant') return undefined
  return storedTensor(model.graph, value)
}

interface Reading {
  readonly kind: ParameterKind
  readonly node: Node
  readonly inputIndex: number
}

/** What all that read `value` take it for, also behind nodes that only move its elements; undefined if they differ. */
function readingOf(uses: Uses, value: string, depth = 0): Reading | undefined {
  let first: Reading | undefined
  for (const node of uses.consumers(value)) {
    const at = node.inputs.flatMap((input, i) => (input === value ? [i] : []))
    // A subgraph that reads it, or a node that reads it twice.
    if (at.length !== 1 || !isOnnxDomain(node.domain)) return undefined
    const index = at[0]!
    const kind = slots[node.opType]?.[index] ?? (isBias(uses, node, index) ? 'bias' : undefined)
    const reading = kind ? { kind, node, inputIndex: index } : behindLayout(uses, node, index, depth)
    if (!reading) return undefined
    first ??= reading
  }
  return first
}

/** Longer chains of Identity, Transpose and the like than this are not followed. */
const maxDepth = 8

function behindLayout(uses: Uses, node: Node, index: number, depth: number) {
  const moving = node.inputs.map((_, i) => i === index)
  const isLayout = opOf(node).flow({ node, opset: 0, moving })[index] === 'layout'
  const [output] = node.outputs
  if (depth >= maxDepth || !isLayout || index !== 0 || !output || uses.isOutput(output)) return undefined
  return readingOf(uses, output, depth + 1)
}

/** Whether the node adds input `index` to what a weight layer gives. */
function isBias(uses: Uses, node: Node, index: number): boolean {
  if (node.opType !== 'Add') return false
  let producer = uses.producer(node.inputs[1 - index] ?? '')
  for (let hops = 0; producer && hops < maxDepth; hops++) {
    if (opOf(producer).role === 'weight') return true
    const moving = producer.inputs.map((_, i) => i === 0)
    if (opOf(producer).flow({ node: producer, opset: 0, moving })[0] !== 'layout') return false
    producer = uses.producer(producer.inputs[0] ?? '')
  }
  return false
}

/**
 * The parameters but those that a pattern freezes: it names a parameter (`layer1.0.conv1.weight`) or a layer
 * (`layer1.0.conv1`), with `*` for anything. Throws a UserError for a pattern that fits none, or if none are left.
 */
export function unfrozen(parameters: readonly Parameter[], patterns: readonly string[]): Parameter[] {
  const names = ({ value, layer }: Parameter) => [value, layer, layer.replace(/\/[^/]+$/, '')]
  let left = [...parameters]
  for (const pattern of patterns) {
    const escaped = pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')
    const expression = new RegExp(`^${escaped}$`, 's')
    const fits = (parameter: Parameter) => names(parameter).some((name) => expression.test(name))
    if (!parameters.some(fits))
      throw new UserError(
        `--freeze ${pattern} fits no parameter; there are ${parameters
          .slice(0, 3)
          .map(({ value }) => `'${value}'`)
          .join(', ')}${parameters.length > 3 ? ', ...' : ''} (patterns take * for anything)`,
      )
    left = left.filter((parameter) => !fits(parameter))
  }
  if (left.length === 0)
    throw new UserError('every parameter is frozen, so there is nothing to train; freeze fewer')
  return left
}
