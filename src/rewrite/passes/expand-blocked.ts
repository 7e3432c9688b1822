import { typesOf } from '../../analysis/infer-types.ts'
import { GraphBuilder } from '../../ir/builder.ts'
import type { Model, Node } from '../../ir/model.ts'
import { usesOf } from '../../ir/uses.ts'
import { blockedDomain, expandBlocked, nchwcDomain } from '../../ops/blocked/index.ts'

/**
 * The model with what `blockChannels` and the gradients of its operators left to say written in ONNX Runtime's own
 * operators, and with additions done by the convolutions in front of them.
 */
export function expandBlockedNodes(model: Model): Model {
  const types = typesOf(model)
  const build = new GraphBuilder(model)
  for (const node of model.graph.nodes) {
    if (node.domain !== blockedDomain) build.keep(node)
    else expandBlocked(build, node, types.get(node.inputs[0]!)!.shape as readonly number[])
  }
  const opsets = new Map(model.opsets)
  opsets.delete(blockedDomain)
  opsets.set(nchwcDomain, 1)
  const graph = { ...model.graph, nodes: build.nodes, initializers: build.initializers }
  return addInConvolutions({ ...model, opsets, graph })
}

/** Blocked convolutions can add a value to their result: saves a pass over it for every Add of a residual network. */
function addInConvolutions(model: Model): Model {
  const { graph } = model
  const uses = usesOf(graph)
  const types = typesOf(model)
  const shapeOf = (value: string) => types.get(value)?.shape?.join()
  const build = new GraphBuilder(model)
  /** Convolutions by what they give, written only where that is read, with what they are to add. */
  const moved = new Set<Node>()

  /** The convolutions that make `value` one after the other, if the first of them has nothing to add yet. */
  function chainOf(value: string): Node[] | undefined {
    const node = uses.producer(value)
    if (node?.opType !== 'Conv' || node.domain !== nchwcDomain || node.attributes.has('activation'))
      return undefined
    if (uses.consumers(value).length > 1 || uses.isOutput(value) || moved.has(node)) return undefined
    const sum = node.inputs[3]
    if (!sum) return [node]
    const inner = chainOf(sum)
    return inner && [...inner, node]
  }

  const additions = new Map<Node, { chains: Node[][]; others: string[] }>()
  for (const node of graph.nodes) {
    if (node.domain !== '' || (node.opType !== 'Add' && node.opType !== 'Sum') || node.inputs.length < 2)
      continue
    const shape = shapeOf(node.inputs[0]!)
    const isSame = node.inputs.every((input) => shape !== undefined && shapeOf(input) === shape)
    if (!isSame || new Set(node.inputs).size < node.inputs.length) continue
    const chains: Node[][] = []
    const others: string[] = []
    for (const [i, input] of node.inputs.entries()) {
      // Something has to be left to start from.
      const isLast = i === node.inputs.length - 1 && others.length === 0
      const chain = isLast ? undefined : chainOf(input)
      if (!chain) others.push(input)
      else {
        chains.push(chain)
        for (const link of chain) moved.add(link)
      }
    }
    if (chains.length > 0) additions.set(node, { chains, others })
  }

  for (const node of graph.nodes) {
    if (moved.has(node)) continue
    const addition = additions.get(node)
    if (!addition) {
      build.keep(node)
      continue
    }
    const { chains, others } = addition
    let sum = others.length === 1 ? others[0]! : build.op('Sum', others)
    const links = chains.flat()
    links.forEach((link, i) => {
      const [x = '', weight = '', bias = ''] = link.inputs
      const output = i === links.length - 1 ? node.outputs[0]! : link.outputs[0]!
      build.keep({ ...link, inputs: [x, weight, bias, sum], outputs: [output] })
      sum = output
    })
  }
  return { ...model, graph: { ...graph, nodes: build.nodes, initializers: build.initializers } }
}
