import { withGradients } from '../autodiff/with-gradients.ts'
import { GraphBuilder } from '../ir/builder.ts'
import { keyOf, type Model, type ValueInfo } from '../ir/model.ts'
import { type DataType, Tensor } from '../ir/tensor.ts'
import { RandomWords } from '../ops/random-words.ts'
import { toMode } from '../rewrite/modes/mode.ts'
import { toTraining } from '../rewrite/modes/training.ts'
import { bindShapes } from '../rewrite/passes/bind-shapes.ts'
import { blockChannels } from '../rewrite/passes/block-channels.ts'
import { expandBlockedNodes } from '../rewrite/passes/expand-blocked.ts'
import { removeDeadNodes } from '../rewrite/passes/remove-dead-nodes.ts'
import type { OptimizerUnit } from './define-optimizer.ts'
import { type Answers, emitObjective, type Objective } from './objective.ts'
import type { Parameter } from './parameters.ts'
import type { SettingValue } from './settings.ts'

/** Something that a step reads and writes anew: a parameter, what the optimizer remembers of it, or a statistic. */
export interface Slot {
  /** `parameter/conv1.weight`, `momentum/conv1.weight`, `mean/bn1`, `variance/bn1`: unique, for checkpoints. */
  readonly id: string
  /** Names in the graph. */
  readonly input: string
  readonly output: string
  readonly initial: Tensor
}

/** How running statistics follow those of the batches. */
export interface StatisticsPolicy {
  /**
   * Weight of the old value, ONNX's and Keras' momentum (PyTorch's is its complement); undefined for what each norm
   * says (default 0.9).
   */
  readonly momentum: number | undefined
  /** `unbiased` (PyTorch) multiplies the variance of a batch by n / (n - 1); `biased` (ONNX, Keras) does not. */
  readonly variance: 'unbiased' | 'biased'
}

export interface StepOptions {
  /** Shapes of the inputs of the model, the batch included. */
  readonly shapes: ReadonlyMap<string, readonly number[]>
  readonly objective: Objective
  readonly answers: Answers
  readonly parameters: readonly Parameter[]
  readonly optimizer: {
    readonly unit: OptimizerUnit
    readonly settings: Readonly<Record<string, SettingValue>>
  }
  readonly decays: (parameter: Parameter) => boolean
  /** Largest norm of the gradient of all parameters together; undefined for no limit. */
  readonly clip: number | undefined
  /** Channels in a block of the layout to compute in (see rewrite/passes/block-channels); undefined for the plain one. */
  readonly block: number | undefined
  /** For devices that know no training mode of BatchNormalization. */
  readonly spellsNormsOut: boolean
  /** Undefined keeps the running statistics, and norms use them. */
  readonly statistics: StatisticsPolicy | undefined
}

/** One step of training as one graph. */
export interface StepGraph {
  readonly model: Model
  /** The parameters that it changes. */
  readonly parameters: readonly Parameter[]
  readonly slots: readonly Slot[]
  /** Scalars that are fed in every step: names of the optimizer's -> of the graph's inputs. */
  readonly scalars: ReadonlyMap<string, string>
  /** The input that noise takes its random numbers from, and how many; undefined without noise. */
  readonly words: { readonly input: string; readonly size: number } | undefined
  /** Scalars that are computed in every step. */
  readonly outputs: {
    readonly terms: readonly { readonly sum: string; readonly weight: string }[]
    readonly right: string | undefined
    /** Sums of squares of the gradients of one parameter each. */
    readonly squares: readonly string[]
  }
  /** The forward pass alone, with the same inputs, to look into when a step fails. */
  readonly forward: Model
}

/** PyTorch's guard against division by zero in clip_grad_norm_. */
const clipEpsilon = 1e-6

/**
 * The graph of one step: from a batch, learning rate, parameters and optimizer state to the loss and everything that
 * follows it. `model` is to have opset 18 or newer and hold its parameters as initializers.
 */
export function stepGraph(model: Model, options: StepOptions): StepGraph {
  const { shapes, objective, answers, parameters, statistics, block } = options
  const bound = bindShapes(model, shapes)
  const words = new RandomWords(freshName(bound, 'random'))
  const training = statistics
    ? toTraining(bound, { words, ...statistics, spelledOut: options.spellsNormsOut })
    : { model: toMode(bound, 'sample', { words }), statistics: [] }
  const inMode = training.model
  const build = new GraphBuilder(inMode)
  for (const node of inMode.graph.nodes) build.keep(node)
  const emitted = emitObjective(build, objective, answers)
  const metrics = [...emitted.terms.flatMap(({ sum, weight }) => [sum, weight]), emitted.right].filter(
    (name) => name !== undefined,
  )
  const batch = [...shapes.values()][0]![0]!
  const moments = training.statistics.flatMap(({ newMean, newVariance }) => [newMean, newVariance])
  const forward = removeDeadNodes({
    ...inMode,
    graph: {
      ...inMode.graph,
      nodes: build.nodes,
      initializers: build.initializers,
      inputs: [...inMode.graph.inputs, ...answerInputs(objective, answers, batch)],
      outputs: [...metrics, emitted.loss, ...moments].map((name) => ({ name })),
    },
  })
  // Those of a head that the loss does not see stay as they are.
  const live = parameters.filter(({ value }) => forward.graph.initializers.has(value))
  const laidOut = block === undefined ? forward : blockChannels(forward, block)
  const { model: differentiated, gradients } = withGradients(laidOut, {
    loss: emitted.loss,
    wrt: live.map(({ value }) => value),
  })
  const update = new GraphBuilder(differentiated)
  for (const node of differentiated.graph.nodes) update.keep(node)
  const { slots, scalars, squares } = updateParameters(update, { ...options, parameters: live }, gradients)
  for (const { norm: layer, mean, variance, newMean, newVariance } of training.statistics)
    slots.push(
      { id: `mean/${layer.key}`, input: mean, output: newMean, initial: update.initializers.get(mean)! },
      {
        id: `variance/${layer.key}`,
        input: variance,
        output: newVariance,
        initial: update.initializers.get(variance)!,
      },
    )

  const inputs = new Set(slots.map(({ input }) => input))
  const initializers = new Map([...update.initializers].filter(([name]) => !inputs.has(name)))
  const floats = (name: string, shape: readonly number[]): ValueInfo => ({
    name,
    type: { dataType: 'float32', shape },
  })
  const whole: Model = {
    ...differentiated,
    irVersion: Math.max(8, differentiated.irVersion),
    graph: {
      ...differentiated.graph,
      nodes: update.nodes,
      initializers,
      inputs: [
        ...differentiated.graph.inputs.filter(({ name }) => !inputs.has(name)),
        ...slots.map(({ input, initial }) => floats(input, initial.dims)),
        ...[...scalars.values()].map((name) => floats(name, [])),
      ],
      outputs: [
        ...[...metrics, ...squares].map((name) => floats(name, [])),
        ...slots.map(({ output, initial }) => floats(output, initial.dims)),
      ],
      types: new Map(),
    },
  }
  return {
    model: withOpenBatch(removeDeadNodes(block === undefined ? whole : expandBlockedNodes(whole)), shapes),
    parameters: live,
    slots,
    scalars,
    words: words.size > 0 ? { input: words.input, size: words.size } : undefined,
    outputs: { terms: emitted.terms, right: emitted.right, squares },
    forward,
  }
}

/**
 * The graph with the number of samples left out of the shapes of its inputs. ONNX Runtime plans to use memory again only
 * where it knows that sizes are the same, and keeps it until then: much of the forward pass's until the backward pass
 * (DenseNet-BC-40-12: 709 instead of 557 MiB at the peak).
 */
function withOpenBatch(model: Model, shapes: StepOptions['shapes']): Model {
  const inputs = model.graph.inputs.map((input): ValueInfo => {
    const { name, type } = input
    if (!type?.shape || !shapes.has(name)) return input
    return { name, type: { ...type, shape: [undefined, ...type.shape.slice(1)] } }
  })
  return { ...model, graph: { ...model.graph, inputs } }
}

/** The inputs that answers are fed by. */
export function answerInputs(
  { takes, shape }: Objective,
  { labels, target }: Answers,
  batch: number | string,
): ValueInfo[] {
  const info = (name: string, dataType: DataType, dims: readonly (number | string)[]): ValueInfo => ({
    name,
    type: { dataType, shape: dims },
  })
  return takes === 'classes'
    ? [info(labels, 'int64', [batch])]
    : [info(target, 'float32', [batch, ...(shape.slice(1) as number[])])]
}

/** A name that the graph does not use. */
export function freshName(model: Model, hint: string): string {
  return new GraphBuilder(model).fresh(hint)
}

const squareOf = (build: GraphBuilder, gradient: string) =>
  build.op('ReduceSumSquare', [gradient], { keepdims: 0 })

/**
 * Updates each parameter, and its square, as soon as there is its gradient, which then is done with: ONNX Runtime runs
 * what leads to the last results first. Clipping has to wait for all gradients.
 */
function updateParameters(
  build: GraphBuilder,
  { parameters, optimizer, decays, clip }: StepOptions,
  gradients: ReadonlyMap<string, string>,
): { slots: Slot[]; scalars: Map<string, string>; squares: string[] } {
  const { unit, settings } = optimizer
  const scalars = new Map(Object.keys(unit.scalars(settings, 1, 1)).map((name) => [name, build.fresh(name)]))
  const slots: Slot[] = []
  const squares: string[] = []
  let factor: string | undefined
  if (clip !== undefined) {
    squares.push(...[...gradients.values()].map((gradient) => squareOf(build, gradient)))
    const norm = build.op('Sqrt', [squares.length === 1 ? squares[0]! : build.op('Sum', squares)])
    const bounded = build.div(build.scalar(clip), build.add(norm, build.scalar(clipEpsilon)))
    factor = build.op('Min', [bounded, build.scalar(1)])
  }
  for (const parameter of parameters) {
    const { value, tensor } = parameter
    const gradient = gradients.get(value)!
    const memory = unit.state(settings).map((name) => [name, build.fresh(`${name}_of_${value}`)] as const)
    const updated = unit.emit(
      {
        build,
        parameter: value,
        gradient: factor ? build.mul(gradient, factor) : gradient,
        state: Object.fromEntries(memory),
        scalars: Object.fromEntries(scalars),
        decays: decays(parameter),
      },
      settings,
    )
    if (!factor) squares.push(squareOf(build, gradient))
    slots.push({ id: `parameter/${value}`, input: value, output: updated.parameter, initial: tensor })
    for (const [name, input] of memory)
      slots.push({
        id: `${name}/${value}`,
        input,
        output: updated.state[name]!,
        initial: new Tensor('float32', tensor.dims, () => new Uint8Array(4 * tensor.size)),
      })
  }
  return { slots, scalars, squares }
}

/** The model with Constant nodes that hold a parameter turned into initializers of the same name. */
export function withParametersAsInitializers(model: Model, parameters: readonly Parameter[]): Model {
  const held = new Map(parameters.map(({ value, tensor }) => [value, tensor]))
  const constants = model.graph.nodes.filter((node) => held.has(keyOf(node)))
  const inputs = model.graph.inputs.filter(({ name }) => !held.has(name))
  if (constants.length === 0 && inputs.length === model.graph.inputs.length) return model
  const initializers = new Map(model.graph.initializers)
  for (const node of constants) initializers.set(keyOf(node), held.get(keyOf(node))!)
  const nodes = model.graph.nodes.filter((node) => !constants.includes(node))
  return { ...model, graph: { ...model.graph, nodes, initializers, inputs } }
}
