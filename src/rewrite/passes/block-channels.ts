import { typesOf } from '../../analysis/infer-types.ts'
import { attributesOf, GraphBuilder } from '../../ir/builder.ts'
import {
  intAttribute,
  intsAttribute,
  isOnnxDomain,
  keyOf,
  labelOf,
  type Model,
  type Node,
} from '../../ir/model.ts'
import { usesOf, valuesReadBy } from '../../ir/uses.ts'
import { blockedConvProblem, blockedDomain, storedChannels } from '../../ops/blocked/index.ts'
import { convShapes } from '../../ops/conv-gradient/shapes.ts'

/** Operators that act on every element by itself, or on elements at the same place, and of zeros make zeros. */
const keepsZeros = new Set([
  ...['Add', 'Sub', 'Mul', 'Sum', 'Identity', 'Dropout', 'Neg', 'Abs'],
  ...['Relu', 'LeakyRelu', 'Elu', 'Selu', 'Celu', 'Tanh', 'Softsign', 'HardSwish', 'Gelu', 'Mish'],
])
/** The same, but of zeros they make something else, which channels that only fill a block must not see. */
const elementwise = new Set([
  'Div',
  'Sigmoid',
  'HardSigmoid',
  'Softplus',
  'Exp',
  'Erf',
  'Clip',
  ...keepsZeros,
])

/** A blocked value: its name, and how many channels each run has that begins a block. */
interface Blocked {
  readonly name: string
  readonly runs: readonly number[]
}

/** Zeros that fill up a block may be half of its channels in number; with more the plain layout is as good. */
const worthwhile = (channels: number, block: number) => Math.ceil(channels / block) * block <= 1.5 * channels

/**
 * The model with its two-dimensional convolutions in the blocked layout of ONNX Runtime's CPU kernels, and with
 * everything between them that can stay in it; values change layout where one side cannot. To be applied before
 * gradients are written, which then are blocked too; `expandBlockedNodes` afterwards makes the model runnable.
 * Shapes have to be bound. `block` is what `runtime/channel-block` finds.
 */
export function blockChannels(model: Model, block: number): Model {
  const { graph } = model
  const types = typesOf(model)
  const uses = usesOf(graph)
  const build = new GraphBuilder(model)
  const blocked = new Map<string, Blocked>()
  /** Blocked values that exist in the plain layout too. */
  const unblocked = new Set<string>()
  const fused = new Set<Node>()

  const write = (opType: string, inputs: readonly string[], output: string | undefined, settings = {}) =>
    build.several(opType, inputs, output ? [output] : 1, { block, ...settings }, blockedDomain)[0]!
  const fills = (runs: readonly number[]) => runs.every((run) => run % block === 0)
  const shapeOf = (value: string) => {
    const { dataType, shape } = types.get(value) ?? {}
    if (dataType !== 'float32' || !shape?.every((size) => typeof size === 'number')) return undefined
    return shape as readonly number[]
  }
  /** The plain value with its channels on `axis` where a blocked one has them. */
  const spread = (value: string, runs: readonly number[], axis: number) =>
    fills(runs) || value === '' ? value : write('SpreadChannels', [value], undefined, { axis, runs })
  const asPlain = (value: string): string => {
    const { name, runs } = blocked.get(value) ?? {}
    if (!name || !runs || unblocked.has(value)) return value
    unblocked.add(value)
    if (fills(runs)) return write('Unblock', [name], value)
    return write('PickChannels', [write('Unblock', [name], undefined)], value, { axis: 1, runs })
  }
  const asBlocked = (value: string, runs: readonly number[] = [shapeOf(value)![1]!]): string => {
    const known = blocked.get(value)
    if (known && known.runs.join() === runs.join()) return known.name
    const made = write('Block', [spread(asPlain(value), runs, 1)], build.fresh(`${value}__blocked`))
    if (!known) {
      blocked.set(value, { name: made, runs })
      unblocked.add(value)
    }
    return made
  }
  /** A node whose first output is blocked. */
  const place = (
    node: Node,
    inputs: readonly string[],
    { runs, ...others }: Partial<Node> & { runs: readonly number[] },
  ) => {
    const [output = '', ...rest] = node.outputs
    const name = build.fresh(`${output}__blocked`)
    build.keep({
      ...node,
      name,
      origin: { label: labelOf(node) },
      inputs,
      outputs: [name, ...rest],
      ...others,
    })
    blocked.set(output, { name, runs })
  }
  const inBlocks = (node: Node, settings = {}) => ({
    domain: blockedDomain,
    attributes: new Map([...node.attributes, ...attributesOf({ ...settings, block })]),
  })

  for (const node of graph.nodes) {
    if (fused.has(node)) continue
    const op = isOnnxDomain(node.domain) ? node.opType : ''
    const input = blocked.get(node.inputs[0] ?? '')
    if (op === 'Conv' && placeConv(node)) continue
    if (input && op === 'BatchNormalization' && intAttribute(node, 'training_mode') === 1)
      placeNorm(node, input)
    else if (input && (op === 'MaxPool' || op === 'AveragePool') && tiles(node))
      place(node, [input.name], { runs: input.runs, ...inBlocks(node) })
    else if (input && op === 'GlobalAveragePool') {
      const [y = ''] = node.outputs
      if (fills(input.runs)) build.keep({ ...node, inputs: [input.name], ...inBlocks(node) })
      else {
        const pooled = build.fresh(`${y}__blocked`)
        build.keep({ ...node, name: pooled, inputs: [input.name], outputs: [pooled], ...inBlocks(node) })
        write('PickChannels', [pooled], y, { axis: 1, runs: input.runs })
      }
    } else if (
      op === 'Concat' &&
      input &&
      intAttribute(node, 'axis') === 1 &&
      node.inputs.every(worthBlocking)
    ) {
      const names = node.inputs.map((value) => asBlocked(value, blocked.get(value)?.runs))
      place(node, names, { runs: node.inputs.flatMap((value) => blocked.get(value)!.runs) })
    } else if (!placeElementwise(node)) {
      for (const value of valuesReadBy(node)) asPlain(value)
      build.keep(node)
    }
  }
  for (const { name } of graph.outputs) asPlain(name)
  return {
    ...model,
    opsets: new Map([...model.opsets, [blockedDomain, 1]]),
    graph: { ...graph, nodes: build.nodes, initializers: build.initializers },
  }

  function worthBlocking(value: string): boolean {
    const shape = shapeOf(value)
    return blocked.has(value) || (shape?.length === 4 && worthwhile(shape[1]!, block))
  }

  function placeConv(node: Node): boolean {
    const [x = '', weight = '', bias = ''] = node.inputs
    const [xShape, wShape, yShape] = [x, weight, node.outputs[0]!].map(shapeOf)
    if (xShape?.length !== 4 || !wShape || !yShape) return false
    const shapes = convShapes(node, xShape, wShape, yShape)
    const [outputs, channels] = [wShape[0]!, xShape[1]!]
    // A few channels, such as colours, are read from the plain layout.
    const isPlain = channels < block && shapes.groups === 1
    const from = isPlain ? [channels] : (blocked.get(x)?.runs ?? [channels])
    if (!worthwhile(outputs, block) || !(isPlain || worthBlocking(x))) return false
    if (shapes.groups > 1 && !(fills(from) && outputs % block === 0)) return false
    const stored = isPlain ? channels : storedChannels(from, block)
    const kept = storedChannels([outputs], block)
    const problem = blockedConvProblem(
      {
        ...shapes,
        x: [xShape[0]!, stored, ...xShape.slice(2)],
        weight: [kept, shapes.groups > 1 ? wShape[1]! : stored, ...wShape.slice(2)],
        y: [yShape[0]!, kept, ...yShape.slice(2)],
      },
      block,
    )
    if (problem) return false
    const spreadWeight = spread(asPlain(weight), [outputs], 0)
    const kernel = write('BlockWeight', [isPlain ? spreadWeight : spread(spreadWeight, from, 1)], undefined)
    const { before, after, strides, dilations } = shapes
    const attributes = new Map([
      ...inBlocks(node).attributes,
      ...attributesOf({ pads: [...before, ...after], strides, dilations }),
    ])
    attributes.delete('auto_pad')
    const inputs = [isPlain ? asPlain(x) : asBlocked(x, from), kernel]
    if (bias) inputs.push(spread(asPlain(bias), [outputs], 0))
    place(node, inputs, { runs: [outputs], domain: blockedDomain, attributes })
    return true
  }

  function placeNorm(node: Node, { name, runs }: Blocked): void {
    const [y = '', ...statistics] = node.outputs
    const [next, ...more] = uses.consumers(y)
    const relu = next?.opType === 'Relu' && more.length === 0 && !uses.isOutput(y) ? next : undefined
    if (relu) fused.add(relu)
    const vectors = node.inputs.slice(1).map((value) => spread(asPlain(value), runs, 0))
    const outputs = fills(runs)
      ? statistics
      : statistics.map((output) => (output ? build.fresh(`${output}__blocked`) : ''))
    place({ ...node, outputs: [relu ? keyOf(relu) : y, ...outputs] }, [name, ...vectors], {
      runs,
      ...inBlocks(node, relu ? { activation: 'Relu' } : {}),
    })
    if (outputs === statistics) return
    statistics.forEach((output, i) => {
      if (output) write('PickChannels', [outputs[i]!], output, { axis: 0, runs })
    })
  }

  function placeElementwise(node: Node): boolean {
    const { inputs, outputs, opType } = node
    const [y = '', ...others] = outputs
    const runs = inputs.map((value) => blocked.get(value)?.runs).find((known) => known)
    const shape = shapeOf(y)?.join()
    if (!isOnnxDomain(node.domain) || !runs || !shape) return false
    if (!(fills(runs) ? elementwise : keepsZeros).has(opType)) return false
    if (others.some((output) => output && (uses.isOutput(output) || uses.consumers(output).length > 0)))
      return false
    const isSetting = (i: number) => i > 0 && (opType === 'Dropout' || opType === 'Clip')
    const isScalar = (value: string) => types.get(value)?.shape?.length === 0
    const fit = inputs.every(
      (value, i) =>
        isSetting(i) ||
        shapeOf(value)?.join() === shape ||
        (isScalar(value) && (fills(runs) || opType === 'Mul')),
    )
    if (!fit) return false
    const names = inputs.map((value, i) =>
      isSetting(i) || isScalar(value) ? asPlain(value) : asBlocked(value, runs),
    )
    place(node, names, { runs })
    return true
  }

  /** Whether the windows of a pool lie side by side and cover its input. */
  function tiles(node: Node): boolean {
    const kernel = intsAttribute(node, 'kernel_shape') ?? []
    const strides = intsAttribute(node, 'strides') ?? [1, 1]
    const [from, to] = [shapeOf(node.inputs[0]!), shapeOf(node.outputs[0]!)]
    return (
      !node.outputs[1] &&
      from !== undefined &&
      to !== undefined &&
      kernel.every((k, i) => k === strides[i] && to[i + 2]! * k === from[i + 2])
    )
  }
}
