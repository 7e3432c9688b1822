import { UserError } from '../ir/errors.ts'
import { type DataType, isFloat, type Tensor } from '../ir/tensor.ts'
import { type Arrangement, arrange, type WantedSize } from './arrange.ts'
import { type Convert, converter } from './convert.ts'
import type { Batch, Dataset, Field, Layout } from './dataset.ts'

/** An input of a model. */
export interface WantedInput {
  readonly name: string
  readonly dataType: DataType
  /**
   * Sizes of the axes, the batch first; names and undefined stand for any size. Undefined as a whole if the model
   * does not tell.
   */
  readonly shape: readonly WantedSize[] | undefined
}

export interface AdaptOptions {
  /** Samples a batch (default 64); a model that takes batches of one size only decides itself. */
  readonly batchSize?: number
  /**
   * Factor on every value, for all inputs of pictures or, as a record, by input. By default bytes that go to a
   * floating-point input as pictures are divided by 255, and nothing else is scaled.
   */
  readonly scale?: number | Readonly<Record<string, number>>
  /** Subtracted after scaling: one number, or one a channel. */
  readonly mean?: readonly number[]
  /** Divided by after subtracting: one number, or one a channel. */
  readonly std?: readonly number[]
  /** How the model takes pictures where its shape does not tell (default NCHW). */
  readonly layout?: Layout
  /** Repeat grey pictures for models that take three channels. */
  readonly repeatGrey?: boolean
}

/** A dataset in the form that a model takes; fields are named and shaped as its inputs. */
export interface AdaptedDataset extends Omit<Dataset, 'batches'> {
  readonly batchSize: number
  /** Whether the model takes batches of exactly `batchSize`. */
  readonly fixedBatch: boolean
  /** What was decided on the user's behalf, a sentence each, for the report. */
  readonly notes: readonly string[]
  /** Batches of `batchSize`; the last one may be smaller, or is left out where the model takes one size only. */
  batches(options?: { start?: number; limit?: number; signal?: AbortSignal }): AsyncIterable<Batch>
}

const defaultBatchSize = 64

/**
 * `dataset` in the form that a model with the inputs `wanted` takes: fields are matched by name, or by order if no
 * name fits; axes are moved between NCHW and NHWC, axes of size 1 added or removed, pictures flattened; numbers
 * scaled and converted to the input's type.
 *
 * Throws a UserError if that cannot be done, saying what the model wants and what the data holds; and, when a batch
 * is read, for values that are not finite or do not fit the input's type, with the first such sample.
 */
export function adapt(
  dataset: Dataset,
  wanted: readonly WantedInput[],
  options: AdaptOptions = {},
): AdaptedDataset {
  const notes: string[] = []
  const feeds = match(dataset, wanted, notes).map((pair) => plan(dataset, pair, options, notes))
  const fixedSize = fixedBatchSize(wanted)
  const batchSize = fixedSize ?? options.batchSize ?? defaultBatchSize
  if (!Number.isInteger(batchSize) || batchSize < 1)
    throw new UserError(`a batch of ${batchSize} samples is impossible; give a whole number of at least 1`)
  if (fixedSize !== undefined) noteFixedBatch(dataset, fixedSize, options, notes)
  const size = fixedSize ? dataset.size - (dataset.size % fixedSize) : dataset.size

  return {
    name: dataset.name,
    size,
    fields: feeds.map(({ field }) => field),
    labelled: dataset.labelled,
    ...(dataset.classNames && { classNames: dataset.classNames }),
    ...(dataset.available !== undefined && { available: dataset.available }),
    batchSize,
    fixedBatch: fixedSize !== undefined,
    notes,
    async *batches(range = {}) {
      let at = range.start ?? 0
      for await (const batch of dataset.batches({ ...range, batchSize })) {
        if (fixedSize !== undefined && batch.size < fixedSize) return
        const inputs = new Map<string, Tensor>()
        const start = at
        const numberOf = (i: number) => batch.numbers?.[i] ?? start + i
        for (const { field, from, convert } of feeds)
          inputs.set(field.name, convert(batch.inputs.get(from)!, numberOf))
        yield { ...batch, inputs }
        at += batch.size
      }
    },
  }
}

interface Pair {
  readonly field: Field
  readonly input: WantedInput
}

function match(dataset: Dataset, wanted: readonly WantedInput[], notes: string[]): Pair[] {
  const { fields } = dataset
  const byName = new Map(fields.map((field) => [field.name, field]))
  const rest = fields.filter(({ name }) => !wanted.some((input) => input.name === name))
  const missing = wanted.filter(({ name }) => !byName.has(name))
  // What no name fits goes together only if nothing is left to choose.
  if (missing.length > 0 && missing.length !== rest.length)
    throw new UserError(
      `the model wants inputs ${wanted.map(({ name }) => `'${name}'`).join(', ')}, ${dataset.name} holds ` +
        `${fields.map(({ name }) => `'${name}'`).join(', ')}; name the arrays as the inputs`,
    )
  if (missing.length === 0 && rest.length > 0)
    notes.push(
      `${dataset.name}: ${rest.map(({ name }) => `'${name}'`).join(', ')} is not an input of the model; unused.`,
    )
  return wanted.map((input) => {
    const field = byName.get(input.name) ?? rest[missing.indexOf(input)]!
    if (fields.length > 1 && field.name !== input.name)
      notes.push(`input '${input.name}' takes '${field.name}' of ${dataset.name}, by order.`)
    return { field, input }
  })
}

interface Feed {
  /** As the model sees it. */
  readonly field: Field
  /** The field of the dataset that it comes from. */
  readonly from: string
  /** A batch that begins at sample `start`, converted. */
  readonly convert: Convert
}

function plan(dataset: Dataset, { field, input }: Pair, options: AdaptOptions, notes: string[]): Feed {
  const where = `${dataset.name}:${field.name}`
  const arrangement = arrange(field, input.shape?.slice(1), options)
  if (!arrangement) throw wrongShape(dataset, where, field, input, options)
  for (const what of arrangement.notes) notes.push(`input '${input.name}': ${where} is ${what}.`)
  const scaling = scalingOf(dataset, field, input, arrangement, options)
  if (scaling.scale === 'byte')
    notes.push(
      `input '${input.name}': bytes of ${where} are divided by 255; give a scale of 1 to leave them as they are.`,
    )
  else if (scaling.scale === undefined && field.dataType === 'uint8' && isFloat(input.dataType))
    notes.push(
      `input '${input.name}': bytes of ${where} are no pictures and stay 0 to 255; give a scale to change that.`,
    )
  const convert = converter({
    where,
    input: input.name,
    from: field.dataType,
    to: input.dataType,
    ...arrangement,
    ...scaling,
  })
  return {
    field: { name: input.name, dataType: input.dataType, sampleShape: arrangement.shape },
    from: field.name,
    convert,
  }
}

function wrongShape(
  dataset: Dataset,
  where: string,
  field: Field,
  input: WantedInput,
  options: AdaptOptions,
): UserError {
  const text = (sizes: readonly WantedSize[]): string =>
    sizes.map((size, axis) => size ?? (axis === 0 ? 'N' : '?')).join(' x ')
  const repeatable =
    !options.repeatGrey && arrange(field, input.shape?.slice(1), { ...options, repeatGrey: true })
  const [, ...sizes] = input.shape ?? []
  const remedy = repeatable
    ? 'repeat grey pictures for the three channels if the model was trained so'
    : sizes.length !== field.sampleShape.length
      ? 'give samples with the axes that the model takes'
      : 'resize the data, or export the model for this size'
  return new UserError(
    `input '${input.name}' of the model wants ${text(input.shape ?? [])}, ` +
      `${where} holds ${text([dataset.size, ...field.sampleShape])}; ${remedy}`,
  )
}

interface Scaling {
  readonly scale: number | 'byte' | undefined
  readonly mean: readonly number[] | undefined
  readonly std: readonly number[] | undefined
}

/** Which scaling of `options` an input gets; it is for pictures, or for the only input. */
function scalingOf(
  dataset: Dataset,
  field: Field,
  input: WantedInput,
  { channels, shape }: Arrangement,
  options: AdaptOptions,
): Scaling {
  const isPicture = field.sampleShape.length >= 2 || shape.length >= 2
  const concerned = isPicture || dataset.fields.length === 1
  const scale =
    typeof options.scale === 'object'
      ? Object.hasOwn(options.scale, input.name)
        ? options.scale[input.name]
        : undefined
      : concerned
        ? options.scale
        : undefined
  const [mean, std] = concerned ? [options.mean, options.std] : [undefined, undefined]
  for (const [what, values] of [
    ['scale', scale === undefined ? undefined : [scale]],
    ['mean', mean],
    ['std', std],
  ] as const) {
    if (values === undefined) continue
    const bad = values.find((value) => !Number.isFinite(value) || (what !== 'mean' && value === 0))
    if (bad !== undefined || values.length === 0)
      throw new UserError(
        `${what} is ${bad ?? 'empty'}, expected finite numbers${what === 'mean' ? '' : ' other than 0'}; try leaving it out`,
      )
    if (values.length !== 1 && values.length !== channels)
      throw new UserError(
        `${what} has ${values.length} numbers, but ${dataset.name}:${field.name} has ${channels} ` +
          `channel${channels === 1 ? '' : 's'}; give one number, or one a channel`,
      )
    if (!isFloat(input.dataType))
      throw new UserError(
        `input '${input.name}' of the model takes ${input.dataType}, to which ${what} does not apply; leave it out`,
      )
  }
  const byDefault = scale === undefined && isPicture && field.dataType === 'uint8' && isFloat(input.dataType)
  return { scale: byDefault ? 'byte' : scale, mean, std }
}

function fixedBatchSize(wanted: readonly WantedInput[]): number | undefined {
  const sizes = new Map<number, string>()
  for (const { name, shape } of wanted) {
    const size = shape?.[0]
    if (typeof size === 'number' && size > 0) sizes.set(size, name)
  }
  const [first, second] = sizes
  if (first && second)
    throw new UserError(
      `the model's inputs '${first[1]}' and '${second[1]}' want batches of ${first[0]} and ${second[0]} samples, ` +
        'expected one size; export it with a batch axis of any size',
    )
  return first?.[0]
}

function noteFixedBatch(dataset: Dataset, fixedSize: number, options: AdaptOptions, notes: string[]): void {
  if (dataset.size < fixedSize)
    throw new UserError(
      `the model takes exactly ${fixedSize} samples at a time, ${dataset.name} holds ${dataset.size}; ` +
        'give more samples, or export the model with a batch axis of any size',
    )
  if (options.batchSize !== undefined && options.batchSize !== fixedSize)
    notes.push(
      `the model takes exactly ${fixedSize} samples at a time; the batch size ${options.batchSize} is not used.`,
    )
  const left = dataset.size % fixedSize
  if (left > 0)
    notes.push(
      `the model takes exactly ${fixedSize} samples at a time; the last ${left} of ${dataset.size} are left out.`,
    )
}
