import type { Facts, Norm } from '../analysis/facts.ts'
import { float, GraphBuilder } from '../ir/builder.ts'
import { intAttribute, type Model, type TensorType, type ValueInfo } from '../ir/model.ts'
import { Tensor } from '../ir/tensor.ts'
import { usesOf } from '../ir/uses.ts'

/** A stretch of channels whose moments a probed graph returns, where they come from, and where to find them. */
export interface Probe {
  readonly value: string
  readonly channels: number
  /** C numbers that are subtracted before squaring. */
  readonly center: Float64Array
  /** Output with means and mean squares over positions: N x (twice the channels of all probes in it) x 1 x ... */
  readonly output: string
  /** Where the C means of this probe begin along that axis, the C mean squares behind them; of how many. */
  readonly offset: number
  width: number
}

export interface ProbedNorm {
  readonly norm: Norm
  /** Stretches that make up the channels of the norm's input, in order; or of its output, if `folded`. */
  readonly parts: readonly Probe[]
  /** The output is probed: input and output are tied by the norm's affine map. */
  readonly folded: boolean
}

export interface Probed {
  readonly model: Model
  readonly probes: readonly Probe[]
  readonly norms: readonly ProbedNorm[]
  readonly unmeasured: readonly { readonly label: string; readonly reason: string }[]
}

/**
 * Stored mean over standard deviation above which squares are taken of the centred input only: at 4, E[x^2] - E[x]^2
 * in float32 still keeps the variance to about 17 units of rounding (docs/theory.md, "Float32").
 */
const largestMean = 4

/**
 * The model with outputs that tell mean and mean square of the input of each norm, per sample and channel.
 *
 * Written so that ONNX Runtime keeps its blocked layout (global average pools and products of equal shapes have
 * blocked kernels), so that one value is probed once however many norms read it, and so that concatenated channels
 * are probed where they arise: in a DenseNet every feature map once, not once for each layer behind it. A norm that
 * ONNX Runtime folds into the convolution in front of it is probed at its output, which leaves that fusion alone.
 */
export function probe(model: Model, facts: Pick<Facts, 'norms' | 'nested' | 'types'>): Probed {
  const build = new GraphBuilder(model)
  const uses = usesOf(model.graph)
  const probes: Probe[] = []
  const byValue = new Map<string, Probe>()
  const groups = new Map<string, { output: string; values: string[]; members: Probe[]; width: number }>()
  const norms: ProbedNorm[] = []
  const unmeasured: { label: string; reason: string }[] = []
  const pending: (() => void)[] = []

  for (const norm of facts.norms) {
    if (!norm.mean || !norm.variance) {
      unmeasured.push({
        label: norm.label,
        reason: 'its running statistics are computed inside the graph, not stored',
      })
      continue
    }
    const { mean, variance, scale, shift } = norm
    if (scale && shift && isFolded(norm)) {
      const parts = partsOf(
        norm.key,
        shift,
        scale.map((gamma) => gamma * gamma),
      )
      norms.push({ norm, parts, folded: true })
      continue
    }
    const parts = partsOf(norm.node.inputs[0]!, mean, variance)
    norms.push({ norm, parts, folded: false })
  }
  for (const { label, inside } of facts.nested.norms)
    unmeasured.push({ label, reason: `it lies in a branch of '${inside.join("' / '")}' that may not run` })

  build.nodes.push(...model.graph.nodes)
  for (const emit of pending) emit()
  const outputs: ValueInfo[] = []
  for (const { output, values, members, width } of groups.values()) {
    // One output for both: ONNX Runtime orders nodes by depth-first search from the outputs, and with two of them it
    // would come back for the second one's pools at the very end, with every activation of the net kept until then.
    build.op('Concat', values, { axis: 1 }, output)
    for (const member of members) member.width = width
    outputs.push({ name: output, type: { dataType: 'float32' } })
  }
  const graph = {
    ...model.graph,
    nodes: build.nodes,
    initializers: build.initializers,
    outputs: [...model.graph.outputs, ...outputs],
  }
  return { model: { ...model, graph }, probes, norms, unmeasured }

  /** Whether ONNX Runtime will fold the norm into a convolution, and its input can be told from its output. */
  function isFolded({ key, mean, variance, scale, shift }: Norm): boolean {
    const node = uses.producer(key)
    if (!node?.inputs.slice(1).every((input) => model.graph.initializers.has(input))) return false
    let value = node.inputs[0]!
    let producer = uses.producer(value)
    while (producer?.opType === 'Identity' && uses.consumers(value).length === 1 && !uses.isOutput(value)) {
      value = producer.inputs[0]!
      producer = uses.producer(value)
    }
    const alone = uses.consumers(value).length === 1 && !uses.isOutput(value)
    if (producer?.opType !== 'Conv' || !alone || !model.graph.initializers.has(producer.inputs[1]!))
      return false
    const limit = largestMean ** 2
    return scale!.every(
      (gamma, c) =>
        gamma !== 0 && shift![c]! ** 2 <= limit * gamma ** 2 && mean![c]! ** 2 <= limit * variance![c]!,
    )
  }

  function partsOf(value: string, mean: Float64Array, variance: Float64Array): Probe[] {
    const node = uses.producer(value)
    if (node?.opType === 'Identity' && node.domain === '') return partsOf(node.inputs[0]!, mean, variance)
    if (node?.opType === 'Concat' && node.domain === '') {
      const widths = node.inputs.map((input) => facts.types.get(input)?.shape?.[1])
      const rank = facts.types.get(value)?.shape?.length
      const axis = intAttribute(node, 'axis')
      const alongChannels = axis === 1 || (rank !== undefined && axis === 1 - rank)
      const total = widths.reduce<number>(
        (sum, width) => sum + (typeof width === 'number' ? width : Number.NaN),
        0,
      )
      if (alongChannels && total === mean.length) {
        let at = 0
        return node.inputs.flatMap((input, i) => {
          const from = at
          at += widths[i] as number
          return partsOf(input, mean.subarray(from, at), variance.subarray(from, at))
        })
      }
    }
    const known = byValue.get(value)
    if (known) return [known]
    const made = makeProbe(value, mean, variance)
    byValue.set(value, made)
    probes.push(made)
    return [made]
  }

  function makeProbe(value: string, mean: Float64Array, variance: Float64Array): Probe {
    const type = facts.types.get(value)
    const rank = type?.shape?.length
    const channels = mean.length
    // Rows of different number cannot be joined, so an unknown first axis keeps to itself.
    const key = `${rank ?? 'any'}:${rank === undefined ? value : (type?.shape?.[0] ?? value)}`
    let group = groups.get(key)
    if (!group) {
      group = { output: build.fresh('probe'), values: [], members: [], width: 0 }
      groups.set(key, group)
    }
    const centered = mean.some((m, c) => m * m > largestMean ** 2 * variance[c]!)
    const made: Probe = {
      value,
      channels,
      center: centered ? Float64Array.from(mean, Math.fround) : new Float64Array(channels),
      output: group.output,
      offset: group.width,
      width: 0,
    }
    group.width += 2 * channels
    group.members.push(made)
    const { values } = group
    pending.push(() => {
      const x = centered ? subtract(asFloat32(value, type), made.center) : asFloat32(value, type)
      const spatial = rank === undefined ? build.reshape(x, [0, 0, -1]) : x
      const pooled = (v: string) => (rank === 2 ? v : build.op('GlobalAveragePool', [v]))
      values.push(pooled(spatial), pooled(build.mul(spatial, spatial)))
    })
    return made
  }

  /** Probes are read as float32; a type that is not known may be another. */
  function asFloat32(value: string, type: TensorType | undefined): string {
    return type?.dataType === 'float32' ? value : build.op('Cast', [value], { to: 1 })
  }

  /** x - center per channel. BatchNormalization has a kernel in the blocked layout, a broadcast subtraction has none. */
  function subtract(x: string, center: Float64Array): string {
    const vector = (values: ArrayLike<number>) =>
      build.constant(Tensor.float32([center.length], values), 'center')
    const ones = vector(new Float64Array(center.length).fill(1))
    const zeros = vector(new Float64Array(center.length))
    return build.op('BatchNormalization', [x, ones, zeros, vector(center), ones], { epsilon: float(0) })
  }
}
