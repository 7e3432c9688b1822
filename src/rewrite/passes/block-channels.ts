import { typesOf } from '../../analysis/infer-types.ts'
import { attributesOf, GraphBuilder } from '../../ir/builder.ts'
import { intAttribute, intsAttribute, isOnnxDomain, keyOf, type Model, type Node } from '../../ir/model.ts'
import { usesOf, valuesReadBy } from '../../ir/uses.ts'
import { blockedConvProblem, blockedDomain, expandBlocked } from '../../ops/blocked/index.ts'
import { convShapes } from '../../ops/conv-gradient/shapes.ts'
import { opOf } from '../../ops/index.ts'

/** Operators that act on every element by itself, or on elements at the same place of values of one shape. */
const elementwise = new Set(['Add', 'Sub', 'Mul', 'Div', 'Sum', 'Identity', 'Dropout'])

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
  /** Names of values in the layouts that they exist in. */
  const blocked = new Map<string, string>()
  const plain = new Map<string, string>()
  const skipped = new Set<Node>()

  const shapeOf = (value: string) => {
    const { dataType, shape } = types.get(value) ?? {}
    if (dataType !== 'float32' || !shape?.every((size) => typeof size === 'number')) return undefined
    return shape as readonly number[]
  }
  const fits = (value: string) => {
    const shape = shapeOf(value)
    return shape?.length === 4 && shape[1]! % block === 0
  }
  const change = (opType: 'Block' | 'Unblock', value: string, output: string) =>
    build.several(opType, [value], [output], { block }, blockedDomain)[0]!
  const asBlocked = (value: string) => {
    if (!blocked.has(value)) blocked.set(value, change('Block', value, build.fresh(`${value}__blocked`)))
    return blocked.get(value)!
  }
  const asPlain = (value: string) => {
    if (!blocked.has(value) || plain.has(value)) return plain.get(value) ?? value
    change('Unblock', blocked.get(value)!, value)
    plain.set(value, value)
    return value
  }
  /** A node that gives its first output blocked. */
  const place = (node: Node, inputs: readonly string[], others: Partial<Node> = {}) => {
    const [output = '', ...rest] = node.outputs
    const name = build.fresh(`${output}__blocked`)
    build.keep({ ...node, inputs, outputs: [name, ...rest], ...others })
    blocked.set(output, name)
  }
  const inBlocks = (node: Node, settings = {}) => ({
    domain: blockedDomain,
    attributes: new Map([...node.attributes, ...attributesOf({ ...settings, block })]),
  })

  for (const node of graph.nodes) {
    if (skipped.has(node)) continue
    const [x = '', weight = '', ...others] = node.inputs
    const [y = ''] = node.outputs
    const op = isOnnxDomain(node.domain) ? node.opType : ''
    if (op === 'Conv' && convFits(node)) {
      const input = shapeOf(x)![1]! < block ? asPlain(x) : asBlocked(x)
      const [kernel] = build.several('BlockWeight', [asPlain(weight)], 1, { block }, blockedDomain)
      const { attributes } = inBlocks(node)
      const { before, after, strides, dilations } = shapesOf(node)!
      const resolved = attributesOf({ pads: [...before, ...after], strides, dilations })
      const given = new Map([...attributes, ...resolved])
      given.delete('auto_pad')
      place(node, [input, kernel!, ...others], { domain: blockedDomain, attributes: given })
    } else if (op === 'BatchNormalization' && blocked.has(x) && intAttribute(node, 'training_mode') === 1) {
      const [next, ...more] = uses.consumers(y)
      const relu = next?.opType === 'Relu' && more.length === 0 && !uses.isOutput(y) ? next : undefined
      if (relu) skipped.add(relu)
      const named = relu ? { ...node, outputs: [keyOf(relu), ...node.outputs.slice(1)] } : node
      place(named, [asBlocked(x), weight, ...others], inBlocks(node, relu ? { activation: 'Relu' } : {}))
    } else if ((op === 'MaxPool' || op === 'AveragePool') && blocked.has(x) && tiles(node))
      place(node, [asBlocked(x)], inBlocks(node))
    else if (op === 'GlobalAveragePool' && blocked.has(x)) {
      place(node, [asBlocked(x)], inBlocks(node))
      build.op('Identity', [blocked.get(y)!], {}, y)
      plain.set(y, y)
    } else if (staysBlocked(node)) {
      const axis = op === 'Concat' || shapeOf(y) ? node.inputs : []
      place(
        node,
        axis.map((input) => (fits(input) ? asBlocked(input) : asPlain(input))),
      )
    } else {
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

  function shapesOf(node: Node) {
    const [x, weight, y] = [node.inputs[0]!, node.inputs[1]!, node.outputs[0]!].map(shapeOf)
    return x && weight && y ? convShapes(node, x, weight, y) : undefined
  }
  function convFits(node: Node): boolean {
    const shapes = shapesOf(node)
    return shapes !== undefined && blockedConvProblem(shapes, block) === undefined
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
  function staysBlocked(node: Node): boolean {
    const { inputs, outputs, opType } = node
    const [y = '', ...others] = outputs
    if (!isOnnxDomain(node.domain) || !inputs.some((input) => blocked.has(input)) || !fits(y)) return false
    if (opType === 'Concat') return intAttribute(node, 'axis') === 1 && inputs.every(fits)
    if (!elementwise.has(opType) && !(opOf(node).role === 'activation' && inputs.length === 1)) return false
    if (opType === 'Softmax' || opType === 'LogSoftmax' || opType === 'Hardmax') return false
    const shape = shapeOf(y)!.join()
    return (
      !others.some((output) => output && (uses.isOutput(output) || uses.consumers(output).length > 0)) &&
      inputs.every((input, i) => {
        const dims = types.get(input)?.shape
        return shapeOf(input)?.join() === shape || dims?.length === 0 || (opType === 'Dropout' && i > 0)
      })
    )
  }
}

/** The model with what `blockChannels` and the gradients of its operators left to say written in ONNX Runtime's operators. */
export function expandBlockedNodes(model: Model): Model {
  const types = typesOf(model)
  const build = new GraphBuilder(model)
  for (const node of model.graph.nodes) {
    if (node.domain !== blockedDomain) build.keep(node)
    else expandBlocked(build, node, types.get(node.inputs[0]!)!.shape as readonly number[])
  }
  const opsets = new Map(model.opsets)
  opsets.delete(blockedDomain)
  opsets.set('com.microsoft.nchwc', 1)
  const graph = { ...model.graph, nodes: build.nodes, initializers: build.initializers }
  return { ...model, opsets, graph }
}
