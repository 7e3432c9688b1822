import { factsOf } from '../analysis/index.ts'
import { type AdaptedDataset, adapt, type WantedInput } from '../data/adapt.ts'
import { augmenter } from '../data/augment.ts'
import type { Batch, Dataset } from '../data/dataset.ts'
import { checkLabels } from '../data/labels.ts'
import { openDataset } from '../data/open.ts'
import { type Resident, resident } from '../data/resident.ts'
import { encodeModel } from '../formats/onnx/index.ts'
import { applyEdits, type Edit } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { permutation, seedOf } from '../ir/random.ts'
import { elementCount, Tensor } from '../ir/tensor.ts'
import { fillWords } from '../ops/random-words.ts'
import type { Files } from '../platform/files.ts'
import { toMode } from '../rewrite/modes/mode.ts'
import { raiseOpset } from '../rewrite/passes/raise-opset.ts'
import { channelBlock } from '../runtime/channel-block.ts'
import { createSession, type Session } from '../runtime/session.ts'
import { type EpochFigures, readCheckpoint, type TrainingState, writeCheckpoint } from './checkpoint.ts'
import { firstNonFinite } from './diagnose.ts'
import { type EvalGraph, evalGraph } from './eval-graph.ts'
import { holdOut } from './hold-out.ts'
import { type Answers, type Objective, objectiveOf } from './objective.ts'
import { optimizers } from './optimizers/index.ts'
import type { TrainOptions } from './options.ts'
import { type Parameter, parametersOf, unfrozen } from './parameters.ts'
import { schedules } from './schedules.ts'
import { chosen } from './settings.ts'
import {
  freshName,
  type StatisticsPolicy,
  type StepGraph,
  stepGraph,
  withParametersAsInitializers,
} from './step-graph.ts'

export type TrainEvent =
  | {
      readonly type: 'start'
      readonly steps: number
      readonly stepsPerEpoch: number
      /** Steps done before, by a run that this one goes on from. */
      readonly step: number
      readonly parameters: number
      readonly notes: readonly string[]
    }
  | {
      readonly type: 'step'
      /** Counted from 1. */
      readonly step: number
      readonly epoch: number
      readonly loss: number
      readonly learningRate: number
      readonly gradientNorm: number
      readonly durationMs: number
    }
  | ({ readonly type: 'epoch' } & EpochFigures)
  | { readonly type: 'checkpoint'; readonly path: string; readonly step: number }
  | { readonly type: 'end'; readonly reason: EndReason; readonly step: number }

export type EndReason = 'finished' | 'early-stopping' | 'interrupted'

export interface TrainSummary {
  readonly reason: EndReason
  readonly steps: number
  readonly curve: readonly EpochFigures[]
  /** The epoch whose parameters are taken, where early stopping chose one. */
  readonly bestEpoch: number | undefined
  readonly samplesPerSecond: number
  /** Share of the time that went into making batches rather than computing. */
  readonly dataShare: number
}

/** The same with data by its name as well: a file, a folder, or `shapes:...` (see openDataset). */
export interface TrainerOptions extends Omit<TrainOptions, 'data' | 'validation'> {
  readonly data: string | Dataset
  readonly validation?: string | number | Dataset | undefined
}

/** A training run: iterate over it to run it. */
export interface Training extends AsyncIterable<TrainEvent> {
  /** Everything that was decided, as plain JSON. */
  readonly recipe: Readonly<Record<string, unknown>>
  /** What was decided on the user's behalf, a sentence each. */
  readonly notes: readonly string[]
  readonly parameterCount: number
  readonly stepsPerEpoch: number
  /** What to change in the model to get the trained one; after the run, or between two events of it. */
  edits(): Edit[]
  /** The trained model. */
  model(): Model
  /** After the run. */
  summary(): TrainSummary
}

const defaults = {
  epochs: 1,
  batchSize: 64,
  seed: 0,
  optimizer: 'sgd',
  schedule: 'constant',
  decay: 'weights',
} as const

/** Learning rates that are usual for the optimizers. */
const usualRate: Readonly<Record<string, number>> = { sgd: 0.1, adam: 1e-3, adamw: 1e-3 }

/**
 * Trains `model` on data. Nothing runs before the first event is asked for. Throws a UserError, here or while it runs, if
 * model, data, loss and device do not fit together, or if numbers cease to be finite.
 */
export async function trainer(
  source: Model | { readonly model: Model },
  { data, validation, ...options }: TrainerOptions,
  files?: Files,
): Promise<Training> {
  const open = async (spec: string | Dataset): Promise<Dataset> => {
    if (typeof spec !== 'string') return spec
    if (!files) throw new UserError(`'${spec}' cannot be opened without access to files; give a dataset`)
    return openDataset(spec, files)
  }
  const opened: TrainOptions = {
    ...options,
    data: await open(data),
    validation:
      typeof validation === 'number' || validation === undefined ? validation : await open(validation),
  }
  const run = new Run('model' in source ? source.model : source, opened, files)
  await run.prepare()
  return run
}

interface Metrics {
  terms: { sum: number; weight: number }[]
  right: number
  samples: number
  gradientNorm: number
  steps: number
  durationMs: number
}

const noMetrics = (terms: number): Metrics => ({
  terms: Array.from({ length: terms }, () => ({ sum: 0, weight: 0 })),
  right: 0,
  samples: 0,
  gradientNorm: 0,
  steps: 0,
  durationMs: 0,
})

class Run implements Training {
  readonly notes: string[] = []
  recipe: Readonly<Record<string, unknown>> = {}
  stepsPerEpoch = 0
  readonly #source: Model
  readonly #options: TrainOptions
  readonly #files: Files | undefined
  readonly #seed: number
  #base!: Model
  #train!: Resident
  #order!: Int32Array
  #validation: Dataset | undefined
  #wanted!: readonly WantedInput[]
  #batchSize!: number
  #objective!: Objective
  #answers!: Answers
  #parameters!: readonly Parameter[]
  #graph!: StepGraph
  #evaluation!: EvalGraph
  #buffers!: readonly (readonly [Tensor, Tensor])[]
  #best: { readonly epoch: number; readonly loss: number; readonly tensors: readonly Tensor[] } | undefined
  #step = 0
  #front: 0 | 1 = 0
  #totals!: Metrics
  readonly #curve: EpochFigures[] = []
  #reason: EndReason | undefined
  #computeMs = 0
  #dataMs = 0
  #samples = 0

  constructor(source: Model, options: TrainOptions, files: Files | undefined) {
    this.#source = source
    this.#options = options
    this.#files = files
    this.#seed = options.seed ?? defaults.seed
  }

  get parameterCount(): number {
    return this.#parameters.reduce((sum, { tensor }) => sum + tensor.size, 0)
  }

  /** Decides everything and builds the graphs, so that what does not fit is refused before anything runs. */
  async prepare(): Promise<void> {
    const options = this.#options
    const { epochs = defaults.epochs, freeze = [], decay = defaults.decay, clip } = options
    if (!(Number.isInteger(epochs) && epochs >= 1))
      throw new UserError(`epochs is ${epochs}, expected a whole number of at least 1`)
    const optimizer = chosen(options.optimizer ?? defaults.optimizer, optimizers, 'optimizer')
    const schedule = chosen(options.schedule ?? defaults.schedule, schedules, 'schedule')
    const learningRate = options.learningRate ?? usualRate[optimizer.unit.id] ?? 1e-3
    for (const [name, value] of [
      ['learning rate', learningRate],
      ['clip', clip],
    ] as const)
      if (value !== undefined && !(value > 0 && Number.isFinite(value)))
        throw new UserError(`the ${name} is ${value}, expected a number above 0`)

    const all = parametersOf(this.#source)
    if (all.length === 0)
      throw new UserError(
        'the model has no float32 weights that can be trained; quantized, half-precision and folded models cannot: train the original',
      )
    this.#parameters = unfrozen(all, freeze)
    this.#base = raiseOpset(withParametersAsInitializers(this.#source, this.#parameters))
    await this.#prepareData()
    const policy = this.#statisticsPolicy()
    const { fields } = adapt(this.#train, this.#wanted, this.#adaptOptions())
    const shapes = new Map(
      fields
        .filter(({ name }) => this.#inputNames().includes(name))
        .map(({ name, sampleShape }) => [name, [this.#batchSize, ...sampleShape]]),
    )
    this.#graph = stepGraph(this.#base, {
      shapes,
      objective: this.#objective,
      answers: this.#answers,
      parameters: this.#parameters,
      optimizer,
      decays: ({ kind }) => decay === 'all' || kind === 'weight' || kind === 'embedding',
      clip,
      block: (options.device ?? 'cpu') === 'cpu' ? await channelBlock() : undefined,
      spellsNormsOut: options.device === 'webgpu',
      statistics: policy,
    })
    this.#parameters = this.#graph.parameters
    this.#evaluation = evalGraph(this.#base, this.#objective, this.#answers, this.#graph.slots)
    this.#buffers = this.#graph.slots.map(({ initial }) => [owned(initial), owned(initial)] as const)
    this.#totals = noMetrics(this.#graph.outputs.terms.length)
    this.recipe = {
      loss: this.#objective.parts.map(({ unit, settings }) => ({ id: unit.id, ...settings })),
      optimizer: { id: optimizer.unit.id, ...optimizer.settings },
      learningRate,
      schedule: { id: schedule.unit.id, ...schedule.settings },
      epochs,
      batchSize: this.#batchSize,
      seed: this.#seed,
      decay,
      clip: clip ?? null,
      freeze,
      statistics: policy ? { momentum: policy.momentum ?? null, variance: policy.variance } : 'keep',
      augment: options.augment ?? {},
      earlyStopping: options.earlyStopping ?? null,
      data: { name: this.#train.name, samples: this.#order.length },
      validation: this.#validation ? { name: this.#validation.name, samples: this.#validation.size } : null,
    }
    if (options.resume) await this.#resume()
  }

  #inputNames(): string[] {
    const { inputs, initializers } = toMode(this.#base, 'eval').graph
    return inputs.map(({ name }) => name).filter((name) => !initializers.has(name))
  }

  #adaptOptions() {
    const { scale, mean, std, layout, repeatGrey } = this.#options
    return Object.fromEntries(
      Object.entries({ scale, mean, std, layout, repeatGrey, batchSize: this.#batchSize }).filter(
        ([, value]) => value !== undefined,
      ),
    )
  }

  async #prepareData(): Promise<void> {
    const {
      data,
      validation,
      batchSize = defaults.batchSize,
      signal,
      epochs = defaults.epochs,
    } = this.#options
    const { earlyStopping } = this.#options
    this.#batchSize = batchSize
    const names = this.#inputNames()
    const inputs = this.#base.graph.inputs
      .filter(({ name }) => names.includes(name))
      .map(({ name, type }): WantedInput => {
        if (!type?.dataType)
          throw new UserError(`input '${name}' of the model is no tensor; varshift cannot feed it`)
        return { name, dataType: type.dataType, shape: type.shape }
      })
    const first = adapt(withoutAnswers(data, this.#options.target), inputs, this.#adaptOptions())
    this.#batchSize = first.batchSize
    // Sizes that the model leaves open are those of the data.
    const sizes = new Map(first.fields.map(({ name, sampleShape }) => [name, sampleShape]))
    const shaped = {
      ...this.#base,
      graph: {
        ...this.#base.graph,
        inputs: this.#base.graph.inputs.map((input) =>
          sizes.has(input.name) && input.type
            ? {
                ...input,
                type: { ...input.type, shape: [input.type.shape?.[0] ?? 'N', ...sizes.get(input.name)!] },
              }
            : input,
        ),
      },
    }
    this.#base = shaped
    this.#objective = objectiveOf(toMode(shaped, 'eval'), this.#options.loss)
    this.#answers = this.#answersIn(data)
    const { takes, shape } = this.#objective
    const field = this.#targetField
    this.#wanted =
      takes === 'values' && field !== undefined
        ? [...inputs, { name: field, dataType: 'float32', shape }]
        : inputs
    this.#train = await resident(data, { signal })
    this.#order =
      this.#train.size > 0 ? Int32Array.from({ length: this.#train.size }, (_, i) => i) : new Int32Array()
    if (typeof validation === 'number') {
      const { held, rest } = holdOut(this.#train.size, validation, this.#seed)
      this.#validation = this.#train.ordered(held)
      this.#order = rest
    } else if (validation) this.#validation = await resident(validation, { signal })
    if (earlyStopping !== undefined && !this.#validation)
      throw new UserError('early stopping needs validation data; give some, or a share of the training data')
    this.stepsPerEpoch = Math.floor(this.#order.length / this.#batchSize)
    if (this.stepsPerEpoch === 0)
      throw new UserError(
        `${data.name}: ${this.#order.length} samples make no batch of ${this.#batchSize}; use a smaller batch size`,
      )
    const dropped = this.#order.length % this.#batchSize
    if (dropped > 0 && epochs > 0)
      this.notes.push(
        `each epoch leaves out ${dropped} of ${this.#order.length} samples, other ones each time.`,
      )
    for (const note of adapt(this.#train, this.#wanted, this.#adaptOptions()).notes)
      if (!/left out|not used/.test(note)) this.notes.push(note)
    if (takes === 'classes') await this.#checkClasses()
    if (this.#options.augment) augmenter(this.#train, this.#options.augment, { seed: 0, epoch: 0 })
  }

  /** The array of the data that holds targets; undefined if they are the labels or the input itself. */
  #targetField: string | undefined
  /** The input of the model that is its own target. */
  #targetInput: string | undefined

  #answersIn(data: Dataset): Answers {
    const { takes, shape, parts, output } = this.#objective
    const loss = parts.find(({ unit }) => unit.takes !== 'nothing')!.unit.id
    const answers = { labels: freshName(this.#base, 'labels'), target: freshName(this.#base, 'target') }
    if (takes === 'classes') {
      if (!data.labelled)
        throw new UserError(
          `${data.name} has no labels, which the loss ${loss} needs; give them (--labels FILE), or choose a loss such as mse with a target`,
        )
      return answers
    }
    const wanted =
      this.#options.target ?? (data.fields.some(({ name }) => name === 'target') ? 'target' : undefined)
    if (wanted === 'input') {
      const [input, ...others] = this.#inputNames()
      if (input === undefined || others.length > 0)
        throw new UserError(`the target cannot be the input: the model has ${others.length + 1} of them`)
      this.#targetInput = input
    } else if (wanted === undefined || wanted === 'labels') {
      if (!data.labelled || elementCount(shape.slice(1) as number[]) !== 1)
        throw new UserError(
          `the loss ${loss} needs to know what the output '${output}' [${shape.join(', ')}] should be: name an array of ${data.name} as the target, or 'input' to learn the input itself`,
        )
    } else if (data.fields.some(({ name }) => name === wanted)) this.#targetField = wanted
    else
      throw new UserError(
        `${data.name} holds no array '${wanted}' to take as the target; it holds ${data.fields.map(({ name }) => `'${name}'`).join(', ')}`,
      )
    return answers
  }

  async #checkClasses(): Promise<void> {
    const { classes } = this.#objective
    for (const dataset of [this.#train, this.#validation]) {
      if (!dataset) continue
      if (!dataset.labelled)
        throw new UserError(`${dataset.name} has no labels to evaluate with; give labelled validation data`)
      let at = 0
      for await (const batch of dataset.batches({ batchSize: 4096 })) {
        const start = at
        const numberOf = (i: number) => batch.numbers?.[i] ?? start + i
        checkLabels(batch.labels!, classes!, { name: dataset.name, numberOf })
        at += batch.size
      }
    }
  }

  #statisticsPolicy(): StatisticsPolicy | undefined {
    const { statistics } = this.#options
    if (statistics === 'keep') return undefined
    const biased = /keras|tf2onnx|tfjs|tensorflow/i.test(`${this.#source.format} ${this.#source.producer}`)
    return {
      momentum: statistics?.momentum,
      variance: statistics?.variance ?? (biased ? 'biased' : 'unbiased'),
    }
  }

  async #resume(): Promise<void> {
    const { checkpoints } = this.#options
    if (!this.#files || checkpoints === undefined)
      throw new UserError('to go on from a checkpoint, say in which folder it is')
    const { path, state, tensors } = await readCheckpoint(checkpoints, this.#files)
    for (const [name, value] of Object.entries(this.recipe))
      if (JSON.stringify(state.recipe[name]) !== JSON.stringify(value))
        throw new UserError(
          `${path} is of a run with ${name} ${JSON.stringify(state.recipe[name])}, not ${JSON.stringify(value)}; go on with the same settings, or start a new run in another folder`,
        )
    const read = (id: string, { dataType, dims }: Tensor, into: Tensor) => {
      const tensor = tensors.get(id)
      if (!tensor || tensor.dataType !== dataType || tensor.dims.join() !== dims.join())
        throw new UserError(
          `${path} does not belong to this model: it has no '${id}' of ${dataType} [${dims.join(', ')}]`,
        )
      into.bytes.set(tensor.bytes)
      return into
    }
    this.#graph.slots.forEach(({ id, initial }, i) => {
      read(id, initial, this.#buffers[i]![0])
    })
    if (state.best)
      this.#best = {
        ...state.best,
        tensors: this.#graph.slots.map(({ id, initial }) => read(`best/${id}`, initial, owned(initial))),
      }
    this.#front = 0
    this.#step = state.step
    this.#totals = state.totals
    this.#curve.push(...state.curve)
  }

  #current(slot: number): Tensor {
    return this.#buffers[slot]![this.#front]
  }

  async #checkpoint(): Promise<TrainEvent[]> {
    const { checkpoints, note } = this.#options
    if (checkpoints === undefined || !this.#files) return []
    const tensors = new Map(this.#graph.slots.map(({ id }, i) => [id, this.#current(i)]))
    this.#best?.tensors.forEach((tensor, i) => {
      tensors.set(`best/${this.#graph.slots[i]!.id}`, tensor)
    })
    const state: Omit<TrainingState, 'format' | 'version'> = {
      recipe: this.recipe,
      note: note ?? null,
      step: this.#step,
      totals: this.#totals,
      curve: this.#curve,
      best: this.#best ? { epoch: this.#best.epoch, loss: this.#best.loss } : null,
    }
    const path = await writeCheckpoint(checkpoints, state, tensors, this.#files)
    return [{ type: 'checkpoint', path, step: this.#step }]
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TrainEvent> {
    for await (const event of this.#events()) {
      await this.#record(event)
      yield event
    }
  }

  async #record(event: TrainEvent): Promise<void> {
    const { log } = this.#options
    if (log === undefined || !this.#files) return
    if (event.type === 'start') {
      const kept = this.#options.resume ? await linesUpTo(log, event.step, this.#files) : []
      await this.#files.writeAtomic(log, kept)
    }
    const line = event.type === 'start' ? { ...event, recipe: this.recipe } : event
    await this.#files.append(log, new TextEncoder().encode(`${JSON.stringify(line)}\n`))
  }

  async *#events(): AsyncGenerator<TrainEvent> {
    const { signal, threads, device, checkpoints, checkpointEvery } = this.#options
    const { epochs = defaults.epochs } = this.#options
    const steps = epochs * this.stepsPerEpoch
    if (checkpoints !== undefined) await this.#files?.createFolder(checkpoints)
    yield {
      type: 'start',
      steps,
      stepsPerEpoch: this.stepsPerEpoch,
      step: this.#step,
      parameters: this.parameterCount,
      notes: this.notes,
    }
    if (this.#step === 0) yield* await this.#checkpoint()
    const session = await createSession(encodeModel(this.#graph.model), {
      threads,
      device,
      name: 'a step of training',
      writesInPlace: true,
    })
    let evaluator: Session | undefined
    try {
      if (this.#isStale()) this.#reason = 'early-stopping'
      while (this.#step < steps && this.#reason === undefined) {
        const epoch = Math.floor(this.#step / this.stepsPerEpoch)
        for await (const batch of this.#batches(epoch)) {
          if (signal?.aborted) break
          yield await this.#takeStep(session, batch, epoch)
          const isLast = this.#step % this.stepsPerEpoch === 0
          if (!isLast && checkpointEvery && this.#step % checkpointEvery === 0)
            yield* await this.#checkpoint()
        }
        if (signal?.aborted && this.#step % this.stepsPerEpoch !== 0) this.#reason = 'interrupted'
        else {
          if (this.#validation)
            evaluator ??= await createSession(encodeModel(this.#evaluation.model), {
              threads,
              device,
              name: 'the model in eval mode',
            })
          const figures = await this.#endEpoch(epoch, evaluator)
          if (this.#isStale()) this.#reason = 'early-stopping'
          else if (signal?.aborted) this.#reason = 'interrupted'
          yield { type: 'epoch', ...figures }
        }
        yield* await this.#checkpoint()
      }
      this.#reason ??= 'finished'
      yield { type: 'end', reason: this.#reason, step: this.#step }
    } finally {
      await session.release()
      await evaluator?.release()
    }
  }

  /** Whether the validation loss has not fallen for as many epochs as early stopping allows. */
  #isStale(): boolean {
    const { earlyStopping } = this.#options
    return (
      earlyStopping !== undefined &&
      this.#best !== undefined &&
      this.#curve.length - this.#best.epoch >= earlyStopping
    )
  }

  /** The batches of an epoch that are not done yet. */
  async *#batches(epoch: number): AsyncGenerator<Batch> {
    const { augment } = this.#options
    const order = permutation(this.#order.length, seedOf(this.#seed, 'order'), epoch).map(
      (i) => this.#order[i]!,
    )
    const change =
      augment && augmenter(this.#train, augment, { seed: seedOf(this.#seed, 'augmentation'), epoch })
    const adapted = this.#adapted(this.#train.ordered(order, change))
    const done = (this.#step % this.stepsPerEpoch) * this.#batchSize
    const limit = this.stepsPerEpoch * this.#batchSize - done
    let at = performance.now()
    for await (const batch of adapted.batches({ start: done, limit })) {
      this.#dataMs += performance.now() - at
      yield batch
      at = performance.now()
    }
  }

  #adapted(dataset: Dataset): AdaptedDataset {
    const given = this.#targetField === undefined ? withoutAnswers(dataset, undefined) : dataset
    return adapt(given, this.#wanted, this.#adaptOptions())
  }

  /** Inputs of the model and answers, by the names that the graphs have for them. */
  #feedsOf({ inputs, labels, size }: Batch): Map<string, Tensor> {
    const feeds = new Map([...inputs].filter(([name]) => name !== this.#targetField))
    const { takes, shape } = this.#objective
    if (takes === 'classes') feeds.set(this.#answers.labels, Tensor.int64([size], labels!))
    else if (this.#targetField !== undefined) feeds.set(this.#answers.target, inputs.get(this.#targetField)!)
    else {
      const dims = [size, ...(shape.slice(1) as number[])]
      const own = this.#targetInput === undefined ? labels! : inputs.get(this.#targetInput)!.toNumbers()
      feeds.set(this.#answers.target, Tensor.float32(dims, own))
    }
    return feeds
  }

  async #takeStep(session: Session, batch: Batch, epoch: number): Promise<TrainEvent> {
    const { slots, words, scalars, outputs, forward } = this.#graph
    const started = performance.now()
    const learningRate = this.#learningRate(this.#step)
    const feeds = this.#feedsOf(batch)
    const { unit, settings } = chosen(this.#options.optimizer ?? defaults.optimizer, optimizers, 'optimizer')
    for (const [name, value] of Object.entries(unit.scalars(settings, this.#step + 1, learningRate)))
      feeds.set(scalars.get(name)!, Tensor.float32([], [value]))
    if (words) {
      const drawn = new Int32Array(words.size)
      fillWords(drawn, seedOf(this.#seed, 'noise'), this.#step)
      feeds.set(words.input, new Tensor('int32', [words.size], new Uint8Array(drawn.buffer)))
    }
    const back = this.#front === 0 ? 1 : 0
    const fetches = new Map<string, Tensor>()
    const metric = (name: string) => {
      const tensor = Tensor.float32([], [0])
      fetches.set(name, tensor)
      return () => tensor.toNumbers()[0]!
    }
    const terms = outputs.terms.map(({ sum, weight }) => ({ sum: metric(sum), weight: metric(weight) }))
    const right = outputs.right === undefined ? undefined : metric(outputs.right)
    const squares = outputs.squares.map(metric)
    slots.forEach(({ input, output }, i) => {
      feeds.set(input, this.#buffers[i]![this.#front])
      fetches.set(output, this.#buffers[i]![back])
    })
    const fed = new Map([...feeds].filter(([name]) => session.inputs.includes(name)))
    await session.run(fed, fetches)
    const loss = terms.reduce((sum, term) => sum + term.sum() / term.weight(), 0)
    const gradientNorm = Math.sqrt(squares.reduce((sum, square) => sum + square(), 0))
    if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm))
      throw await this.#diverged(forward, feeds, { epoch, loss, gradientNorm })
    this.#front = back
    this.#step++
    const durationMs = performance.now() - started
    const totals = this.#totals
    terms.forEach((term, i) => {
      totals.terms[i]!.sum += term.sum()
      totals.terms[i]!.weight += term.weight()
    })
    totals.right += right?.() ?? 0
    totals.samples += batch.size
    totals.gradientNorm += gradientNorm
    totals.steps++
    totals.durationMs += durationMs
    this.#computeMs += durationMs
    this.#samples += batch.size
    return { type: 'step', step: this.#step, epoch: epoch + 1, loss, learningRate, gradientNorm, durationMs }
  }

  /** What to tell when numbers cease to be finite; the parameters are those before the step, and are kept. */
  async #diverged(
    forward: Model,
    feeds: ReadonlyMap<string, Tensor>,
    { epoch, loss, gradientNorm }: { epoch: number; loss: number; gradientNorm: number },
  ): Promise<UserError> {
    const [event] = await this.#checkpoint()
    const { threads } = this.#options
    const where = await firstNonFinite(forward, feeds, { threads }).catch(() => undefined)
    const what = Number.isFinite(loss) ? `the gradient is ${gradientNorm}` : `the loss is ${loss}`
    const kept =
      event?.type === 'checkpoint'
        ? ` The last good parameters (step ${this.#step}) are in ${event.path}.`
        : ''
    return new UserError(
      `training stopped in step ${this.#step + 1} (epoch ${epoch + 1}): ${what}; ${
        where
          ? `the first number that is not finite is in ${where}`
          : 'all values of the forward pass are finite'
      }. Try a smaller learning rate, warm-up, or clipping.${kept}`,
    )
  }

  #learningRate(step: number): number {
    const { epochs = defaults.epochs } = this.#options
    const { unit, settings } = chosen(this.#options.schedule ?? defaults.schedule, schedules, 'schedule')
    const place = { step, steps: epochs * this.stepsPerEpoch, perEpoch: this.stepsPerEpoch }
    return (this.recipe.learningRate as number) * unit.factor(place, settings)
  }

  async #endEpoch(epoch: number, evaluator: Session | undefined): Promise<EpochFigures> {
    const started = performance.now()
    const totals = this.#totals
    const validation = evaluator ? await this.#evaluate(evaluator) : undefined
    const figures: EpochFigures = {
      epoch: epoch + 1,
      step: this.#step,
      learningRate: this.#learningRate(this.#step - 1),
      train: this.#figuresOf(totals),
      validation: validation ? this.#figuresOf(validation) : null,
      gradientNorm: totals.gradientNorm / totals.steps,
      durationMs: totals.durationMs + performance.now() - started,
    }
    this.#totals = noMetrics(totals.terms.length)
    this.#curve.push(figures)
    const loss = figures.validation?.loss
    if (this.#options.earlyStopping !== undefined && typeof loss === 'number')
      if (!this.#best || loss < this.#best.loss)
        this.#best = {
          epoch: epoch + 1,
          loss,
          tensors: this.#graph.slots.map((_, i) => owned(this.#current(i))),
        }
    return figures
  }

  #figuresOf({ terms, right, samples }: Metrics): { loss: number | null; accuracy: number | null } {
    const loss = terms.reduce((sum, term) => sum + term.sum / term.weight, 0)
    return {
      loss: Number.isFinite(loss) ? loss : null,
      accuracy: this.#graph.outputs.right === undefined ? null : right / samples,
    }
  }

  async #evaluate(session: Session): Promise<Metrics> {
    const { slots, terms, right } = this.#evaluation
    const index = new Map(this.#graph.slots.map(({ id }, i) => [id, i]))
    const fixed = slots.map(({ id, input }): [string, Tensor] => [input, this.#current(index.get(id)!)])
    const totals = noMetrics(terms.length)
    for await (const batch of this.#adapted(this.#validation!).batches()) {
      const feeds = new Map([...this.#feedsOf(batch), ...fixed])
      const fetched = await session.run(new Map([...feeds].filter(([name]) => session.inputs.includes(name))))
      const number = (name: string) => fetched.get(name)!.toNumbers()[0]!
      terms.forEach(({ sum, weight }, i) => {
        totals.terms[i]!.sum += number(sum)
        totals.terms[i]!.weight += number(weight)
      })
      if (right !== undefined) totals.right += number(right)
      totals.samples += batch.size
    }
    return totals
  }

  edits(): Edit[] {
    const best = this.#reason === 'early-stopping' || this.#reason === 'finished' ? this.#best : undefined
    const values = new Map(
      this.#graph.slots.map(({ id }, i) => [id, best ? best.tensors[i]! : owned(this.#current(i))]),
    )
    const edits: Edit[] = this.#parameters.map(({ value }) => ({
      kind: 'set-tensor',
      value,
      tensor: values.get(`parameter/${value}`)!,
    }))
    // Layers that are applied several times store the moments of all their inputs together.
    const layers = new Map<string, string[]>()
    for (const { key, node } of factsOf(this.#source).norms) {
      if (!values.has(`mean/${key}`)) continue
      const layer = node.inputs.slice(1, 5).join('\n')
      layers.set(layer, [...(layers.get(layer) ?? []), key])
    }
    for (const keys of layers.values()) {
      const means = keys.map((key) => values.get(`mean/${key}`)!.toNumbers())
      const variances = keys.map((key) => values.get(`variance/${key}`)!.toNumbers())
      const average = (lists: readonly Float64Array[]) =>
        lists[0]!.map((_, c) => lists.reduce((sum, list) => sum + list[c]!, 0) / lists.length)
      const mean = average(means)
      const spread = average(means.map((list) => list.map((m, c) => (m - mean[c]!) ** 2)))
      const variance = average(variances).map((v, c) => v + spread[c]!)
      for (const node of keys) edits.push({ kind: 'set-running-statistics', node, mean, variance })
    }
    return edits
  }

  model(): Model {
    return applyEdits(this.#source, this.edits())
  }

  summary(): TrainSummary {
    return {
      reason: this.#reason ?? 'interrupted',
      steps: this.#step,
      curve: this.#curve,
      bestEpoch: this.#best?.epoch,
      samplesPerSecond: this.#samples / ((this.#computeMs + this.#dataMs) / 1000),
      dataShare: this.#dataMs / (this.#computeMs + this.#dataMs),
    }
  }
}

/** A copy in memory of its own, which may be written. */
const owned = ({ dataType, dims, bytes }: Tensor) => new Tensor(dataType, dims, new Uint8Array(bytes))

/** The dataset without the arrays that hold answers, which are no inputs of the model. */
function withoutAnswers(dataset: Dataset, target: string | undefined): Dataset {
  const answer = target ?? 'target'
  if (dataset.fields.length < 2 || !dataset.fields.some(({ name }) => name === answer)) return dataset
  return { ...dataset, fields: dataset.fields.filter(({ name }) => name !== answer) }
}

/** Lines of a log that tell of steps up to `step`. */
async function linesUpTo(path: string, step: number, files: Files): Promise<Uint8Array[]> {
  if (!(await files.stat(path))) return []
  const text = new TextDecoder().decode(await files.read(path))
  const kept = text.split('\n').filter((line) => {
    try {
      const told: unknown = (JSON.parse(line) as { step?: unknown }).step
      return typeof told === 'number' && told <= step
    } catch {
      // The last line may have been cut off.
      return false
    }
  })
  return kept.length > 0 ? [new TextEncoder().encode(`${kept.join('\n')}\n`)] : []
}
