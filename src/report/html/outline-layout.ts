import type { Outline } from '../../result/result.ts'

/** A node in its place: a column along the way from input to output, a lane beside the trunk (0). */
export interface PlacedNode {
  readonly node: number
  readonly column: number
  readonly lane: number
}

/** A piece of an edge between two points; pieces that change lanes are one column long wherever possible. */
export interface Segment {
  readonly from: readonly [column: number, lane: number]
  readonly to: readonly [column: number, lane: number]
  /** It lies on a way from a noise to a norm. */
  readonly marked: boolean
}

export interface OutlineLayout {
  readonly columns: number
  readonly nodes: readonly PlacedNode[]
  readonly segments: readonly Segment[]
  /** Stretches without anything of interest, left out: where, and how many nodes they hide. */
  readonly gaps: readonly { readonly column: number; readonly hidden: number }[]
}

/** Lanes beside the trunk before further edges share the last one, like the wires of a bus. */
const maxLane = 6

/** Nets with at most so many ranks are drawn whole. */
const wholeRanks = 72

/** Ranks kept on either side of something of interest, and the shortest stretch worth leaving out. */
const margin = 4
const shortestGap = 10

/**
 * Lay out the outline of a graph in layers: the longest way from input to output is the trunk, everything else gets the
 * nearest lane that is free where it runs. Long stretches without a node of `interest` are left out.
 */
export function layoutOutline(
  { nodes, edges }: Outline,
  { interest, marked }: { readonly interest: ReadonlySet<number>; readonly marked: ReadonlySet<string> },
): OutlineLayout {
  const forward = edges.filter(([a, b]) => nodes[a] && nodes[b] && nodes[a].rank < nodes[b].rank)
  const { columnOf, columns, gaps } = columnsOf(nodes, interest)
  const trunk = trunkOf(nodes, forward)
  const busy = new Map<number, Uint8Array>()
  const lane = (index: number) => {
    const known = busy.get(index) ?? new Uint8Array(columns)
    busy.set(index, known)
    return known
  }
  const free = (index: number, first: number, last: number) =>
    lane(index)
      .subarray(first, last + 1)
      .every((used) => used === 0)
  const nearest = (first: number, last: number, wished: number) => {
    if (wished > 0 && free(wished, first, last)) return wished
    for (let index = 1; index < maxLane; index++) if (free(index, first, last)) return index
    return maxLane
  }
  const predecessors = new Map<number, number[]>()
  for (const [a, b] of forward) predecessors.set(b, [...(predecessors.get(b) ?? []), a])

  const laneOf = new Map<number, number>()
  const placed: PlacedNode[] = []
  const order = nodes.map((_, i) => i).toSorted((a, b) => nodes[a]!.rank - nodes[b]!.rank)
  for (const node of order) {
    const column = columnOf.get(nodes[node]!.rank)!
    if (!column.shown) continue
    const wished = Math.max(0, ...(predecessors.get(node) ?? []).map((from) => laneOf.get(from) ?? 0))
    const index = trunk.has(node) ? 0 : nearest(column.at, column.at, wished)
    lane(index)[column.at] = 1
    laneOf.set(node, index)
    placed.push({ node, column: column.at, lane: index })
  }

  const segments: Segment[] = []
  const seen = new Set<string>()
  const span = ([a, b]: readonly [number, number]) =>
    columnOf.get(nodes[b]!.rank)!.at - columnOf.get(nodes[a]!.rank)!.at
  for (const edge of forward.toSorted((a, b) => span(a) - span(b))) {
    const [a, b] = edge
    const [from, to] = [columnOf.get(nodes[a]!.rank)!.at, columnOf.get(nodes[b]!.rank)!.at]
    if (from === to) continue
    const [start, end] = [laneOf.get(a) ?? 0, laneOf.get(b) ?? 0]
    const onPath = marked.has(`${a} ${b}`)
    const name = `${from} ${start} ${to} ${end}`
    if (seen.has(name) && !onPath) continue
    seen.add(name)
    if (to - from === 1) {
      segments.push({ from: [from, start], to: [to, end], marked: onPath })
      continue
    }
    // Into a gap the trunk goes on; a gap is wider than a node, so this is no detour around anything.
    const hidden = !laneOf.has(a) || !laneOf.has(b)
    const trunkGoesOn = hidden && start === 0 && end === 0 && to - from === 2
    const index = trunkGoesOn ? 0 : nearest(from + 1, to - 1, Math.max(start, end))
    if (index > 0 && index < maxLane) lane(index).fill(1, from + 1, to)
    segments.push(
      { from: [from, start], to: [from + 1, index], marked: onPath },
      { from: [from + 1, index], to: [to - 1, index], marked: onPath },
      { from: [to - 1, index], to: [to, end], marked: onPath },
    )
  }
  return { columns, nodes: placed, segments, gaps }
}

interface RankColumn {
  readonly at: number
  readonly shown: boolean
}

function columnsOf(nodes: Outline['nodes'], interest: ReadonlySet<number>) {
  const ranks = [...new Set(nodes.map(({ rank }) => rank))].toSorted((a, b) => a - b)
  const wanted = new Set([...interest].map((i) => nodes[i]?.rank))
  const near = ranks.map((_, i) =>
    ranks.slice(Math.max(0, i - margin), i + margin + 1).some((rank) => wanted.has(rank)),
  )
  const shown = ranks.map(() => true)
  if (ranks.length > wholeRanks && interest.size > 0)
    for (let i = 0; i < ranks.length; ) {
      let end = i
      while (end < ranks.length && near[end] === near[i]) end++
      if (!near[i] && end - i >= shortestGap) shown.fill(false, i, end)
      i = end
    }
  const columnOf = new Map<number, RankColumn>()
  const gaps: { column: number; hidden: number }[] = []
  const sizes = new Map<number, number>()
  for (const { rank } of nodes) sizes.set(rank, (sizes.get(rank) ?? 0) + 1)
  let at = 0
  ranks.forEach((rank, i) => {
    if (shown[i]) {
      columnOf.set(rank, { at, shown: true })
      at++
      return
    }
    // A gap takes three columns: its middle one carries the remark.
    if (shown[i - 1] !== false) {
      gaps.push({ column: at + 1, hidden: 0 })
      at += 3
    }
    const gap = gaps.at(-1)!
    gap.hidden += sizes.get(rank)!
    columnOf.set(rank, { at: gap.column, shown: false })
  })
  return { columnOf, columns: at, gaps }
}

/** The nodes of one longest way through the graph. */
function trunkOf(nodes: Outline['nodes'], edges: readonly (readonly [number, number])[]): Set<number> {
  const best = new Map<number, number>()
  for (const [a, b] of edges) {
    const known = best.get(b)
    if (known === undefined || nodes[a]!.rank > nodes[known]!.rank) best.set(b, a)
  }
  let at: number | undefined
  nodes.forEach((node, i) => {
    const last = at === undefined ? undefined : nodes[at]!
    if (!last || node.rank > last.rank) at = i
  })
  const trunk = new Set<number>()
  while (at !== undefined && !trunk.has(at)) {
    trunk.add(at)
    at = best.get(at)
  }
  return trunk
}
