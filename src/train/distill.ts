import type { Norm } from '../analysis/facts.ts'
import { factsOf } from '../analysis/index.ts'
import { withGradients } from '../autodiff/with-gradients.ts'
import { layoutOf } from '../data/arrange.ts'
import { batchRanges, type Dataset } from '../data/dataset.ts'
import { GraphBuilder } from '../ir/builder.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { normal } from '../ir/random.ts'
import { elementCount, Tensor } from '../ir/tensor.ts'
import { fillWords, RandomWords } from '../ops/random-words.ts'
import { toMode } from '../rewrite/modes/mode.ts'
import { bindShapes } from '../rewrite/passes/bind-shapes.ts'
import { raiseOpset } from '../rewrite/passes/raise-opset.ts'
import { createSession, type Session } from '../runtime/session.ts'

export interface DistillOptions {
  /** Inputs of each restart (default: by their size; 32 of 3 x 32 x 32, 64 of 1 x 28 x 28). */
  readonly inputs?: number | undefined
  /** Independent restarts (default 2). */
  readonly restarts?: number | undefined
  /** Steps of Adam (default 200). */
  readonly steps?: number | undefined
  readonly seed?: number | undefined
  readonly threads?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((done: number, of: number) => void) | undefined
}

export interface Distilled {
  /** What each restart found, in turn: a dataset without labels, fields named as the model's inputs. */
  readonly restarts: readonly Dataset[]
  /** All of them together. */
  readonly data: Dataset
  /** Loss that each restart reached, over its last steps. */
  readonly losses: readonly number[]
  /** Steps of each restart. */
  readonly steps: number
}

const standard = { restarts: 2, steps: 200 } as const

/** As many as tell the moments of dense layers, and fewer large ones: those have many positions each. */
const standardInputs = (elements: number): number =>
  Math.round(Math.min(128, Math.max(8, 32 * Math.sqrt((3 * 32 * 32) / elements))))

/** Steps over which the loss reached is averaged: it varies with the noise. */
const lastSteps = 20

/** Step of Adam in standard deviations of the inputs, and how far from their mean they may go. */
const stepSize = 0.4
const reach = 5

/**
 * Means and standard deviations that the inputs of networks have: normalised, from 0 to 1, bytes. The norms tell which
 * is theirs: only from there their moments are reached.
 */
const inputScales = [
  { mean: 0, deviation: 0.5 },
  { mean: 0, deviation: 1 },
  { mean: 0.5, deviation: 0.25 },
  { mean: 0, deviation: 0.1 },
  { mean: 127, deviation: 60 },
  { mean: 0, deviation: 60 },
] as const

/**
 * Inputs that the model itself describes: with the noise on, its BatchNormalizations see on them the moments that they
 * stored in training. Found by minimising over the inputs, by Adam, the mean over norms of
 *
 *   mean over channels of ((batch mean - mu)^2 + (batch sd - sqrt(sigma2))^2) / (sigma2 + 0.1 mean(sigma2))
 *
 * The last term keeps channels that are almost dead from ruling the sum. Inputs stay within five standard deviations.
 * Throws a UserError for inputs that are not continuous, whose sizes are unknown, or if a step gives no number; and
 * the signal's reason if it is aborted. Source: docs/theory.md, "Distilled inputs"; the idea: Yin et al.,
 * arXiv:1912.08795.
 */
export async function distill(model: Model, options: DistillOptions = {}): Promise<Distilled> {
  const { inputs, restarts = standard.restarts, steps = standard.steps } = options
  const { seed = 0, threads, signal, onProgress } = options
  const objective = objectiveOf(model, inputs)
  const session = await createSession(objective.model, { threads, name: 'the distillation' })
  try {
    const scale = await bestScale(session, objective, { seed, onStep: () => signal?.throwIfAborted() })
    const found: (readonly Float32Array[])[] = []
    const losses: number[] = []
    for (let restart = 0; restart < restarts; restart++) {
      const { values, loss } = await descend(session, objective, {
        ...scale,
        steps,
        seed: seed * 1000 + restart,
        onStep: (step) => {
          signal?.throwIfAborted()
          onProgress?.(restart * steps + step, restarts * steps)
        },
      })
      found.push(values)
      losses.push(loss)
    }
    return {
      restarts: found.map((values) => datasetOf(objective, [values])),
      data: datasetOf(objective, found),
      losses,
      steps,
    }
  } finally {
    await session.release()
  }
}

interface Objective {
  readonly model: Model
  /** Inputs that are distilled: their whole shape, the batch first, and the value that holds the gradient. */
  readonly inputs: readonly {
    readonly name: string
    readonly dims: readonly number[]
    readonly gradient: string
  }[]
  readonly loss: string
  readonly words: RandomWords
}

/** The model in sample mode with the loss and its gradients with respect to the inputs as outputs. */
function objectiveOf(model: Model, batch: number | undefined): Objective {
  const shapes = inputShapes(model, batch)
  const bound = bindShapes(raiseOpset(model), shapes)
  const { norms, types } = factsOf(bound)
  const words = new RandomWords('random words')
  const sample = toMode(bound, 'sample', { words })
  const build = new GraphBuilder(sample)
  const terms = norms.flatMap((norm) => {
    const shape = types.get(norm.node.inputs[0]!)?.shape
    if (!isMatchable(norm)) return []
    if (!shape?.every((size) => typeof size === 'number'))
      throw new UserError(
        `the sizes of what '${norm.label}' normalises are not known before the model runs; export the model with fixed sizes`,
      )
    return [mismatch(build, norm, shape as number[])]
  })
  if (terms.length === 0)
    throw new UserError('the model stores no running statistics that inputs could be distilled from')
  const loss = build.mul(build.op('Sum', terms), build.scalar(1 / terms.length))
  const graph = {
    ...sample.graph,
    nodes: [...sample.graph.nodes, ...build.nodes],
    initializers: build.initializers,
    outputs: [{ name: loss, type: undefined }],
  }
  const names = [...shapes.keys()]
  const { model: full, gradients } = withGradients({ ...sample, graph }, { loss, wrt: names })
  return {
    model: {
      ...full,
      graph: {
        ...full.graph,
        outputs: [loss, ...gradients.values()].map((name) => ({ name, type: undefined })),
      },
    },
    inputs: names.map((name) => ({ name, dims: shapes.get(name)!, gradient: gradients.get(name)! })),
    loss,
    words,
  }
}

function inputShapes({ graph }: Model, batch: number | undefined): ReadonlyMap<string, readonly number[]> {
  const found: { name: string; first: unknown; sizes: number[] }[] = []
  for (const { name, type } of graph.inputs) {
    if (graph.initializers.has(name)) continue
    if (type?.dataType !== 'float32')
      throw new UserError(
        `input '${name}' holds ${type?.dataType ?? 'no'} values, and inputs can be distilled only where they are continuous (float32); repair with data: --data FILE`,
      )
    const [, ...sizes] = type.shape ?? []
    if (!type.shape || sizes.some((size) => typeof size !== 'number'))
      throw new UserError(
        `input '${name}' has shape [${type.shape?.map((size) => size ?? '?').join(', ') ?? '?'}], expected one whose sizes but the batch are numbers; export the model with fixed sizes, or repair with data: --data FILE`,
      )
    found.push({ name, first: type.shape[0], sizes: sizes as number[] })
  }
  const samples = batch ?? standardInputs(Math.max(...found.map(({ sizes }) => elementCount(sizes))))
  return new Map(
    found.map(({ name, first, sizes }) => [
      name,
      [typeof first === 'number' && first > 1 ? first : samples, ...sizes],
    ]),
  )
}

/** Norms whose statistics are numbers and whose variances are not all nothing. */
const isMatchable = ({ mean, variance }: Norm): boolean =>
  mean !== undefined &&
  variance !== undefined &&
  mean.every(Number.isFinite) &&
  variance.every((v) => Number.isFinite(v) && v >= 0) &&
  variance.some((v) => v > 0)

/** The term of the loss for one norm. */
function mismatch(build: GraphBuilder, norm: Norm, shape: readonly number[]): string {
  const [samples, channels, ...positions] = shape as [number, number, ...number[]]
  const variance = norm.variance!
  const floor = 0.1 * (variance.reduce((sum, v) => sum + v, 0) / channels)
  const perChannel = (values: ArrayLike<number>) => build.constant(Tensor.float32([1, channels, 1], values))
  const flat = build.reshape(norm.node.inputs[0]!, [samples, channels, elementCount(positions)])
  const mean = build.reduceMean(flat, [0, 2])
  const deviation = build.sub(flat, mean)
  const square = build.reduceMean(build.mul(deviation, deviation), [0, 2])
  // The root of a channel that does not vary at all has no slope: it starts just above.
  const spread = build.op('Sqrt', [
    build.add(square, perChannel(variance.map((v) => 1e-4 * (v + floor) + 1e-12))),
  ])
  const off = (value: string, target: ArrayLike<number>) => {
    const distance = build.sub(value, perChannel(target))
    return build.mul(distance, distance)
  }
  const both = build.add(off(mean, norm.mean!), off(spread, variance.map(Math.sqrt)))
  return build.reduceMean(build.mul(both, perChannel(variance.map((v) => 1 / (v + floor)))), [0, 1, 2], false)
}

interface Scale {
  readonly mean: number
  readonly deviation: number
}

/** One run: the loss, and the gradients in the order of the inputs. */
async function evaluate(
  session: Session,
  { inputs, loss, words }: Objective,
  values: readonly Float32Array[],
  { seed, step }: { readonly seed: number; readonly step: number },
): Promise<{ loss: number; gradients: readonly Float32Array[] }> {
  const feeds = new Map(inputs.map(({ name, dims }, i) => [name, tensorOver(values[i]!, dims)]))
  if (words.size > 0) {
    const drawn = new Int32Array(words.size)
    fillWords(drawn, seed, step)
    feeds.set(words.input, new Tensor('int32', [words.size], new Uint8Array(drawn.buffer)))
  }
  const fetched = await session.run(feeds)
  return {
    loss: fetched.get(loss)!.toNumbers()[0]!,
    gradients: inputs.map(({ gradient }) => floatsOf(fetched.get(gradient)!)),
  }
}

const tensorOver = (values: Float32Array, dims: readonly number[]) =>
  new Tensor('float32', dims, new Uint8Array(values.buffer, values.byteOffset, values.byteLength))

const floatsOf = ({ bytes, size }: Tensor) => new Float32Array(bytes.buffer, bytes.byteOffset, size)

/** Passes of a moving average of three over the noise that inputs start from. */
const smoothingPasses = 2

/**
 * Where inputs start: noise of that mean and deviation whose neighbours in space agree, as those of pictures and
 * signals do. From white noise some networks are never matched (docs/theory.md, "Distilled inputs").
 */
const started = ({ inputs }: Objective, { mean, deviation }: Scale, seed: number): Float32Array[] =>
  inputs.map(({ dims }, i) => {
    const values = Float32Array.from(normal(elementCount(dims), 0, 1, seed * 31 + i))
    for (const axis of spatialAxes(dims))
      for (let pass = 0; pass < smoothingPasses; pass++) averageAlong(values, dims, axis)
    const spread = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length)
    return values.map((x) => mean + (deviation * x) / spread)
  })

/** Axes of N x ... along which neighbours belong together: all but the channels', as far as sizes tell which that is. */
function spatialAxes([, ...sampleShape]: readonly number[]): number[] {
  const axes = sampleShape.map((_, i) => i + 1)
  if (sampleShape.length < 2) return []
  // A signal is longer than it has channels.
  if (sampleShape.length === 2) return [sampleShape[0]! > sampleShape[1]! ? 1 : 2]
  return layoutOf({ sampleShape }) === 'NHWC' ? axes.slice(0, -1) : axes.slice(1)
}

/** Replaces every value by the mean of it and its two neighbours along the axis, which is closed to a ring. */
function averageAlong(values: Float32Array, dims: readonly number[], axis: number): void {
  const size = dims[axis]!
  const stride = elementCount(dims.slice(axis + 1))
  const line = new Float32Array(size)
  for (let outer = 0; outer < values.length; outer += size * stride)
    for (let inner = outer; inner < outer + stride; inner++) {
      for (let i = 0; i < size; i++) line[i] = values[inner + i * stride]!
      for (let i = 0; i < size; i++)
        values[inner + i * stride] = (line[(i + size - 1) % size]! + line[i]! + line[(i + 1) % size]!) / 3
    }
}

/** Steps of a trial of one scale. */
const trialSteps = 15

/** The scale from which a few steps lead to the least loss. */
async function bestScale(
  session: Session,
  objective: Objective,
  { seed, onStep }: { readonly seed: number; onStep(): void },
): Promise<Scale> {
  let best: { scale: Scale; loss: number } | undefined
  for (const scale of inputScales) {
    const { loss } = await descend(session, objective, { ...scale, steps: trialSteps, seed, onStep })
    if (Number.isFinite(loss) && !(best && best.loss <= loss)) best = { scale, loss }
  }
  if (!best)
    throw new UserError(
      'the model gives no numbers on inputs of any usual range; repair with data: --data FILE',
    )
  return best.scale
}

async function descend(
  session: Session,
  objective: Objective,
  {
    mean,
    deviation,
    steps,
    seed,
    onStep,
  }: Scale & { readonly steps: number; readonly seed: number; onStep(step: number): void },
): Promise<{ values: readonly Float32Array[]; loss: number }> {
  const values = started(objective, { mean, deviation }, seed + 1)
  const means = values.map(({ length }) => new Float32Array(length))
  const squares = values.map(({ length }) => new Float32Array(length))
  const [low, high] = [mean - reach * deviation, mean + reach * deviation]
  let [reached, counted] = [0, 0]
  for (let step = 1; step <= steps; step++) {
    onStep(step - 1)
    const { loss, gradients } = await evaluate(session, objective, values, { seed, step })
    if (!Number.isFinite(loss)) return { values, loss }
    if (step > steps - lastSteps) {
      reached += loss
      counted++
    }
    // Adam (Kingma and Ba, arXiv:1412.6980) with its usual constants, slowing down to nothing along a cosine.
    const [decay1, decay2] = [1 - 0.9 ** step, 1 - 0.999 ** step]
    const rate = (stepSize * deviation * (1 + Math.cos((Math.PI * step) / steps))) / 2 / decay1
    values.forEach((x, i) => {
      const [m, s, g] = [means[i]!, squares[i]!, gradients[i]!]
      for (let j = 0; j < x.length; j++) {
        m[j] = 0.9 * m[j]! + 0.1 * g[j]!
        s[j] = 0.999 * s[j]! + 0.001 * g[j]! * g[j]!
        const moved = x[j]! - (rate * m[j]!) / (Math.sqrt(s[j]! / decay2) + 1e-12)
        x[j] = moved < low ? low : moved > high ? high : moved
      }
    })
  }
  onStep(steps)
  return { values, loss: reached / counted }
}

function datasetOf({ inputs }: Objective, parts: readonly (readonly Float32Array[])[]): Dataset {
  const size = inputs[0]!.dims[0]!
  return {
    name: 'distilled inputs',
    size: size * parts.length,
    labelled: false,
    fields: inputs.map(({ name, dims }) => ({ name, dataType: 'float32', sampleShape: dims.slice(1) })),
    async *batches(options) {
      for (const [from, to] of batchRanges(size * parts.length, options)) {
        const batch = inputs.map(({ name, dims }, i) => {
          const each = elementCount(dims.slice(1))
          const values = new Float32Array((to - from) * each)
          for (let sample = from; sample < to; sample++) {
            const part = parts[Math.floor(sample / size)]![i]!
            values.set(
              part.subarray((sample % size) * each, ((sample % size) + 1) * each),
              (sample - from) * each,
            )
          }
          return [name, tensorOver(values, [to - from, ...dims.slice(1)])] as const
        })
        yield { inputs: new Map(batch), size: to - from }
      }
    },
  }
}
