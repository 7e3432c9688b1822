import {
  type Graph,
  isOnnxDomain,
  keyOf,
  labelOf,
  type Model,
  type Node,
  opsetOf,
  subgraphsOf,
} from '../ir/model.ts'
import type { Nested, NestedFacts } from './facts.ts'
import { noisesIn } from './noises.ts'
import { isNorm } from './norms.ts'

/** Norms and noises inside subgraphs (branches of If, bodies of Loop and Scan), where they can be found but not measured. */
export function nestedOf(model: Model): NestedFacts {
  const norms: Nested[] = []
  const noises: Nested[] = []
  const opset = opsetOf(model)
  const search = (graph: Graph, inside: readonly string[]) => {
    for (const node of graph.nodes)
      for (const { graph: inner } of subgraphsOf(node)) {
        const path = [...inside, labelOf(node)]
        for (const held of inner.nodes) if (isNorm(held)) norms.push(nested(held, path))
        if (holdsRandom(inner))
          for (const noise of noisesIn(inner, opset, new Map()))
            noises.push(nested(noise.nodes.at(-1)!, path))
        search(inner, path)
      }
  }
  search(model.graph, [])
  return { norms, noises }
}

const nested = (node: Node, inside: readonly string[]): Nested => ({
  node,
  label: labelOf(node) || keyOf(node),
  inside,
})

const holdsRandom = (graph: Graph) =>
  graph.nodes.some(
    ({ opType, domain }) =>
      isOnnxDomain(domain) && (opType === 'Dropout' || opType === 'Bernoulli' || opType.startsWith('Random')),
  )
