import { keyOf, labelOf, type Model, type Node } from '../ir/model.ts'
import { valuesReadBy } from '../ir/uses.ts'
import { opOf } from '../ops/index.ts'
import type { Facts } from './facts.ts'

export type OutlineKind =
  | 'input'
  | 'noise'
  | 'norm'
  | 'weight'
  | 'merge'
  | 'activation'
  | 'pool'
  | 'other'
  | 'output'

export interface OutlineNode {
  readonly label: string
  readonly key: string
  readonly opType: string
  readonly byteOffset?: number
  readonly kind: OutlineKind
  /** Length of the longest way from an input. */
  readonly rank: number
}

export interface Outline {
  nodes: OutlineNode[]
  /** Positions in `nodes`: from, to. */
  edges: [number, number][]
}

/** Beyond this many nodes nobody reads a drawing; nodes in plain chains are left out then, the dullest kinds first. */
const defaultLimit = 4000

const dullest: readonly (readonly OutlineKind[])[] = [
  [],
  ['activation', 'other'],
  ['activation', 'other', 'pool', 'weight'],
]

/** The graph as a person would draw it: without constants and without the nodes that only move elements. */
export function outlineOf(
  model: Model,
  facts: Pick<Facts, 'noises' | 'norms'>,
  { limit = defaultLimit }: { limit?: number } = {},
): Outline {
  let outline: Outline = { nodes: [], edges: [] }
  for (const skipped of dullest) {
    outline = drawn(model, facts, new Set(skipped))
    if (outline.nodes.length <= limit) return outline
  }
  return { nodes: outline.nodes.slice(0, limit), edges: outline.edges.filter(([, to]) => to < limit) }
}

function drawn(
  { graph }: Model,
  facts: Pick<Facts, 'noises' | 'norms'>,
  skipped: ReadonlySet<OutlineKind>,
): Outline {
  const nodes: OutlineNode[] = []
  const edges: [number, number][] = []
  /** For each value, the drawn nodes that it comes from. */
  const sources = new Map<string, readonly number[]>()
  const normKeys = new Set(facts.norms.map(({ key }) => key))
  const noiseOf = new Map(facts.noises.map((noise) => [noise.key, noise]))
  const insideNoise = new Set(facts.noises.flatMap((noise) => noise.nodes.slice(0, -1)))

  const draw = (node: Omit<OutlineNode, 'rank'>, from: readonly number[]): number => {
    const rank = from.reduce((longest, i) => Math.max(longest, nodes[i]!.rank + 1), 0)
    nodes.push({ ...node, rank })
    for (const i of from) edges.push([i, nodes.length - 1])
    return nodes.length - 1
  }
  const place = (node: Node) => ({
    label: labelOf(node),
    key: keyOf(node),
    opType: node.opType,
    ...(node.origin?.byteOffset === undefined ? {} : { byteOffset: node.origin.byteOffset }),
  })

  for (const { name } of graph.inputs)
    if (!graph.initializers.has(name))
      sources.set(name, [draw({ label: name, key: name, opType: 'input', kind: 'input' }, [])])

  for (const node of graph.nodes) {
    const noise = noiseOf.get(keyOf(node))
    const read = noise ? [noise.input] : valuesReadBy(node)
    const from = [...new Set(read.flatMap((value) => sources.get(value) ?? []))]
    if (insideNoise.has(node) || (from.length === 0 && node.inputs.length + read.length === 0)) continue
    if (from.length === 0) continue
    const kind = kindOf(node, { isNoise: noise !== undefined, isNorm: normKeys.has(keyOf(node)), sources })
    const isPlain = from.length === 1 && kind !== undefined && skipped.has(kind)
    const reached = kind === undefined || isPlain ? from : [draw({ ...place(node), kind }, from)]
    for (const output of node.outputs) if (output) sources.set(output, reached)
  }

  for (const { name } of graph.outputs)
    draw({ label: name, key: name, opType: 'output', kind: 'output' }, sources.get(name) ?? [])
  return { nodes, edges }
}

/** The part that a node plays; undefined for one that only moves elements. */
function kindOf(
  node: Node,
  {
    isNoise,
    isNorm,
    sources,
  }: { isNoise: boolean; isNorm: boolean; sources: ReadonlyMap<string, readonly number[]> },
): OutlineKind | undefined {
  if (isNoise) return 'noise'
  if (isNorm) return 'norm'
  const op = opOf(node)
  const moving = node.inputs.map((input) => sources.has(input))
  const flows = op.flow({ node, opset: 0, moving })
  const carried = flows.filter((flow, i) => moving[i] && flow !== 'none')
  if (op.role === 'merge') {
    if (carried.length > 1) return 'merge'
  } else if (op.role) return op.role
  if (carried.every((flow) => flow === 'layout')) return carried.length > 1 ? 'merge' : undefined
  return 'other'
}
