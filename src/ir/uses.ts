import { type Graph, type Node, subgraphsOf } from './model.ts'

/** Who produces and who consumes each value of one graph. */
export interface Uses {
  /** The node that computes the value; undefined for inputs, initializers and values of an enclosing graph. */
  producer(value: string): Node | undefined
  /** The nodes that read the value, each once, in order; those that only a subgraph reads count for the node that holds it. */
  consumers(value: string): readonly Node[]
  isOutput(value: string): boolean
}

const memo = new WeakMap<Graph, Uses>()

/** Use-def links of `graph`, computed once. */
export function usesOf(graph: Graph): Uses {
  const known = memo.get(graph)
  if (known) return known
  const producers = new Map<string, Node>()
  const consumers = new Map<string, Node[]>()
  const outputs = new Set(graph.outputs.map(({ name }) => name))
  for (const node of graph.nodes) {
    for (const output of node.outputs) if (output) producers.set(output, node)
    for (const input of new Set(valuesReadBy(node))) {
      const readers = consumers.get(input)
      if (readers) readers.push(node)
      else consumers.set(input, [node])
    }
  }
  const uses: Uses = {
    producer: (value) => producers.get(value),
    consumers: (value) => consumers.get(value) ?? [],
    isOutput: (value) => outputs.has(value),
  }
  memo.set(graph, uses)
  return uses
}

/** Values that a node reads: its inputs and what its subgraphs take from outside. */
export function valuesReadBy(node: Node): string[] {
  const read = node.inputs.filter((input) => input !== '')
  for (const { graph } of subgraphsOf(node)) read.push(...freeValuesOf(graph))
  return read
}

/** Values that a subgraph takes from the graphs around it. */
export function freeValuesOf(graph: Graph): string[] {
  const bound = new Set<string>([...graph.inputs.map(({ name }) => name), ...graph.initializers.keys()])
  const free = new Set<string>()
  for (const node of graph.nodes) {
    for (const value of valuesReadBy(node)) if (!bound.has(value)) free.add(value)
    for (const output of node.outputs) bound.add(output)
  }
  for (const { name } of graph.outputs) if (!bound.has(name)) free.add(name)
  return [...free]
}
