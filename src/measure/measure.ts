import { factsOf } from '../analysis/index.ts'
import type { AdaptedDataset } from '../data/adapt.ts'
import type { Batch } from '../data/dataset.ts'
import { checkLabels } from '../data/labels.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { isFloat, type Tensor } from '../ir/tensor.ts'
import type { Files } from '../platform/files.ts'
import type { Agreement, Interval, Layer, Measurement } from '../result/result.ts'
import { type Mode, toMode } from '../rewrite/modes/mode.ts'
import { createSession, type Session } from '../runtime/session.ts'
import { createProbedSession, fewestBatches, type Place } from './blocked-probe.ts'
import { jackknifeHalfWidth } from './interval.ts'
import { jackknifeGroups, meanOf, momentsOfSums, quantilesOf, Sums } from './moments.ts'
import { AgreementBoard, ScoreBoard, tableSizeOf } from './outputs.ts'
import type { Means } from './position-means.ts'
import { type Probed, type ProbedNorm, probe, type Stretch } from './probe.ts'

export interface MeasureOptions {
  /** At most so many samples (default: all). */
  readonly samples?: number | undefined
  /** Samples on which train and sample mode are run beside eval mode (default 1,000; 0 for none). */
  readonly modeSamples?: number | undefined
  /** The same samples in batches as large as in training, for the comparison of modes (default: `data`). */
  readonly modeData?: AdaptedDataset | undefined
  /** Seed of the noise in train and sample mode (default 0). */
  readonly seed?: number | undefined
  readonly threads?: number | undefined
  /** Where files may be written while it runs: long passes are faster then. */
  readonly files?: Files | undefined
  /** When it aborts, what has been measured so far is returned, marked as partial. */
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((samples: number, of: number) => void) | undefined
}

/** Mean and biased variance of the input of a norm, C numbers each. */
export interface NormMoments {
  readonly mean: Float64Array
  readonly variance: Float64Array
}

export interface Measured {
  readonly measurement: Measurement
  /** By key of the norm. */
  readonly moments: ReadonlyMap<string, NormMoments>
}

export const defaultModeSamples = 1000

/** Half width, as a share of the ratio, to which a layer's shift ratio counts as known. */
const knownTo = 0.05

/**
 * Streams the data once through the model in eval mode and tells, for each BatchNormalization, the moments of its
 * input against those it stored; and on the first `modeSamples` samples how train and sample mode differ from it.
 */
export async function measure(
  model: Model,
  data: AdaptedDataset,
  options: MeasureOptions = {},
): Promise<Measured> {
  const { samples = data.size, threads, signal, onProgress } = options
  const total = Math.min(samples, data.size)
  const { batchSize } = data
  const probed = probeInMode(model, 'eval', data)
  const session = await createProbedSession(probed, {
    batchSize,
    files: total >= fewestBatches * batchSize ? options.files : undefined,
    threads,
    name: 'the model in eval mode',
  })
  try {
    const gathering = new Gathering(probed, session.places)
    const board = new ScoreBoard()
    let done = 0
    for await (const { batch, fetched } of runBatches(session, data.batches({ limit: total }))) {
      if (signal?.aborted) break
      gathering.add(fetched, batch.size)
      const output = scoredOutput(probed.model, fetched)
      const start = done
      if (batch.labels && output) {
        const table = tableSizeOf(output)
        if (table?.rows === batch.size)
          checkLabels(batch.labels, table.classes, {
            name: data.name,
            numberOf: (i) => batch.numbers?.[i] ?? start + i,
          })
      }
      if (output) board.add(output, batch.size, batch.labels)
      done += batch.size
      onProgress?.(done, total)
    }
    if (done === 0)
      throw new UserError(
        `${data.name}: no samples were measured${signal?.aborted ? ', it was stopped before' : '; give at least 2'}`,
      )
    const layers: Layer[] = []
    const unmeasured = [...probed.unmeasured]
    for (const [index, norm] of probed.norms.entries()) {
      const layer = layerOf(norm, index, gathering, done, probed.positions)
      if (typeof layer === 'string') unmeasured.push({ label: norm.norm.label, reason: layer })
      else layers.push(layer)
    }
    const foreign = shiftedWithoutNoise(model, layers)
    const compared = await compareModes(model, options.modeData ?? data, total, options)
    return {
      moments: finiteMoments(probed.norms, gathering),
      measurement: {
        data: {
          name: data.name,
          samples: done,
          available: data.available ?? data.size,
          batchSize: data.batchSize,
          labelled: data.labelled,
          notes: [...data.notes],
        },
        partial: done < total,
        layers,
        unmeasured,
        modes: { eval: board.score(), ...compared.modes },
        notes: [...notesOn(layers, done), ...(foreign ? [unlikeTraining(foreign)] : []), ...compared.notes],
      },
    }
  } finally {
    await session.release()
  }
}

/** The model in train, eval and sample mode on the same first samples: scores, and how far outputs agree. */
async function compareModes(
  model: Model,
  data: AdaptedDataset,
  available: number,
  { modeSamples = defaultModeSamples, seed = 0, threads, signal }: MeasureOptions,
): Promise<{ modes: Omit<Measurement['modes'], 'eval'>; notes: string[] }> {
  const total = Math.min(modeSamples, available, data.size)
  if (total === 0 || signal?.aborted) return { modes: { agreements: [] }, notes: [] }
  const unknown = factsOf(model).noises.find(({ parameter }) => parameter.value === undefined)
  if (unknown)
    return {
      modes: { agreements: [] },
      notes: [
        `train and sample mode were not run: the ${unknown.parameter.name} of '${unknown.label}' is not stored in the file`,
      ],
    }
  const sessions = new Map<Mode, Session>()
  try {
    for (const mode of ['train', 'eval', 'sample'] as const) {
      const ready = withInputShapes(toMode(model, mode, { seed }), data)
      sessions.set(mode, await createSession(ready, { threads, name: `the model in ${mode} mode` }))
    }
    const boards = new Map<Mode, ScoreBoard>([
      ['train', new ScoreBoard()],
      ['sample', new ScoreBoard()],
    ])
    const pairs = [
      ['train', 'eval', new AgreementBoard()],
      ['sample', 'eval', new AgreementBoard()],
      ['train', 'sample', new AgreementBoard()],
    ] as const
    let done = 0
    for await (const batch of data.batches({ limit: total })) {
      if (signal?.aborted) break
      const outputs = new Map<Mode, Tensor>()
      for (const [mode, session] of sessions) {
        const output = scoredOutput(model, await session.run(feedsFor(session, batch.inputs)))
        if (!output) continue
        outputs.set(mode, output)
        boards.get(mode)?.add(output, batch.size, batch.labels)
      }
      for (const [a, b, board] of pairs) {
        const [x, y] = [outputs.get(a), outputs.get(b)]
        if (x && y) board.add(x, y, batch.size)
      }
      done += batch.size
    }
    if (done === 0) return { modes: { agreements: [] }, notes: [] }
    const batchSize = Math.min(data.batchSize, done)
    return {
      modes: {
        train: boards.get('train')!.score(),
        sample: boards.get('sample')!.score(),
        agreements: pairs.map(([a, b, board]) => board.agreement(a, b)),
      },
      notes:
        batchSize < smallBatch
          ? [
              `train mode was run with batches of ${batchSize}: its batch statistics are noisy, so its figures are too; use batches of 32 or more`,
            ]
          : [],
    }
  } finally {
    for (const session of sessions.values()) await session.release()
  }
}

/** Batches below this have statistics so noisy that train mode says little. */
const smallBatch = 16

export interface Pass {
  readonly moments: ReadonlyMap<string, NormMoments>
  readonly samples: number
}

/** One pass over the data for the moments alone, with running statistics (`eval`) or those of each batch (`calibrate`). */
export async function measureMoments(
  model: Model,
  data: AdaptedDataset,
  mode: Mode,
  { samples = data.size, threads, signal, onProgress }: MeasureOptions = {},
): Promise<Pass> {
  const total = Math.min(samples, data.size)
  const probed = probeInMode(model, mode, data)
  const session = await createSession(probed.model, {
    threads,
    name: `the model in ${mode} mode`,
  })
  try {
    const gathering = new Gathering(probed)
    let done = 0
    for await (const { batch, fetched } of runBatches(session, data.batches({ limit: total }))) {
      if (signal?.aborted) throw new UserError(`${data.name}: stopped before all samples were measured`)
      gathering.add(fetched, batch.size)
      done += batch.size
      onProgress?.(done, total)
    }
    return {
      samples: done,
      moments: finiteMoments(probed.norms, gathering),
    }
  } finally {
    await session.release()
  }
}

/** Runs batch after batch; the next is not begun while the caller works: ONNX Runtime's threads take every core. */
export async function* runBatches(
  session: Session,
  batches: AsyncIterable<Batch> | Iterable<Batch>,
): AsyncGenerator<{ batch: Batch; fetched: ReadonlyMap<string, Tensor> }> {
  for await (const batch of batches)
    yield { batch, fetched: await session.run(feedsFor(session, batch.inputs)) }
}

/** The probed model of a mode, its shapes completed by those of the data. */
export function probeInMode(model: Model, mode: Mode, data: Pick<AdaptedDataset, 'fields'>) {
  const ready = withInputShapes(toMode(model, mode), data)
  // The norms as the model stores them: in calibrate mode their statistics are computed inside the graph.
  const { norms, nested } = factsOf(model)
  const { types } = factsOf(ready)
  const positions = (value: string): number | undefined => {
    const shape = types.get(value)?.shape?.slice(2)
    return shape?.every((d) => typeof d === 'number')
      ? (shape as number[]).reduce((n, d) => n * d, 1)
      : undefined
  }
  return { ...probe(ready, { norms, nested, types }), positions }
}

/** The model with the sizes that the data has written into its inputs, so that more shapes can be told. */
function withInputShapes(model: Model, data: Pick<AdaptedDataset, 'fields'>): Model {
  const shapes = new Map(data.fields.map(({ name, sampleShape }) => [name, sampleShape]))
  const inputs = model.graph.inputs.map((input) => {
    const sample = shapes.get(input.name)
    const [batch] = input.type?.shape ?? []
    return sample && input.type
      ? { name: input.name, type: { ...input.type, shape: [batch ?? 'N', ...sample] } }
      : input
  })
  return { ...model, graph: { ...model.graph, inputs } }
}

function feedsFor(session: Session, inputs: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  return new Map(
    session.inputs.flatMap((name) => {
      const tensor = inputs.get(name)
      return tensor ? [[name, tensor] as const] : []
    }),
  )
}

/** The output that scores are taken of: the first floating-point one with a row for each sample. */
function scoredOutput(model: Model, fetched: ReadonlyMap<string, Tensor>): Tensor | undefined {
  const outputs = model.graph.outputs
    .map(({ name }) => fetched.get(name))
    .filter((tensor) => tensor !== undefined)
  const floats = outputs.filter((tensor) => isFloat(tensor.dataType) && !tensor.dims.includes(0))
  return floats.find(({ dims }) => dims.length >= 2) ?? floats[0]
}

/** What batches may hold that wait to be summed up. */
const mostWaitingBytes = 2 ** 24

/** The moments of all probes of a run. */
export class Gathering {
  readonly #sums: ReadonlyMap<Stretch, Sums>
  readonly #means: ReadonlyMap<string, Stretch | Means>
  readonly #places: ReadonlyMap<Stretch, Place>
  /** Sums of means by value, of all samples or without one group, until more samples come. */
  readonly #known = new Map<number | undefined, Map<string, Float64Array>>()
  readonly #outputs: ReadonlySet<string>
  readonly #waiting: { values: ReadonlyMap<string, Float32Array>; size: number; start: number }[] = []
  #waitingBytes = 0
  #samples = 0

  constructor(
    { stretches, means }: Pick<Probed, 'stretches' | 'means'>,
    places: ReadonlyMap<Stretch, Place> = new Map(),
  ) {
    this.#places = places
    this.#sums = new Map(stretches.map((stretch) => [stretch, new Sums(stretch.channels)]))
    this.#means = means
    this.#outputs = new Set(
      [...stretches, ...places.values()].map((at) => ('block' in at ? at.block : at).output),
    )
  }

  add(fetched: ReadonlyMap<string, Tensor>, size: number): void {
    const values = new Map<string, Float32Array>()
    for (const [name, { bytes }] of fetched) {
      if (!this.#outputs.has(name)) continue
      values.set(name, new Float32Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / 4))
      this.#waitingBytes += bytes.byteLength
    }
    this.#waiting.push({ values, size, start: this.#samples })
    this.#samples += size
    if (this.#waitingBytes > mostWaitingBytes) this.#sumUp()
  }

  /** Stretch by stretch over all batches that wait: their sums then stay in the cache, which all together do not fit. */
  #sumUp(): void {
    if (this.#waiting.length === 0) return
    for (const [stretch, sums] of this.#sums) {
      const { block, offset } = stretch
      const plain: Place = { output: block.output, samplesPerRow: 1, factor: 1 }
      const placed = this.#places.get(stretch) ?? plain
      for (const { values, size, start } of this.#waiting) {
        const { output, factor, samplesPerRow } = values.has(placed.output) ? placed : plain
        const numbers = values.get(output)!
        const rows = numbers.length / block.width
        for (let row = 0; row < rows; row++) {
          // Where a layer sees several rows a sample (time steps), those of one sample stay in one group.
          const sample = start + (samplesPerRow > 1 ? row : Math.floor((row * size) / rows))
          sums.add(sample % jackknifeGroups, numbers, row * block.width + offset, {
            factor,
            samples: samplesPerRow,
          })
        }
      }
    }
    this.#waiting.length = 0
    this.#waitingBytes = 0
    this.#known.clear()
  }

  #meansOf(means: Means, samples: number, without: number | undefined): Float64Array {
    const again = (part: Means) => this.#meansOf(part, samples, without)
    if ('mapOf' in means) return means.map(again(means.mapOf), samples)
    if ('sumOf' in means)
      return means.sumOf.map(again).reduce((sums, more) => sums.map((sum, c) => sum + more[c]!))
    const known = this.#known.get(without) ?? new Map<string, Float64Array>()
    this.#known.set(without, known)
    const source = this.#means.get(means.value)!
    const sums =
      known.get(means.value) ??
      ('block' in source ? this.#sums.get(source)!.total(without).sums : again(source))
    known.set(means.value, sums)
    return sums
  }

  momentsOf({ norm, parts, folded }: ProbedNorm, without?: number): NormMoments {
    this.#sumUp()
    const pieces = parts.map(({ meansOf, squares, channels, center }) => {
      const { sums, samples } = this.#sums.get(squares)!.total(without)
      const means = this.#meansOf({ value: meansOf, channels }, samples, without)
      return momentsOfSums(means, sums, { samples, center })
    })
    const join = (key: 'mean' | 'variance') =>
      pieces.length === 1 ? pieces[0]![key] : Float64Array.from(pieces.flatMap((piece) => [...piece[key]]))
    const [mean, variance] = [join('mean'), join('variance')]
    if (!folded) return { mean, variance }
    // What was seen is y = scale * (x - stored mean) / deviation + shift.
    const slope = norm.variance!.map((v, c) => Math.sqrt(v + norm.epsilon) / norm.scale![c]!)
    return {
      mean: mean.map((m, c) => (m - norm.shift![c]!) * slope[c]! + norm.mean![c]!),
      variance: variance.map((v, c) => v * slope[c]! ** 2),
    }
  }

  groupsOf({ parts }: ProbedNorm): number[] {
    this.#sumUp()
    return this.#sums.get(parts[0]!.squares)!.groups
  }
}

/** Moments by key of the norm; what is not finite is of no use to anyone. */
function finiteMoments(norms: readonly ProbedNorm[], gathering: Gathering): Map<string, NormMoments> {
  const all = norms.map((norm) => [norm.norm.key, gathering.momentsOf(norm)] as const)
  return new Map(all.filter(([, { variance }]) => variance.every(Number.isFinite)))
}

/** The figures of one layer, or why there are none. */
function layerOf(
  probed: ProbedNorm,
  index: number,
  gathering: Gathering,
  samples: number,
  positions: (value: string) => number | undefined,
): Layer | string {
  const { norm, parts } = probed
  const storedMean = norm.mean!
  const storedVariance = norm.variance!
  const { mean, variance } = gathering.momentsOf(probed)
  const stored = meanOf(storedVariance)
  if (!(stored > 0) || !Number.isFinite(stored) || !storedMean.every(Number.isFinite))
    return `the statistics that it stores are no variances (their mean is ${stored})`
  if (!variance.every(Number.isFinite)) return 'what it sees on this data is not finite'
  if (meanOf(variance) === 0) return 'what it sees on this data is constant'
  const logRatio = (real: Float64Array) => Math.log(meanOf(real) / stored)
  const groups = gathering.groupsOf(probed)
  const without =
    groups.length > 1 ? groups.map((group) => logRatio(gathering.momentsOf(probed, group).variance)) : []
  const half = jackknifeHalfWidth(without)
  const shift = logRatio(variance)
  const size = Math.abs(shift)
  const enough =
    half <= knownTo || size - half > Math.log(1 + knownTo) || size + half < Math.log(1 + 2 * knownTo)
  const interval: Interval = [
    Math.exp(Math.max(0, size - half)),
    Math.exp(Math.min(size + half, Math.log(Number.MAX_VALUE))),
  ]
  return {
    label: norm.label,
    key: norm.key,
    index,
    channels: mean.length,
    epsilon: norm.epsilon,
    samples,
    count: samples * (positions(parts[0]!.value) ?? 1),
    storedMean: [...storedMean],
    storedVariance: [...storedVariance],
    realMean: [...mean],
    realVariance: [...variance],
    shiftRatio: Math.exp(size),
    shiftRatioInterval: interval,
    realOverStored: Math.exp(shift),
    channelRatio: quantilesOf(variance.map((v, c) => v / storedVariance[c]!).filter(Number.isFinite)),
    meanShift: quantilesOf(
      mean.map((m, c) => (m - storedMean[c]!) / Math.sqrt(storedVariance[c]! + norm.epsilon)),
    ),
    dCos2: null,
    weights: null,
    enoughSamples: enough,
    samplesNeeded: enough ? null : Number.isFinite(half) ? Math.ceil(samples * (half / knownTo) ** 2) : null,
  }
}

/** Shift ratio of a layer that no noise reaches from which on the data, and not the model, is the likely cause. */
const unlikeData = 3

/** The layer that shifts most of those that no noise reaches and that were updated in training. */
export function shiftedWithoutNoise(model: Model, layers: readonly Layer[]): Layer | undefined {
  const { norms, paths } = factsOf(model)
  const reached = new Set(paths.map(({ norm }) => norm.key))
  const updated = norms.filter(
    ({ key, mean, variance }) =>
      !reached.has(key) && (mean?.some((m) => m !== 0) || variance?.some((v) => v !== 1)),
  )
  const clean = new Set(updated.map(({ key }) => key))
  return layers
    .filter(({ key, shiftRatio }) => clean.has(key) && shiftRatio > unlikeData)
    .toSorted((a, b) => b.shiftRatio - a.shiftRatio)[0]
}

/** In words, that such a layer shifts. */
export const unlikeTraining = ({ label, shiftRatio }: Layer): string =>
  `no noise reaches '${label}', and yet it shifts by ${shiftRatio.toPrecision(3)}: the data is not like the training data, most often because it is scaled otherwise (--scale, --mean, --std)`

function notesOn(layers: readonly Layer[], samples: number): string[] {
  const notes: string[] = []
  const unsure = layers.filter(({ enoughSamples }) => !enoughSamples)
  if (unsure.length > 0) {
    const needed = Math.max(...unsure.map(({ samplesNeeded }) => samplesNeeded ?? 0))
    const advice = needed > 0 ? `; about ${needed} would settle it` : ''
    notes.push(
      `${samples} samples are too few to tell for ${unsure.length} of ${layers.length} layers${advice}`,
    )
  }
  return notes
}

export interface Compared {
  readonly name: string
  readonly model: Model
  readonly data: AdaptedDataset
}

/** How far the eval-mode outputs of two models agree on the same samples. */
export async function agreementOf(
  a: Compared,
  b: Compared,
  options: MeasureOptions = {},
): Promise<Agreement> {
  const { samples = a.data.size, threads, signal, onProgress } = options
  const total = Math.min(samples, a.data.size, b.data.size)
  const open = ({ model, data, name }: Compared) =>
    createSession(withInputShapes(toMode(model, 'eval'), data), { threads, name })
  const first = await open(a)
  const second = await open(b)
  const others = b.data.batches({ limit: total })[Symbol.asyncIterator]()
  try {
    const board = new AgreementBoard()
    let done = 0
    for await (const batch of a.data.batches({ limit: total })) {
      const other = await others.next()
      if (signal?.aborted || other.done) break
      const x = scoredOutput(a.model, await first.run(feedsFor(first, batch.inputs)))
      const y = scoredOutput(b.model, await second.run(feedsFor(second, other.value.inputs)))
      if (x?.dims.join() !== y?.dims.join())
        throw new UserError(
          `the models cannot be compared: ${a.name} gives outputs of shape [${x?.dims.join(', ')}], ${b.name} of [${y?.dims.join(', ')}]`,
        )
      if (x && y) board.add(x, y, batch.size)
      done += batch.size
      onProgress?.(done, total)
    }
    return board.agreement(a.name, b.name)
  } finally {
    // It may wait at its last batch, with the file open.
    await others.return?.()
    await first.release()
    await second.release()
  }
}
