import { knownValues } from '../../analysis/infer-types.ts'
import { attributesOf, GraphBuilder } from '../../ir/builder.ts'
import { UserError } from '../../ir/errors.ts'
import {
  type Attribute,
  type Graph,
  intAttribute,
  isOnnxDomain,
  labelOf,
  type Model,
  type Node,
  opsetOf,
  stringAttribute,
  subgraphsOf,
} from '../../ir/model.ts'
import { type DataType, dataTypes, Tensor } from '../../ir/tensor.ts'
import { usesOf } from '../../ir/uses.ts'
import type { Known } from '../../ops/define-op.ts'

/** What rewrites and gradients are written for; newer opsets only add to it. */
const raisedOpset = 17
const oldestOpset = 7

/** From this IR version on initializers are no inputs, which older models have to list them as. */
const freeInitializers = 4

/**
 * The model in opset 17 if it was in an older one (7 and up), computing the same: attributes that became inputs, axes
 * whose meaning changed, operators that were replaced. Local functions are to be inlined first.
 */
export function raiseOpset(model: Model): Model {
  const opset = opsetOf(model)
  if (opset >= raisedOpset) return model
  if (opset < oldestOpset)
    throw new UserError(
      `the model is of opset ${opset}, expected ${oldestOpset} or newer; export it with a newer opset`,
    )
  const build = new GraphBuilder(model)
  const raiser = new Raiser(build, opset)
  const graph = raiser.graph(model.graph, knownValues(model))
  const inputs =
    model.irVersion < freeInitializers
      ? graph.inputs.filter(({ name }) => !model.graph.initializers.has(name))
      : graph.inputs
  const opsets = new Map(model.opsets)
  opsets.delete('ai.onnx')
  opsets.set('', raisedOpset)
  return {
    ...model,
    irVersion: Math.max(model.irVersion, 8),
    opsets,
    graph: { ...graph, inputs, initializers: build.initializers },
  }
}

type Values = ReadonlyMap<string, Known>

class Raiser {
  readonly #build: GraphBuilder
  readonly #opset: number

  constructor(build: GraphBuilder, opset: number) {
    this.#build = build
    this.#opset = opset
  }

  /** `known`: what is known of the values of the main graph; nothing is known inside of subgraphs. */
  graph(graph: Graph, known: Values): Graph {
    const nodes: Node[] = []
    for (const node of graph.nodes) {
      const inner = this.#withRaisedGraphs(node)
      const from = this.#build.nodes.length
      if (isOnnxDomain(node.domain)) this.#raise(inner, known, graph)
      else this.#build.keep(inner)
      nodes.push(...this.#build.nodes.splice(from))
    }
    return { ...graph, nodes }
  }

  #withRaisedGraphs(node: Node): Node {
    if (subgraphsOf(node).length === 0) return node
    const attributes = new Map<string, Attribute>()
    for (const [name, held] of node.attributes) {
      if (held.type === 'graph') attributes.set(name, { ...held, value: this.graph(held.value, new Map()) })
      else if (held.type === 'graphs')
        attributes.set(name, { ...held, value: held.value.map((graph) => this.graph(graph, new Map())) })
      else attributes.set(name, held)
    }
    return { ...node, attributes }
  }

  #raise(node: Node, known: Values, graph: Graph): void {
    const rule = rises[node.opType]
    if (!rule || this.#opset >= rule.before) {
      this.#build.keep(node)
      return
    }
    const build = this.#build
    const change = rule.change({ node, known, graph, build, opset: this.#opset })
    const { opType = node.opType, inputs = node.inputs, outputs = node.outputs, without = [], added } = change
    const attributes = new Map([
      ...[...node.attributes].filter(([name]) => !without.includes(name)),
      ...attributesOf(added ?? {}),
    ])
    build.keep({ ...node, opType, inputs: trimmed(inputs), outputs, attributes })
    change.after?.()
  }
}

interface Old {
  readonly node: Node
  readonly known: Values
  readonly graph: Graph
  readonly build: GraphBuilder
  readonly opset: number
}

/** What becomes of a node. */
interface Change {
  readonly opType?: string
  readonly inputs?: readonly string[]
  readonly outputs?: readonly string[]
  /** Attributes that go. */
  readonly without?: readonly string[]
  readonly added?: Parameters<typeof attributesOf>[0]
  /** Writes what follows the node. */
  readonly after?: () => void
}

interface Rise {
  /** The opset that changed the operator. */
  readonly before: number
  readonly change: (old: Old) => Change
}

/** Attributes that became inputs, behind the first. */
const asInputs =
  (...names: readonly string[]) =>
  ({ node, build }: Old): Change => ({
    inputs: [
      node.inputs[0]!,
      ...names.map((name) => {
        const held = node.attributes.get(name)
        return held?.type === 'ints' ? build.ints(held.value, name) : ''
      }),
    ],
    without: names,
  })

/** A float attribute as an input of the type of the first one, or no input. */
function scalarInput({ node, known, build }: Old, name: string, otherwise?: number): string {
  const held = node.attributes.get(name)
  const value = held?.type === 'float' ? held.value : otherwise
  return value === undefined ? '' : build.scalar(value, typeOfFirst(known, node))
}

/** Before opset 13 Softmax goes over all axes from `axis` on, taken as one. */
const lastAxis: Rise = {
  before: 13,
  change: ({ node, known, build }) => {
    const [x = ''] = node.inputs
    const shape = known.get(x)?.shape
    const axis = intAttribute(node, 'axis') ?? 1
    const behind = shape?.slice(axis < 0 ? axis + shape.length : axis)
    if (axis === -1 || behind?.length === 1) return { added: { axis: -1 } }
    const result = build.fresh(node.opType)
    return {
      inputs: [build.op('Flatten', [x], { axis })],
      outputs: [result],
      added: { axis: -1 },
      after: () => build.op('Reshape', [result, build.op('Shape', [x])], {}, node.outputs[0]),
    }
  },
}

/** Upsample, and Resize before opset 11: positions are divided by the scale and rounded away from growing. */
const resizing = ({ node, known, build }: Old): Change => {
  const [x = '', stated = ''] = node.inputs
  const held = node.attributes.get('scales')
  const scales =
    held?.type === 'floats'
      ? build.constant(Tensor.float32([held.value.length], held.value), 'scales')
      : stated
  const factors = held?.type === 'floats' ? held.value : known.get(stated)?.contents
  const shrinks = factors?.some((factor) => typeof factor === 'number' && factor < 1) ?? false
  return {
    opType: 'Resize',
    inputs: [x, '', scales],
    without: ['scales'],
    added: {
      coordinate_transformation_mode: 'asymmetric',
      nearest_mode: shrinks ? 'ceil' : 'floor',
      ...(stringAttribute(node, 'mode') === 'bilinear' ? { mode: 'linear' } : {}),
    },
  }
}

const rises: Readonly<Record<string, Rise>> = {
  Squeeze: { before: 13, change: asInputs('axes') },
  Unsqueeze: { before: 13, change: asInputs('axes') },
  ReduceSum: { before: 13, change: asInputs('axes') },
  Split: { before: 13, change: asInputs('split') },
  Slice: { before: 10, change: asInputs('starts', 'ends', 'axes') },
  Pad: {
    before: 11,
    change: (old) => {
      const { inputs = [] } = asInputs('pads')(old)
      return { inputs: [...inputs, scalarInput(old, 'value', 0)], without: ['pads', 'value'] }
    },
  },
  Clip: {
    before: 11,
    change: (old) => ({
      inputs: [old.node.inputs[0]!, scalarInput(old, 'min'), scalarInput(old, 'max')],
      without: ['min', 'max'],
    }),
  },
  TopK: {
    before: 10,
    change: ({ node, build }) => ({
      inputs: [node.inputs[0]!, build.ints([intAttribute(node, 'k') ?? 1])],
      without: ['k'],
    }),
  },
  Dropout: {
    // The ratio is an attribute and nothing is dropped; before opset 10 the mask has the type of x.
    before: 12,
    change: ({ node, known, graph, build, opset }) => {
      const [y = '', mask] = node.outputs
      const held = node.attributes.get('ratio')
      const inputs = [node.inputs[0]!, build.scalar(held?.type === 'float' ? held.value : 0.5)]
      if (opset >= 10 || !mask || !isRead(graph, mask)) return { inputs, without: ['ratio'] }
      const kept = build.fresh('kept')
      return {
        inputs,
        outputs: [y, kept],
        without: ['ratio'],
        after: () => build.op('Cast', [kept], { to: dataTypes[typeOfFirst(known, node)].onnx }, mask),
      }
    },
  },
  Softmax: lastAxis,
  LogSoftmax: lastAxis,
  Hardmax: lastAxis,
  Upsample: { before: raisedOpset, change: resizing },
  Resize: { before: 11, change: resizing },
  Scatter: { before: raisedOpset, change: () => ({ opType: 'ScatterElements' }) },
  RoiAlign: {
    before: 16,
    change: () => ({ added: { coordinate_transformation_mode: 'output_half_pixel' } }),
  },
  BatchNormalization: {
    // With further outputs it is in training mode.
    before: 14,
    change: ({ node, graph, build, opset }) => {
      const [y = '', mean, variance, ...saved] = node.outputs
      if (intAttribute(node, 'spatial') === 0 || saved.some((value) => value && isRead(graph, value)))
        throw refusal(node, opset)
      const without = ['spatial', 'consumed_inputs', 'is_test']
      if (!mean && !variance) return { outputs: [y], without }
      const outputs = [y, mean || build.fresh('running_mean'), variance || build.fresh('running_variance')]
      return { outputs, without, added: { training_mode: 1 } }
    },
  },
  Scan: {
    before: 9,
    change: ({ node, opset }) => {
      throw refusal(node, opset)
    },
  },
}

/** Without absent inputs at the end. */
const trimmed = (inputs: readonly string[]): readonly string[] =>
  inputs.slice(0, inputs.findLastIndex((input) => input !== '') + 1)

const typeOfFirst = (known: Values, node: Node): DataType =>
  known.get(node.inputs[0] ?? '')?.dataType ?? 'float32'

function isRead(graph: Graph, value: string): boolean {
  const uses = usesOf(graph)
  return uses.isOutput(value) || uses.consumers(value).length > 0
}

const refusal = (node: Node, opset: number) =>
  new UserError(
    `'${labelOf(node)}' is a ${node.opType} as opset ${opset} has it, in a form that newer opsets do not know; export the model with opset ${raisedOpset} or newer`,
  )
