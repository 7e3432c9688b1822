import type { Norm } from '../../analysis/facts.ts'
import { factsOf } from '../../analysis/index.ts'
import { attributesOf, float, GraphBuilder } from '../../ir/builder.ts'
import { UserError } from '../../ir/errors.ts'
import { floatAttribute, keyOf, type Model, opsetOf, type TensorType } from '../../ir/model.ts'
import { type DataType, elementCount, Tensor } from '../../ir/tensor.ts'
import { emitNorm, type NoiseOptions, refusePositions, rewritten } from './mode.ts'

export interface TrainingOptions extends NoiseOptions {
  /** Share of the running statistics that a step keeps, as ONNX defines it (PyTorch's is 1 minus it); default: as the file says. */
  readonly momentum?: number | undefined
  /** Which variance of the batch the running one takes in: PyTorch's is unbiased, n/(n-1) times ONNX's and Keras'. */
  readonly variance?: 'biased' | 'unbiased' | undefined
  /** Norms spelled out, for devices that know no training mode of BatchNormalization (default false). */
  readonly spelledOut?: boolean | undefined
}

/** The running statistics of a BatchNormalization: initializers, and the values that hold them after a step. */
export interface RunningStatistics {
  readonly norm: Norm
  readonly mean: string
  readonly variance: string
  readonly newMean: string
  readonly newVariance: string
}

export interface TrainingGraph {
  readonly model: Model
  /** One for each BatchNormalization whose statistics are stored. */
  readonly statistics: readonly RunningStatistics[]
}

/** From this opset on BatchNormalization has a training mode. */
const trainingNorms = 14

/**
 * The model as it is trained: noise on, and every BatchNormalization one node (unless spelled out) that normalises by its batch and gives the
 * batch's mean and variance as its second and third output (C elements each). Running statistics are initializers of
 * their own for each norm, even where the file lets several share one. Shapes are to be known, see bind-shapes.
 */
export function toTraining(model: Model, options: TrainingOptions = {}): TrainingGraph {
  if (opsetOf(model) < trainingNorms)
    throw new UserError(
      `training needs a model of opset ${trainingNorms} or newer, got ${opsetOf(model)}; raise its opset first`,
    )
  const { norms, types } = factsOf(model)
  const batch = new Map<Norm, readonly [mean: string, variance: string]>()
  const training = rewritten(model, {
    ...options,
    noise: true,
    norm: (build, norm) => {
      refusePositions(norm)
      const key = keyOf(norm.node)
      if (options.spelledOut) {
        const moments = emitNorm(build, norm, true)
        batch.set(norm, moments)
        return moments
      }
      const moments = [build.fresh(`${key}__batch_mean`), build.fresh(`${key}__batch_variance`)] as const
      batch.set(norm, moments)
      const [x = '', scale = '', shift = ''] = norm.node.inputs
      build.keep({
        ...norm.node,
        inputs: [x, scale, shift, ...overwritten(build, statisticsType(norm, types), norms.indexOf(norm))],
        outputs: [key, ...moments],
        // Running statistics that keep nothing of what they were are the moments of the batch.
        attributes: attributesOf({
          epsilon: float(norm.epsilon),
          training_mode: 1,
          momentum: float(0),
        }),
      })
      return moments
    },
  })

  const build = new GraphBuilder(training)
  const statistics = norms.flatMap((norm): RunningStatistics[] => {
    const moments = batch.get(norm)
    if (!norm.mean || !norm.variance || !moments || !isKept(training, norm)) return []
    const { dataType, count } = statisticsType(norm, types)
    const keep = options.momentum ?? floatAttribute(norm.node, 'momentum') ?? 0.9
    const [mean, variance] = (['mean', 'variance'] as const).map((statistic) => {
      const name = build.fresh(`${keyOf(norm.node)}__running_${statistic}`)
      const stored = norm[statistic]!
      build.initializers.set(name, Tensor.of(dataType, [stored.length], stored))
      return name
    }) as [string, string]
    const updated = (old: string, now: string, factor: number) =>
      build.add(
        build.mul(old, build.scalar(keep, dataType)),
        build.mul(now, build.scalar((1 - keep) * factor, dataType)),
      )
    const unbiased = options.variance === 'unbiased' ? besselFactor(count, norm) : 1
    return [
      {
        norm,
        mean,
        variance,
        newMean: updated(mean, moments[0], 1),
        newVariance: updated(variance, moments[1], unbiased),
      },
    ]
  })
  const graph = {
    ...training.graph,
    nodes: [...training.graph.nodes, ...build.nodes],
    initializers: build.initializers,
  }
  return { model: { ...training, graph }, statistics }
}

/**
 * What stands in for the running statistics of a training BatchNormalization: ONNX Runtime (1.30) writes those that it
 * returns over those that it is given, wherever they lie. So each node has vectors of its own, filled with numbers that no
 * other constant is, since ONNX Runtime makes one of constants that are equal.
 */
function overwritten(build: GraphBuilder, type: StatisticsType, index: number): readonly string[] {
  return [0, 1]
    .map((i) => Math.E + 2 * index + i)
    .map((value) =>
      build.constant(
        Tensor.of(type.dataType, [type.channels], new Float64Array(type.channels).fill(value)),
        'overwritten',
      ),
    )
}

interface StatisticsType {
  readonly dataType: DataType
  readonly channels: number
  /** Elements of each channel in a batch. */
  readonly count: number
}

function statisticsType({ node, label }: Norm, types: ReadonlyMap<string, TensorType>): StatisticsType {
  const shape = types.get(node.inputs[0]!)?.shape
  if (!shape?.every((size) => typeof size === 'number'))
    throw new UserError(
      `'${label}' normalises values of shape ${shape ? `[${shape.map((size) => size ?? '?').join(', ')}]` : 'unknown'}, expected one that is known before the model runs; bind the dimensions of the model's inputs to sizes`,
    )
  const channels = shape[1] as number
  return {
    dataType: types.get(node.inputs[3]!)?.dataType ?? 'float32',
    channels,
    count: elementCount(shape as number[]) / channels,
  }
}

const isKept = ({ graph }: Model, { node }: Norm) => graph.nodes.some((kept) => keyOf(kept) === keyOf(node))

/** n / (n - 1) for the n elements of each channel. */
function besselFactor(count: number, { label }: Norm): number {
  if (count < 2)
    throw new UserError(
      `'${label}' normalises channels of ${count} element, expected 2 or more to take a variance of; use a larger batch`,
    )
  return count / (count - 1)
}
