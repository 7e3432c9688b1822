import type { Graph, Model, Node } from '../../ir/model.ts'
import { valuesReadBy } from '../../ir/uses.ts'

/** Drops nodes whose outputs nothing reads, then the initializers and graph inputs that only they read. */
export function removeDeadNodes(model: Model): Model {
  const read = new Set(model.graph.outputs.map(({ name }) => name))
  const nodes: Node[] = []
  for (const node of [...model.graph.nodes].reverse()) {
    if (!node.outputs.some((output) => read.has(output))) continue
    for (const value of valuesReadBy(node)) read.add(value)
    nodes.push(node)
  }
  const graph: Graph = {
    ...model.graph,
    nodes: nodes.reverse(),
    initializers: new Map([...model.graph.initializers].filter(([name]) => read.has(name))),
    inputs: model.graph.inputs.filter(({ name }) => read.has(name)),
    types: new Map([...model.graph.types].filter(([name]) => read.has(name))),
  }
  return { ...model, graph }
}
