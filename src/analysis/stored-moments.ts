import { type Model, type Node, opsetOf } from '../ir/model.ts'
import { usesOf } from '../ir/uses.ts'
import type { Known, MomentsContext } from '../ops/define-op.ts'
import { opOf } from '../ops/index.ts'
import { broadcastIndex, maxEntries, type Spread, type Stored, spreadOf } from '../ops/moments/spread.ts'
import { noiseUnit } from '../ops/noises/index.ts'
import type { Noise, Norm } from './facts.ts'
import { unlessNonsense } from './infer-types.ts'

/**
 * Train-mode moments of values, as BatchNormalizations stored them: of what they normalise, and of what lies in front of
 * that as far as moments can be reckoned backwards, through nodes that move elements, constants that are added or
 * multiplied, noises, and Relu.
 */
export function storedMoments(
  model: Model,
  {
    known,
    noises,
    norms,
  }: {
    known: ReadonlyMap<string, Known>
    noises: readonly Noise[]
    norms: readonly Norm[]
  },
): ReadonlyMap<string, Stored> {
  const uses = usesOf(model.graph)
  const opset = opsetOf(model)
  const noiseOf = new Map(noises.map((noise) => [noise.output, noise]))
  const found = new Map<string, Stored>()

  const visit = (value: string, stored: Stored) => {
    if (found.has(value)) return
    found.set(value, stored)
    goBefore(value, stored)
  }
  const goBefore = (value: string, stored: Stored) => {
    const noise = noiseOf.get(value)
    if (noise) {
      const before = beforeNoise(noise, stored)
      if (before) visit(noise.input, before)
      return
    }
    const node = uses.producer(value)
    if (!node || node.outputs[0] !== value) return
    for (const [input, before] of beforeNode(node, stored, { known, opset })) visit(input, before)
  }

  // What was stored itself goes before what is reckoned from it.
  const direct = new Map<string, Stored>()
  for (const { node, mean, variance } of norms) {
    const value = node.inputs[0]
    if (!value || !mean || !variance || direct.has(value)) continue
    const rank = Math.max(2, known.get(value)?.shape?.length ?? 2)
    direct.set(value, { dims: [1, mean.length, ...new Array<number>(rank - 2).fill(1)], mean, variance })
  }
  for (const [value, stored] of direct) found.set(value, stored)
  for (const [value, stored] of direct) goBefore(value, stored)
  return found
}

/** What a variance may not fall below when noise is reckoned out of it, as a share of itself. */
const leastShare = 0.02

function beforeNoise(noise: Noise, { dims, mean, variance }: Stored): Stored | undefined {
  const { value } = noise.parameter
  if (value === undefined) return undefined
  const outcomes = noiseUnit(noise.kind).outcomes(value)
  const expected = (f: (o: (typeof outcomes)[number]) => number) =>
    outcomes.reduce((sum, o) => sum + o.weight * f(o), 0)
  const scale = expected((o) => o.scale)
  const squares = expected((o) => o.scale ** 2)
  if (!(scale > 0)) return undefined
  const before = mean.map((m) => (m - expected((o) => o.shift)) / scale)
  return {
    dims,
    mean: before,
    variance: variance.map((v, i) => {
      const m = before[i]!
      const rest = expected((o) => 2 * o.scale * o.shift * m + o.shift ** 2)
      const moment = (v + mean[i]! ** 2 - rest) / squares
      return Math.max(leastShare * v, moment - m * m)
    }),
  }
}

type Before = readonly (readonly [string, Stored])[]

function beforeNode(
  node: Node,
  stored: Stored,
  { known, opset }: { known: ReadonlyMap<string, Known>; opset: number },
): Before {
  const op = opOf(node)
  const inverted = op.momentsBefore(node, stored)
  if (inverted) return [[node.inputs[0]!, inverted]]
  const inputs = node.inputs.map((input) => known.get(input) ?? {})
  const moving = inputs.map(({ tensor }, i) => node.inputs[i] !== '' && !tensor)
  const flows = op.flow({ node, opset, moving })
  const carried = flows.flatMap((flow, i) => (moving[i] && flow !== 'none' ? [i] : []))
  const through = (spreads: readonly (Spread | undefined)[]) =>
    unlessNonsense(() =>
      op.moments({
        node,
        opset,
        inputs,
        spreads,
        outputs: node.outputs.map((output) => known.get(output) ?? {}),
        inferGraph: () => [],
        budget: { left: 0 },
        assume: () => {},
      } satisfies MomentsContext),
    )?.[0]
  if (carried.length > 0 && carried.every((i) => flows[i] === 'layout'))
    return beforeLayout(node, stored, { inputs, carried, through })
  const [only] = carried
  if (
    carried.length === 1 &&
    (flows[only!] === 'linear' || flows[only!] === 'scaling') &&
    !op.role?.match(/weight|pool/)
  )
    return beforeAffine(node, stored, { only: only!, through })
  return []
}

interface Probe {
  readonly through: (spreads: readonly (Spread | undefined)[]) => Spread | undefined
}

/** Entries of the inputs are numbered, sent through the node, and found again in the output. */
function beforeLayout(
  node: Node,
  stored: Stored,
  { inputs, carried, through }: Probe & { inputs: readonly Known[]; carried: readonly number[] },
): Before {
  const rank = inputs[carried[0]!]?.shape?.length
  if (rank === undefined) return []
  for (const axis of [1, rank - 1, ...Array.from({ length: rank }, (_, i) => i)]) {
    if (axis >= rank) continue
    let next = 0
    const starts: number[] = []
    const templates: number[][] = []
    const spreads = inputs.map((input, i): Spread | undefined => {
      if (!carried.includes(i)) return undefined
      const size = input.shape?.[axis]
      if (typeof size !== 'number' || size > maxEntries || input.shape?.length !== rank) return undefined
      const dims = new Array<number>(rank).fill(1).with(axis, size)
      const start = next
      next += size
      starts[i] = start
      templates[i] = dims
      const numbers = Float64Array.from({ length: size }, (_, k) => start + k)
      return spreadOf(dims, {
        mean: numbers,
        trainVariance: new Float64Array(size),
        evalVariance: new Float64Array(size),
      })
    })
    if (carried.some((i) => !spreads[i])) continue
    const sent = through(spreads)
    if (!sent || sent.dims.length !== stored.dims.length || !fits(sent.dims, stored.dims)) continue
    if (sent.mean.some((id) => !Number.isInteger(id))) continue
    const toStored = broadcastIndex(sent.dims, stored.dims)
    const count = new Float64Array(next)
    const sum = new Float64Array(next)
    const squares = new Float64Array(next)
    sent.mean.forEach((id, i) => {
      const [m, v] = [stored.mean[toStored[i]!]!, stored.variance[toStored[i]!]!]
      count[id]! += 1
      sum[id]! += m
      squares[id]! += v + m * m
    })
    return carried.flatMap((i): Before => {
      const size = inputs[i]!.shape![axis] as number
      const ids = Array.from({ length: size }, (_, k) => starts[i]! + k)
      if (ids.some((id) => count[id] === 0)) return []
      const mean = Float64Array.from(ids, (id) => sum[id]! / count[id]!)
      const variance = Float64Array.from(ids, (id, k) =>
        Math.max(0, squares[id]! / count[id]! - mean[k]! ** 2),
      )
      return [[node.inputs[i]!, { dims: templates[i]!, mean, variance }]]
    })
  }
  return []
}

/** The sent template is as fine as the stored one or finer. */
const fits = (sent: readonly number[], stored: readonly number[]) =>
  stored.every((dim, axis) => dim === sent[axis] || dim === 1)

/** y = scale x + shift, entry by entry: both are read off from what the node makes of two known spreads. */
function beforeAffine(node: Node, stored: Stored, { only, through }: Probe & { only: number }): Before {
  const { dims } = stored
  const count = stored.mean.length
  const sent = (mean: number, variance: number) => {
    const spreads = node.inputs.map((_, i) =>
      i === only
        ? spreadOf(dims, {
            mean: new Float64Array(count).fill(mean),
            trainVariance: new Float64Array(count).fill(variance),
            evalVariance: new Float64Array(count).fill(variance),
          })
        : undefined,
    )
    const result = through(spreads)
    return result && result.mean.length === count && fits(result.dims, dims) ? result : undefined
  }
  const [zero, one] = [sent(0, 1), sent(1, 1)]
  if (!zero || !one) return []
  const shift = zero.mean
  const scale = one.mean.map((m, i) => m - shift[i]!)
  const isAffine = scale.every((s, i) => s !== 0 && Math.abs(zero.trainVariance[i]! / (s * s) - 1) < 1e-6)
  if (!isAffine) return []
  return [
    [
      node.inputs[only]!,
      {
        dims,
        mean: stored.mean.map((m, i) => (m - shift[i]!) / scale[i]!),
        variance: stored.variance.map((v, i) => v / scale[i]! ** 2),
      },
    ],
  ]
}
