import { keyOf, labelOf, type Model, type Node, opsetOf } from '../ir/model.ts'
import { valuesReadBy } from '../ir/uses.ts'
import type { Known } from '../ops/define-op.ts'
import { opOf, unknownOp } from '../ops/index.ts'
import { perturbed } from '../ops/moments/perturb.ts'
import {
  affine,
  closedBy,
  collapsed,
  expanded,
  isClosed,
  isQuiet,
  mergedDims,
  quiet,
  type Spread,
  type Stored,
  steady,
} from '../ops/moments/spread.ts'
import type { Budget } from '../ops/moments/sums.ts'
import { noiseUnit } from '../ops/noises/index.ts'
import type { Noise, NoisePath, Norm, Prediction, Unpredicted } from './facts.ts'
import { knownValues, unlessNonsense } from './infer-types.ts'
import { storedMoments } from './stored-moments.ts'

/** Multiplications to spend on following how channels share noise; a third of a second or so. */
const covarianceBudget = 1.5e8

/** What is known of a value on the way through the graph. */
interface State {
  /** Undefined if it cannot be told; `lost` then says why, unless no noise has reached it. */
  readonly spread?: Spread | undefined
  readonly lost?: string | undefined
  /** Why something that noise did further up is not in the spread. */
  readonly gap?: string | undefined
  readonly assumptions: ReadonlySet<string>
  /** Most norms that noise reaches on a way to the value: what is estimated behind each adds to the error. */
  readonly normsPassed: number
}

/**
 * Half-widths of intervals, of the logarithm of a ratio. `exact` is what statistics that follow the weights of a
 * training leave where the formula is exact. Behind norms errors add up like independent steps, `estimated` times the
 * square root of one plus their number: 90 % of the estimated layers of test/oracle/networks lie within (docs/theory.md,
 * "How far predictions can be trusted", also for networks that had no part in it).
 */
const errors = { exact: 0.1, estimated: 0.135 }

const noAssumptions: ReadonlySet<string> = new Set()
const still: State = { assumptions: noAssumptions, normsPassed: 0 }

function union(sets: readonly ReadonlySet<string>[]): ReadonlySet<string> {
  const filled = [...new Set(sets)].filter(({ size }) => size > 0)
  return filled.length < 2 ? (filled[0] ?? noAssumptions) : new Set(filled.flatMap((set) => [...set]))
}

const including = (set: ReadonlySet<string>, text: string): ReadonlySet<string> =>
  set.has(text) ? set : new Set([...set, text])

/**
 * Predicts for every norm that noise reaches which variance it sees with all noise off, the file as it stands, from
 * the file alone (docs/theory.md: direct, linear, behind).
 *
 * One sweep in graph order keeps mean and variance of every channel in both modes (see ops/spread.ts). What a norm
 * stored settles the train moments of what it normalises; what it gives out has mean `shift` and variance `scale`^2 in
 * train mode, and in eval mode what its input predicts. Where a step has no formula the norms behind are unpredicted.
 */
export function predictions(
  model: Model,
  {
    noises,
    norms,
    pathsTo,
  }: {
    noises: readonly Noise[]
    norms: readonly Norm[]
    pathsTo: ReadonlyMap<string, readonly NoisePath[]>
  },
): ReadonlyMap<string, Prediction | Unpredicted> {
  const found = new Map<string, Prediction | Unpredicted>()
  if (norms.every(({ key }) => (pathsTo.get(key)?.length ?? 0) === 0)) return found
  const known = knownValues(model)
  const stored = storedMoments(model, { known, noises, norms })
  const { nodes, inputs, initializers } = model.graph
  const states = new Map<string, State>()
  const normOf = new Map(norms.map((norm) => [norm.node, norm]))
  const noiseOf = new Map(noises.map((noise) => [noise.nodes.at(-1)!, noise]))
  const inside = new Set(noises.flatMap((noise) => noise.nodes.slice(0, -1)))
  const opset = opsetOf(model)
  const budget = { left: covarianceBudget }
  const readsOf = (node: Node) => {
    const noise = noiseOf.get(node)
    return noise ? [noise.input] : valuesReadBy(node)
  }
  const lastRead = new Map<string, number>()
  for (const [i, node] of nodes.entries())
    if (!inside.has(node)) for (const value of readsOf(node)) lastRead.set(value, i)

  const settle = (value: string, state: State): void => {
    const moments = stored.get(value)
    const next = moments ? settled(state, moments) : state
    // What was assumed on the way does not matter where moments are stored and both modes are the same anyway.
    const isSame = moments && next.spread && isQuiet(next.spread) && !next.gap
    states.set(value, isSame ? { ...next, assumptions: noAssumptions, normsPassed: 0 } : next)
  }

  for (const { name, type } of inputs) {
    const rank = type?.shape?.length
    if (!initializers.has(name)) settle(name, rank === undefined ? still : { ...still, spread: quiet(rank) })
  }
  for (const [i, node] of nodes.entries()) {
    if (inside.has(node)) continue
    const noise = noiseOf.get(node)
    const norm = normOf.get(node)
    if (noise) settle(noise.output, behindNoise(states.get(noise.input) ?? still, noise))
    else if (norm) {
      const state = states.get(node.inputs[0] ?? '') ?? still
      const isReached = (pathsTo.get(norm.key)?.length ?? 0) > 0
      const prediction = predicted(norm, state)
      if (isReached) found.set(norm.key, prediction)
      const rank = known.get(node.inputs[0] ?? '')?.shape?.length
      settle(keyOf(node), behindNorm(norm, state, { prediction, isReached, rank }))
    } else behindNode(node, { states, known, stored, opset, budget, settle })
    for (const value of readsOf(node)) if (lastRead.get(value) === i) states.delete(value)
  }
  return found
}

/** The state of a value whose train moments are stored. */
function settled(state: State, moments: Stored): State {
  if (state.spread) return { ...state, spread: closedBy(state.spread, moments) }
  return {
    assumptions: state.assumptions,
    normsPassed: state.normsPassed,
    spread: steady(moments),
    gap: state.gap ?? state.lost,
  }
}

function behindNoise(state: State, noise: Noise): State {
  const { value } = noise.parameter
  if (value === undefined)
    return {
      ...state,
      spread: undefined,
      lost: `the file does not fix the ${noise.parameter.name} of '${noise.label}'`,
    }
  if (!state.spread) return { ...state, lost: state.lost ?? rankUnknown(`'${noise.label}'`) }
  const spread = perturbed(state.spread, noiseUnit(noise.kind).outcomes(value), noise.sharing)
  return { ...state, spread, lost: spread ? undefined : varianceUnknown(`'${noise.label}'`) }
}

const rankUnknown = (where: string) =>
  `the number of dimensions of what reaches ${where} is not known; run shape inference on the file first`

const varianceUnknown = (where: string) =>
  `the variance of what reaches ${where} is not in the file: no BatchNormalization in front of it or behind it tells`

function behindNode(
  node: Node,
  {
    states,
    known,
    stored,
    opset,
    budget,
    settle,
  }: {
    states: ReadonlyMap<string, State>
    known: ReadonlyMap<string, Known>
    stored: ReadonlyMap<string, Stored>
    opset: number
    budget: Budget
    settle: (value: string, state: State) => void
  },
): void {
  const op = opOf(node)
  const moving = node.inputs.map((input) => states.has(input))
  const flows = op.flow({ node, opset, moving })
  const inside = valuesReadBy(node).slice(node.inputs.filter((value) => value !== '').length)
  const carrying = node.inputs.filter((_, i) => moving[i] && flows[i] !== 'none')
  const read = [...carrying, ...inside].flatMap((value) => states.get(value) ?? [])
  // Constants, and what is computed from them or from shapes.
  if (read.length === 0) return
  const spreads = node.inputs.map((input, i) => (flows[i] === 'none' ? undefined : states.get(input)?.spread))
  const outputs = node.outputs.map((output) => known.get(output) ?? {})
  const lost = read.find((state) => state.lost)?.lost
  const gap = read.find((state) => state.gap)?.gap
  let assumptions = union(read.map((state) => state.assumptions))
  const normsPassed = read.reduce((most, state) => Math.max(most, state.normsPassed), 0)
  const settledOutput = stored.get(node.outputs[0] ?? '')
  const isQuietInput = !lost && read.every(({ spread }) => !spread || isQuiet(spread))
  const moments = () => {
    // What a layer makes of quiet inputs is stored: no need to read its weights.
    if (op.role === 'weight' && settledOutput && isQuietInput) return [quiet(settledOutput.dims.length)]
    return op.moments({
      node,
      opset,
      inputs: node.inputs.map((input) => known.get(input) ?? {}),
      spreads,
      outputs,
      stored: settledOutput,
      budget,
      inferGraph: () => [],
      assume: (text) => {
        assumptions = including(assumptions, text)
      },
    })
  }
  const results = (lost ? undefined : unlessNonsense(moments)) ?? []
  for (const [i, output] of node.outputs.entries()) {
    if (output === '') continue
    const rank = outputs[i]?.shape?.length
    const spread = results[i] ?? (isQuietInput && rank !== undefined ? quiet(rank) : undefined)
    const reason = spread || isQuietInput ? undefined : (lost ?? reasonFor(node, spreads))
    settle(output, { spread, lost: reason, gap, assumptions, normsPassed })
  }
}

function reasonFor(node: Node, spreads: readonly (Spread | undefined)[]): string {
  const where = `'${labelOf(node)}' (${node.opType})`
  if (opOf(node) === unknownOp) return `varshift does not know what ${where} does to means and variances`
  const isOpen = spreads.some((spread) => spread && !isClosed(spread))
  return isOpen ? varianceUnknown(where) : `what ${where} does to means and variances has no formula here`
}

function predicted(norm: Norm, state: State): Prediction | Unpredicted {
  const { mean, variance } = norm
  if (!mean || !variance)
    return { norm, reason: 'its running statistics are computed inside the graph, not stored' }
  const because = state.lost ?? state.gap
  if (because) return { norm, reason: because }
  if (!state.spread) return { norm, reason: rankUnknown(`'${norm.label}'`) }
  const seen = perChannel(state.spread, mean.length)
  if (!seen) return { norm, reason: `its ${mean.length} channels do not match its input` }
  const layerRatio = sumOf(seen.evalVariance) / sumOf(variance)
  const isExact = state.assumptions.size === 0
  const error = Math.exp(isExact ? errors.exact : errors.estimated * Math.sqrt(1 + state.normsPassed))
  return {
    norm,
    channelRatio: variance.map((v, i) => (v > 0 ? seen.evalVariance[i]! / v : Number.NaN)),
    layerRatio,
    layerInterval: [layerRatio / error, layerRatio * error],
    isRough: !isExact,
    assumptions: [...state.assumptions],
  }
}

const sumOf = (values: Float64Array) => values.reduce((a, b) => a + b, 0)

const channelDims = (channels: number, rank: number) => [
  1,
  channels,
  ...new Array<number>(Math.max(0, rank - 2)).fill(1),
]

/** The spread with one entry for each of so many channels; undefined if it has others. */
function perChannel(spread: Spread, channels: number): Spread | undefined {
  const dims = channelDims(channels, spread.dims.length)
  const merged = mergedDims(spread.dims, dims)
  return merged && collapsed(expanded(spread, merged), dims)
}

const behindNorms = 'what noise does behind other BatchNormalizations is estimated'

/** What a norm gives out: scale^2 and shift in train mode, and in eval mode the same affine map of what it sees. */
function behindNorm(
  norm: Norm,
  state: State,
  {
    prediction,
    isReached,
    rank = 2,
  }: { prediction: Prediction | Unpredicted; isReached: boolean; rank: number | undefined },
): State {
  const { scale, shift, mean, variance, epsilon } = norm
  const assumptions = isReached ? including(state.assumptions, behindNorms) : state.assumptions
  const common = { assumptions, normsPassed: state.normsPassed + (isReached ? 1 : 0) }
  if (!scale || !shift || !mean || !variance) {
    const missing = `scale, shift or statistics of '${norm.label}' are not stored in the file`
    return isReached ? { ...common, lost: missing } : { ...common, spread: quiet(rank) }
  }
  const deviation = variance.map((v) => Math.sqrt(v + epsilon))
  const seen = state.spread && perChannel(state.spread, mean.length)
  if (!seen || 'reason' in prediction) {
    const outward = variance.map((v, i) => (scale[i]! / deviation[i]!) ** 2 * v)
    const spread = steady({ dims: channelDims(mean.length, rank), mean: shift, variance: outward })
    if (!isReached || !('reason' in prediction)) return { ...common, spread }
    const gap = state.gap ?? `'${norm.label}' in front of it cannot be predicted: ${prediction.reason}`
    return { ...common, spread, gap }
  }
  const closed = isClosed(seen)
    ? seen
    : closedBy(seen, { dims: channelDims(mean.length, rank), mean, variance })
  return {
    ...common,
    gap: state.gap,
    spread: affine(
      closed,
      scale.map((g, i) => g / deviation[i]!),
      shift.map((b, i) => b - (scale[i]! * mean[i]!) / deviation[i]!),
    ),
  }
}
