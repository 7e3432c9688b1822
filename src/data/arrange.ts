import { elementCount } from '../ir/tensor.ts'
import type { Field, Layout } from './dataset.ts'

/** Size of an axis that a model wants: a number of at least 1, or anything else for any size. */
export type WantedSize = number | string | undefined

/** How the elements of a sample are put in another order and shape. */
export interface Arrangement {
  /** Shape of a sample as wanted. */
  readonly shape: readonly number[]
  /** Which element of the given sample stands at each place; undefined if none moves. */
  readonly order: Int32Array | undefined
  /** Number of channels: those of the given sample, or three where grey is repeated. */
  readonly channels: number
  /** The channel of each place of the wanted sample; undefined if there is only one. */
  readonly channelOf: Int32Array | undefined
  /** What was done, to follow "the data is ...". */
  readonly notes: readonly string[]
}

interface Candidate {
  readonly shape: readonly number[]
  /** Channels first to last, or back; applied before reshaping. */
  readonly move?: 'toLast' | 'toFirst'
  readonly repeat?: 3
  readonly note?: string
}

/**
 * How samples of `field` become samples of the wanted sizes (undefined: any); undefined if they cannot. Of several
 * ways the one that changes least is taken: as they are; axes of size 1 added or removed; channels moved; grey
 * repeated, if allowed; flattened; a flat row cut into axes.
 */
export function arrange(
  field: Field,
  wanted: readonly WantedSize[] | undefined,
  { layout = 'NCHW', repeatGrey = false }: { layout?: Layout; repeatGrey?: boolean } = {},
): Arrangement | undefined {
  const given = field.sampleShape
  const own = layoutOf(field)
  const [channels, inner] =
    own === 'NCHW' ? [given[0]!, elementCount(given.slice(1))] : own === 'NHWC' ? [given.at(-1)!, 1] : [1, 1]
  for (const candidate of candidates(given, own, wanted, layout, repeatGrey)) {
    if (wanted && !fits(candidate.shape, wanted)) continue
    const { shape, repeat, move, note } = candidate
    const order = orderOf(given, candidate)
    const size = elementCount(shape)
    const channelAt = (place: number): number => {
      if (repeat) return move === 'toLast' ? place % repeat : Math.floor((place * repeat) / size)
      return Math.floor((order ? order[place]! : place) / inner) % channels
    }
    return {
      shape,
      order,
      channels: repeat ?? channels,
      channelOf:
        repeat || channels > 1
          ? Int32Array.from({ length: size }, (_, place) => channelAt(place))
          : undefined,
      notes: note ? [note] : [],
    }
  }
  return undefined
}

/** The layout of pictures of three axes: as the format says, else told by where 1, 3 or 4 channels can be. */
export function layoutOf({ sampleShape, layout }: Pick<Field, 'sampleShape' | 'layout'>): Layout | undefined {
  if (sampleShape.length !== 3) return undefined
  if (layout) return layout
  const isChannels = (size: number | undefined): boolean => size === 1 || size === 3 || size === 4
  if (isChannels(sampleShape[0])) return 'NCHW'
  return isChannels(sampleShape[2]) ? 'NHWC' : 'NCHW'
}

const isFixed = (size: WantedSize): size is number => typeof size === 'number' && size > 0

const fits = (shape: readonly number[], wanted: readonly WantedSize[]): boolean =>
  shape.length === wanted.length && shape.every((size, i) => !isFixed(wanted[i]) || wanted[i] === size)

function* candidates(
  given: readonly number[],
  own: Layout | undefined,
  wanted: readonly WantedSize[] | undefined,
  layout: Layout,
  repeatGrey: boolean,
): Generator<Candidate> {
  const moved = own && movedChannels(given, own)
  // Where neither way is told apart by the sizes, the wish decides.
  const bothFit = moved && own !== layout && (!wanted || (fits(given, wanted) && fits(moved.shape, wanted)))
  const isOpen = !wanted?.some((size, i) => isFixed(size) && (i === 0 || i === given.length - 1))
  if (bothFit && isOpen) yield moved
  yield { shape: given }
  if (given.length === 2) {
    const [first, last] = [{ shape: [1, ...given] }, { shape: [...given, 1] }]
    yield* layout === 'NCHW' ? [first, last] : [last, first]
  }
  if (moved) yield moved
  if (wanted && sameWithoutOnes(given, wanted)) yield { shape: withOnesOf(given, wanted) }
  if (repeatGrey) yield* repeated(given, own, layout)
  if (wanted?.length === 1)
    yield {
      shape: [elementCount(given)],
      ...(given.length > 1 && { note: `flattened to ${elementCount(given)} values` }),
    }
  if (wanted && given.length === 1 && wanted.every(isFixed) && elementCount(wanted as number[]) === given[0])
    yield { shape: wanted as number[], note: `cut into ${wanted.join(' x ')}` }
}

function movedChannels(given: readonly number[], own: Layout): Candidate & { move: 'toLast' | 'toFirst' } {
  const [a, b, c] = given as [number, number, number]
  return own === 'NCHW'
    ? { shape: [b, c, a], move: 'toLast', note: 'turned from NCHW to NHWC' }
    : { shape: [c, a, b], move: 'toFirst', note: 'turned from NHWC to NCHW' }
}

function* repeated(given: readonly number[], own: Layout | undefined, layout: Layout): Generator<Candidate> {
  const plane = own === 'NCHW' ? given.slice(1) : own === 'NHWC' ? given.slice(0, 2) : given
  if (plane.length !== 2 || elementCount(plane) !== elementCount(given)) return
  const note = 'repeated from grey to three channels'
  const first: Candidate = { shape: [3, ...plane], repeat: 3, note }
  const last: Candidate = { shape: [...plane, 3], repeat: 3, move: 'toLast', note }
  yield* layout === 'NCHW' ? [first, last] : [last, first]
}

/** Whether the sizes agree in order once axes of size 1 are taken out of both. */
function sameWithoutOnes(given: readonly number[], wanted: readonly WantedSize[]): boolean {
  const left = given.filter((size) => size !== 1)
  const right = wanted.filter((size) => size !== 1)
  return fits(left, right)
}

function withOnesOf(given: readonly number[], wanted: readonly WantedSize[]): number[] {
  const left = given.filter((size) => size !== 1)
  return wanted.map((size) => (size === 1 ? 1 : left.shift()!))
}

function orderOf(given: readonly number[], { move, repeat, shape }: Candidate): Int32Array | undefined {
  const size = elementCount(given)
  if (repeat) {
    const last = move === 'toLast'
    return Int32Array.from({ length: elementCount(shape) }, (_, i) =>
      last ? Math.floor(i / repeat) : i % size,
    )
  }
  if (!move) return undefined
  const [a, b, c] = given as [number, number, number]
  // Moving one axis over the other two transposes a matrix: channels x pixels or pixels x channels.
  const [rows, columns] = move === 'toLast' ? [a, b * c] : [a * b, c]
  if (rows === 1 || columns === 1) return undefined
  return Int32Array.from({ length: size }, (_, i) => (i % rows) * columns + Math.floor(i / rows))
}
