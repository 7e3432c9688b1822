import { isOnnxDomain, type Model, type Node, opsetOf } from '../ir/model.ts'
import { valuesReadBy } from '../ir/uses.ts'
import type { Flow } from '../ops/define-op.ts'
import { opOf } from '../ops/index.ts'
import { noiseUnit } from '../ops/noises/index.ts'
import type { Noise, NoisePath, Norm } from './facts.ts'

/**
 * What has become of the noise on its way. `own` and `factor`: it is still a factor of single elements, after nodes that
 * only move elements and after others; `mixed`: elements were added up; `lost`: something non-linear lay between.
 */
const own = 0
const factor = 1
const mixed = 2
const lost = 3
type State = typeof own | typeof factor | typeof mixed | typeof lost
const states = 4

/** State of a noise behind a node, by its state before and the flow of the node. */
function stateAfter(state: State, flow: Flow, commutes: boolean, isShared: boolean): State | undefined {
  const isFactor = state === own || state === factor
  switch (flow) {
    case 'none':
      return undefined
    case 'layout':
      return state
    case 'scaling':
      return state === own ? factor : state
    case 'linear':
      return state === lost ? lost : mixed
    // A factor that is not negative passes a Relu unchanged: relu(m x) = m relu(x).
    case 'homogeneous':
      return isFactor && commutes ? factor : lost
    case 'pooling':
      return isFactor && commutes && isShared ? factor : lost
    case 'nonlinear':
      return lost
  }
}

/** Nodes and values of a graph by number, with what each node reads and writes. */
interface Numbered {
  readonly nodes: readonly Node[]
  /** Values that each node reads: numbers of those that nodes write or that are fed, -1 for others. */
  readonly reads: readonly Int32Array[]
  readonly writes: readonly Int32Array[]
  readonly ids: ReadonlyMap<string, number>
  /** Flows through a node if only the input `single` moves, or those in `moving`. */
  flowsOf(node: number, single: number, moving: readonly boolean[] | undefined): readonly Flow[]
}

function numbered(model: Model, noises: readonly Noise[]): Numbered {
  const { nodes, inputs } = model.graph
  const ids = new Map<string, number>()
  for (const { name } of inputs) ids.set(name, ids.size)
  for (const node of nodes)
    for (const output of node.outputs) if (output !== '' && !ids.has(output)) ids.set(output, ids.size)
  const idOf = (value: string) => ids.get(value) ?? -1
  // A noise that is spelled out counts as one node, its last, which reads what it perturbs.
  const noiseOf = new Map(noises.map((noise) => [noise.nodes.at(-1)!, noise]))
  const inside = new Set(noises.flatMap((noise) => noise.nodes.slice(0, -1)))
  const nothing = new Int32Array()
  const reads = nodes.map((node) => {
    const noise = noiseOf.get(node)
    if (noise) return Int32Array.of(idOf(noise.input))
    if (inside.has(node)) return nothing
    // What a subgraph takes from outside comes after the inputs and flows as the operator likes least.
    const free = valuesReadBy(node).slice(node.inputs.filter((value) => value !== '').length)
    return Int32Array.from([...node.inputs, ...free], idOf)
  })
  const writes = nodes.map((node) => {
    const noise = noiseOf.get(node)
    return Int32Array.from(noise ? [noise.output] : node.outputs.filter((value) => value !== ''), idOf)
  })
  const opset = opsetOf(model)
  const singles: (readonly Flow[])[][] = nodes.map(() => [])
  const several: Map<string, readonly Flow[]>[] = nodes.map(() => new Map())
  const through = (index: number, moving: readonly boolean[]) =>
    flowsThrough(nodes[index]!, noiseOf.get(nodes[index]!), opset, moving)
  const flowsOf = (index: number, single: number, moving: readonly boolean[] | undefined) => {
    if (!moving) {
      const known = singles[index]![single]
      if (known) return known
      const flows = through(
        index,
        Array.from(reads[index]!, (_, i) => i === single),
      )
      singles[index]![single] = flows
      return flows
    }
    const key = moving.map(Number).join('')
    const known = several[index]!.get(key) ?? through(index, moving)
    several[index]!.set(key, known)
    return known
  }
  return { nodes, reads, writes, ids, flowsOf }
}

function flowsThrough(
  node: Node,
  noise: Noise | undefined,
  opset: number,
  moving: readonly boolean[],
): readonly Flow[] {
  // Another noise scales what passes (its mask is independent of it) or shifts it; either way it stays where it is.
  if (noise) return [isMultiplicative(noise) ? 'layout' : 'linear']
  const flows = opOf(node).flow({ node, opset: isOnnxDomain(node.domain) ? opset : 1, moving })
  return moving.map((_, i) => flows[i] ?? 'nonlinear')
}

const isMultiplicative = ({ kind }: Noise) => kind !== 'additive-gaussian' && kind !== 'alpha-dropout'

/** Whether the factors of the noise are never negative. */
function commutesWithRelu({ kind, parameter }: Noise): boolean {
  const { value } = parameter
  const unit = noiseUnit(kind)
  return unit.isScaling(value ?? unit.parameter.max)
}

/** Where one noise goes: for each value and state the shortest way there. */
interface Sweep {
  /** By value * 4 + state: number of nodes on the way, or -1. */
  readonly distance: Int32Array
  /** By value * 4 + state: the value * 4 + state before, or -1 at the noise. */
  readonly before: Int32Array
  /** By value: position of the node that writes it. */
  readonly writer: Int32Array
}

function sweepOf(graph: Numbered, noise: Noise, positions: ReadonlyMap<Node, number>): Sweep {
  const size = graph.ids.size
  const distance = new Int32Array(size * states).fill(-1)
  const before = new Int32Array(size * states).fill(-1)
  const writer = new Int32Array(size).fill(-1)
  distance[graph.ids.get(noise.output)! * states + own] = 0
  const commutes = commutesWithRelu(noise)
  const isShared = noise.sharing !== 'element'
  const reached = new Uint8Array(size)
  reached[graph.ids.get(noise.output)!] = 1
  const start = positions.get(noise.nodes.at(-1)!)!
  for (let n = start + 1; n < graph.nodes.length; n++) {
    const reads = graph.reads[n]!
    let count = 0
    let single = -1
    for (let i = 0; i < reads.length; i++)
      if (reads[i]! >= 0 && reached[reads[i]!] === 1) {
        count++
        single = i
      }
    if (count === 0) continue
    const isMoving = (id: number) => id >= 0 && reached[id] === 1
    const flows = graph.flowsOf(n, single, count === 1 ? undefined : Array.from(reads, isMoving))
    for (let i = 0; i < reads.length; i++) {
      if (!isMoving(reads[i]!)) continue
      for (let state = 0; state < states; state++) {
        const from = reads[i]! * states + state
        if (distance[from]! < 0) continue
        const after = stateAfter(state as State, flows[i]!, commutes, isShared)
        if (after === undefined) continue
        for (const output of graph.writes[n]!) {
          const to = output * states + after
          const steps = distance[from]! + 1
          if (distance[to]! >= 0 && distance[to]! <= steps) continue
          distance[to] = steps
          before[to] = from
          writer[output] = n
          reached[output] = 1
        }
      }
    }
  }
  return { distance, before, writer }
}

/** The best state in which the noise arrives at a value: the less happened to it, the better; undefined if it does not. */
function arrivalAt({ distance }: Sweep, value: number): State | undefined {
  const at = (state: State) => distance[value * states + state]!
  if (at(own) >= 0) return own
  if (at(factor) >= 0 && at(mixed) >= 0) return at(factor) <= at(mixed) ? factor : mixed
  if (at(factor) >= 0) return factor
  if (at(mixed) >= 0) return mixed
  return at(lost) >= 0 ? lost : undefined
}

const throughOf = { [own]: 'direct', [factor]: 'linear', [mixed]: 'linear', [lost]: 'nonlinear' } as const

/** Bytes of sweeps that are kept for answering which way a noise took; older ones are made again. */
const keptBytes = 64 * 2 ** 20

/**
 * For every norm, in order, the ways by which each noise reaches it: the kind of the least that happens to the noise on
 * any way (theory: "direct", "linear"), and the shortest way of that kind.
 *
 * Nodes that commute with factors that are not negative (Relu) do not end linearity while the noise is still a factor
 * of single elements: dropout -> relu -> conv is as exposed as dropout -> conv.
 * One sweep over the graph for each noise; the steps of a path are looked up when somebody asks for them.
 */
export function noisePaths(
  model: Model,
  noises: readonly Noise[],
  norms: readonly Norm[],
): ReadonlyMap<string, readonly NoisePath[]> {
  const graph = numbered(model, noises)
  const positions = new Map(graph.nodes.map((node, i) => [node, i]))
  const kept = new Map<Noise, Sweep>()
  const limit = Math.max(1, Math.floor(keptBytes / (graph.ids.size * states * 8)))
  const sweep = (noise: Noise): Sweep => {
    const known = kept.get(noise)
    if (known) return known
    const made = sweepOf(graph, noise, positions)
    if (kept.size >= limit) kept.delete(kept.keys().next().value!)
    kept.set(noise, made)
    return made
  }
  const way = (noise: Noise, arrival: number) => wayTo(graph, sweep(noise), arrival)
  const found = new Map<string, NoisePath[]>(norms.map(({ key }) => [key, []]))
  for (const noise of noises) {
    const reached = sweep(noise)
    for (const norm of norms) {
      const value = graph.ids.get(norm.node.inputs[0] ?? '')
      const state = value === undefined ? undefined : arrivalAt(reached, value)
      if (value === undefined || state === undefined) continue
      found.get(norm.key)!.push(new Path(noise, norm, throughOf[state], way, value * states + state))
    }
  }
  return found
}

type Way = Pick<NoisePath, 'steps' | 'firstNonlinear'>

/** There can be hundreds of thousands of these, so the steps are looked up on demand. */
class Path implements NoisePath {
  readonly noise: Noise
  readonly norm: Norm
  readonly through: NoisePath['through']
  readonly #find: (noise: Noise, arrival: number) => Way
  readonly #arrival: number
  #way: Way | undefined

  constructor(
    noise: Noise,
    norm: Norm,
    through: NoisePath['through'],
    find: (noise: Noise, arrival: number) => Way,
    arrival: number,
  ) {
    this.noise = noise
    this.norm = norm
    this.through = through
    this.#find = find
    this.#arrival = arrival
  }

  get steps(): readonly Node[] {
    return this.#found.steps
  }

  get firstNonlinear(): Node | undefined {
    return this.#found.firstNonlinear
  }

  get #found(): Way {
    this.#way ??= this.#find(this.noise, this.#arrival)
    return this.#way
  }
}

function wayTo(graph: Numbered, { before, writer }: Sweep, arrival: number): Way {
  const steps: Node[] = []
  let firstNonlinear: Node | undefined
  for (let at = arrival; before[at]! >= 0; at = before[at]!) {
    const node = graph.nodes[writer[Math.floor(at / states)]!]!
    steps.push(node)
    if (at % states === lost && before[at]! % states !== lost) firstNonlinear = node
  }
  return { steps: steps.reverse(), firstNonlinear }
}
