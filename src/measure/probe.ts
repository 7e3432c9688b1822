import type { Facts, Norm } from '../analysis/facts.ts'
import { float, GraphBuilder } from '../ir/builder.ts'
import { intAttribute, type Model, type TensorType, type ValueInfo } from '../ir/model.ts'
import { Tensor } from '../ir/tensor.ts'
import { usesOf } from '../ir/uses.ts'
import { leavesOf, type Means, meansFinder } from './position-means.ts'

/** Where numbers of each sample, one for each channel, lie in what a probed graph returns. */
export interface Stretch {
  /** The output, N x width x 1 x ..., that holds them from `offset` on. */
  readonly block: { readonly output: string; width: number }
  /** What they were pooled of. */
  readonly value: string
  readonly offset: number
  readonly channels: number
}

/** A stretch of channels whose moments a probed graph returns. */
export interface Probe {
  readonly value: string
  readonly channels: number
  /** C numbers that were subtracted before squaring. */
  readonly center: Float64Array
  /** The value whose means are those of what was squared. */
  readonly meansOf: string
  /** Mean squares over positions. */
  readonly squares: Stretch
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
  /** In the order in which they lie in the outputs. */
  readonly stretches: readonly Stretch[]
  /** By value: where its means are, or what tells them. */
  readonly means: ReadonlyMap<string, Stretch | Means>
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
  const blocks = new Map<string, { output: string; values: string[]; width: number }>()
  const means = new Map<string, Stretch | Means>()
  const findMeans = meansFinder(model, facts.types)
  const norms: ProbedNorm[] = []
  const unmeasured: { label: string; reason: string }[] = []
  const stretches: Stretch[] = []
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
  for (const { output, values } of blocks.values()) {
    // One output for all: ONNX Runtime orders nodes by depth-first search from the outputs, and with two of them it
    // would come back for the second one's pools at the very end, with every activation of the net kept until then.
    build.op('Concat', values, { axis: 1 }, output)
    outputs.push({ name: output, type: { dataType: 'float32' } })
  }
  const graph = {
    ...model.graph,
    nodes: build.nodes,
    initializers: build.initializers,
    outputs: [...model.graph.outputs, ...outputs],
  }
  return { model: { ...model, graph }, probes, stretches, means, norms, unmeasured }

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
    const channels = mean.length
    const isCentered = mean.some((m, c) => m * m > largestMean ** 2 * variance[c]!)
    const center = isCentered ? Float64Array.from(mean, Math.fround) : new Float64Array(channels)
    const isPlain = !isCentered && type?.dataType === 'float32' && (type.shape?.length ?? 0) > 2
    let spatial = value
    const prepare = () => {
      const x = isCentered ? subtract(asFloat32(value, type), center) : asFloat32(value, type)
      spatial = type?.shape === undefined ? build.reshape(x, [0, 0, -1]) : x
    }
    if (!isPlain) pending.push(prepare)
    const told: Means = isPlain ? findMeans(value, channels) : { value: build.fresh('prepared'), channels }
    for (const leaf of leavesOf(told)) {
      if (means.has(leaf.value)) continue
      const isOwn = leaf.value === value || !isPlain
      const place = stretch(isOwn ? value : leaf.value, leaf.channels, () =>
        pooled(isOwn ? spatial : leaf.value, type),
      )
      means.set(leaf.value, place)
    }
    if (isPlain && !means.has(value)) means.set(value, told)
    const source = isPlain ? value : leavesOf(told)[0]!.value
    const squares = stretch(value, channels, () => pooled(build.mul(spatial, spatial), type))
    return { value, channels, center, meansOf: source, squares }
  }

  function pooled(x: string, type: TensorType | undefined): string {
    return type?.shape?.length === 2 ? x : build.op('GlobalAveragePool', [x])
  }

  /** A place for `channels` numbers of each sample, beside those of other values with as many rows. */
  function stretch(value: string, channels: number, emit: () => string): Stretch {
    const shape = facts.types.get(value)?.shape
    // Rows of different number cannot be joined, so an unknown first axis keeps to itself.
    const key = `${shape?.length ?? 'any'}:${shape === undefined ? value : (shape[0] ?? value)}`
    let block = blocks.get(key)
    if (!block) {
      block = { output: build.fresh('probe'), values: [], width: 0 }
      blocks.set(key, block)
    }
    const { values } = block
    const offset = block.width
    block.width += channels
    pending.push(() => values.push(emit()))
    const made = { block, value, offset, channels }
    stretches.push(made)
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
