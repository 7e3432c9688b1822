import { keyOf, labelOf, type Model, type Node, opsetOf } from '../ir/model.ts'
import { valuesReadBy } from '../ir/uses.ts'
import type { Known } from '../ops/define-op.ts'
import { opOf, unknownOp } from '../ops/index.ts'
import { noiseUnit } from '../ops/noises/index.ts'
import {
  affine,
  closedBy,
  collapsed,
  expanded,
  isClosed,
  isQuiet,
  mergedDims,
  perturbed,
  quiet,
  type Spread,
  type Stored,
  steady,
} from '../ops/spread.ts'
import type { Noise, NoisePath, Norm, Prediction, Unpredicted } from './facts.ts'
import { knownValues } from './infer-types.ts'
import { storedMoments } from './stored-moments.ts'

/** What is known of a value on the way through the graph. */
interface State {
  /** Undefined if it cannot be told; `reason` then says why. */
  readonly spread?: Spread | undefined
  readonly reason?: string | undefined
  /** Noises that have reached it since the last norm. */
  readonly carried: ReadonlySet<Noise>
  /** Those among them of which the spread does not know, and why. */
  readonly missed: ReadonlySet<Noise>
  readonly missedBecause?: string | undefined
  readonly assumptions: ReadonlySet<string>
}

const nothing: ReadonlySet<never> = new Set<never>()

const union = <T>(sets: readonly ReadonlySet<T>[]): ReadonlySet<T> => {
  const filled = sets.filter(({ size }) => size > 0)
  if (filled.length < 2) return filled[0] ?? (nothing as ReadonlySet<T>)
  return new Set(filled.flatMap((set) => [...set]))
}

const including = <T>(set: ReadonlySet<T>, item: T): ReadonlySet<T> => (set.has(item) ? set : new Set([...set, item]))

/**
 * Predicts for every norm that noise reaches which variance it sees with all noise off, the file as it stands, from
 * the file alone (theory.md: "direct", "linear", "noise-aware propagation").
 *
 * One sweep in graph order keeps mean and variance of every channel in both modes (see ops/spread.ts). What a norm
 * stored settles the train moments of what it normalises; what it gives out has mean `shift` and variance `scale`^2 in
 * train mode, and in eval mode what its input predicts.
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
  const known = knownValues(model)
  const stored = storedMoments(model, { known, noises, norms })
  const states = new Map<string, State>()
  const found = new Map<string, Prediction | Unpredicted>()
  const normOf = new Map(norms.map((norm) => [norm.node, norm]))
  const noiseOf = new Map(noises.map((noise) => [noise.nodes.at(-1)!, noise]))
  const inside = new Set(noises.flatMap((noise) => noise.nodes.slice(0, -1)))
  const opset = opsetOf(model)

  const settle = (value: string, state: State): void => {
    const moments = stored.get(value)
    states.set(value, moments ? settled(state, moments) : state)
  }

  for (const { name, type } of model.graph.inputs) {
    if (model.graph.initializers.has(name)) continue
    const rank = type?.shape?.length
    settle(name, { ...still, ...(rank === undefined ? {} : { spread: quiet(rank) }) })
  }
  for (const node of model.graph.nodes) {
    if (inside.has(node)) continue
    const noise = noiseOf.get(node)
    const norm = normOf.get(node)
    if (noise) settle(noise.output, behindNoise(states.get(noise.input) ?? still, noise))
    else if (norm) {
      const state = states.get(node.inputs[0] ?? '') ?? still
      const paths = pathsTo.get(norm.key) ?? []
      const prediction = predicted(norm, state, paths)
      if (paths.length > 0) found.set(norm.key, prediction)
      settle(keyOf(node), behindNorm(norm, state, prediction, known.get(node.inputs[0] ?? '')))
    } else behindNode(node, { states, known, stored, opset, settle })
  }
  return found
}

const still: State = { carried: nothing, missed: nothing, assumptions: nothing }

/** The state of a value whose train moments are stored. */
function settled(state: State, moments: Stored): State {
  if (state.spread) return { ...state, spread: closedBy(state.spread, moments) }
  if (state.carried.size === 0) return { ...state, spread: steady(moments), reason: undefined }
  return {
    ...state,
    spread: steady(moments),
    reason: undefined,
    missed: state.carried,
    missedBecause: state.reason,
  }
}

function behindNoise(state: State, noise: Noise): State {
  const carried = including(state.carried, noise)
  const { value } = noise.parameter
  if (value === undefined)
    return {
      ...state,
      carried,
      spread: undefined,
      reason: `the file does not fix the ${noise.parameter.name} of '${noise.label}'`,
    }
  if (!state.spread) return { ...state, carried, reason: state.reason ?? unknownRank(noise.label) }
  const spread = perturbed(state.spread, noiseUnit(noise.kind).outcomes(value), noise.sharing)
  return {
    ...state,
    carried,
    spread,
    reason: spread ? undefined : varianceUnknown(`'${noise.label}'`),
  }
}

const unknownRank = (label: string) =>
  `the number of dimensions of what reaches '${label}' is not known; run shape inference on the file first`

const varianceUnknown = (where: string) =>
  `the variance of what reaches ${where} is not in the file: no BatchNormalization in front of it or behind it tells`

function behindNode(
  node: Node,
  {
    states,
    known,
    stored,
    opset,
    settle,
  }: {
    states: ReadonlyMap<string, State>
    known: ReadonlyMap<string, Known>
    stored: ReadonlyMap<string, Stored>
    opset: number
    settle: (value: string, state: State) => void
  },
): void {
  const read = valuesReadBy(node).flatMap((value) => states.get(value) ?? [])
  // Constants, and what is computed from them.
  if (read.length === 0) return
  const op = opOf(node)
  const inputs = node.inputs.map((input) => known.get(input) ?? {})
  const spreads = node.inputs.map((input) => states.get(input)?.spread)
  const outputs = node.outputs.map((output) => known.get(output) ?? {})
  const carried = union(read.map((state) => state.carried))
  const missed = union(read.map((state) => state.missed))
  const missedBecause = read.find((state) => state.missedBecause)?.missedBecause
  let assumptions = union(read.map((state) => state.assumptions))
  const lost = read.find((state) => state.reason)
  const results = lost
    ? []
    : op.moments({
        node,
        opset,
        inputs,
        spreads,
        outputs,
        stored: stored.get(node.outputs[0] ?? ''),
        inferGraph: () => [],
        assume: (text) => {
          assumptions = including(assumptions, text)
        },
      })
  const isStill = read.every(({ spread, reason }) => !reason && (!spread || isQuiet(spread)))
  for (const [i, output] of node.outputs.entries()) {
    if (output === '') continue
    const rank = outputs[i]?.shape?.length
    const spread = results[i] ?? (isStill && rank !== undefined ? quiet(rank) : undefined)
    const reason = spread || isStill ? undefined : (lost?.reason ?? reasonFor(node, spreads))
    settle(output, { spread, reason, carried, missed, missedBecause, assumptions })
  }
}

function reasonFor(node: Node, spreads: readonly (Spread | undefined)[]): string {
  const where = `'${labelOf(node)}' (${node.opType})`
  if (opOf(node) === unknownOp) return `varshift does not know what ${where} does to means and variances`
  const open = spreads.some((spread) => spread && !isClosed(spread))
  return open ? varianceUnknown(where) : `what ${where} does to means and variances has no formula here`
}

const throughActivations =
  'what earlier noise does behind activations is estimated, taking their inputs as normally distributed'

function predicted(norm: Norm, state: State, paths: readonly NoisePath[]): Prediction | Unpredicted {
  const { mean, variance } = norm
  if (!mean || !variance)
    return { norm, reason: 'its running statistics are computed inside the graph, not stored' }
  if (!state.spread) return { norm, reason: state.reason ?? unknownRank(norm.label) }
  const exposed = paths.find(({ through, noise }) => through !== 'nonlinear' && state.missed.has(noise))
  if (exposed) return { norm, reason: state.missedBecause ?? varianceUnknown(`'${exposed.noise.label}'`) }
  const dims = [1, mean.length, ...new Array<number>(Math.max(0, state.spread.dims.length - 2)).fill(1)]
  const merged = mergedDims(state.spread.dims, dims)
  if (!merged) return { norm, reason: `its channels do not match its input (${mean.length} expected)` }
  const { evalVariance } = collapsed(expanded(state.spread, merged), dims)
  const assumptions = new Set(state.assumptions)
  if (state.missedBecause) assumptions.add(`noise from further upstream is left out: ${state.missedBecause}`)
  if (paths.some(({ through }) => through === 'nonlinear')) assumptions.add(throughActivations)
  return {
    norm,
    channelRatio: variance.map((v, i) => (v > 0 ? evalVariance[i]! / v : Number.NaN)),
    layerRatio: sumOf(evalVariance) / sumOf(variance),
    assumptions: [...assumptions],
  }
}

const sumOf = (values: Float64Array) => values.reduce((a, b) => a + b, 0)

/** What a norm gives out: scale^2 and shift in train mode, and in eval mode the same affine map of what it sees. */
function behindNorm(
  norm: Norm,
  state: State,
  prediction: Prediction | Unpredicted,
  input: Known | undefined,
): State {
  const { scale, shift, mean, variance, epsilon } = norm
  const rank = state.spread?.dims.length ?? input?.shape?.length
  const unpredicted = 'reason' in prediction ? prediction.reason : undefined
  const assumptions =
    unpredicted && state.carried.size > 0
      ? including(state.assumptions, `the shift of '${norm.label}' itself is left out: ${unpredicted}`)
      : state.assumptions
  const base = { carried: nothing, missed: nothing, assumptions }
  if (!scale || !shift || !mean || !variance || rank === undefined)
    return { ...base, reason: `scale, shift or statistics of '${norm.label}' are not stored in the file` }
  const dims = [1, scale.length, ...new Array<number>(Math.max(0, rank - 2)).fill(1)]
  const deviation = variance.map((v) => Math.sqrt(v + epsilon))
  if (!state.spread || unpredicted || !mergedDims(state.spread.dims, dims)) {
    const trainVariance = variance.map((v, i) => (scale[i]! / deviation[i]!) ** 2 * v)
    return { ...base, spread: steady({ dims, mean: shift, variance: trainVariance }) }
  }
  const seen = collapsed(expanded(state.spread, mergedDims(state.spread.dims, dims)!), dims)
  const known = isClosed(seen) ? seen : closedBy(seen, { dims, mean, variance })
  return {
    ...base,
    spread: affine(
      known,
      scale.map((g, i) => g / deviation[i]!),
      shift.map((b, i) => b - (scale[i]! * mean[i]!) / deviation[i]!),
    ),
  }
}

