import { UserError } from '../ir/errors.ts'
import { randomBits } from '../ir/random.ts'
import { Tensor } from '../ir/tensor.ts'
import { type Batch, type BatchOptions, batchRanges, type Dataset } from './dataset.ts'

/** Class names of `shapes`, by label. */
export const shapeNames = [
  'disc',
  'ring',
  'square',
  'frame',
  'triangle',
  'cross',
  'star',
  'bars',
  'crescent',
  'checker',
] as const

export interface ShapesOptions {
  /** Number of pictures, 1 to 2^31. */
  readonly count: number
  /** Index of the first picture (default 0): the same seed with another range gives fresh pictures. */
  readonly start?: number
  /** Height and width in pixels, 8 to 1024 (default 32). */
  readonly size?: number
  /** 1 = grey, 3 = RGB (default). */
  readonly channels?: 1 | 3
  /** Whole number from 0 to 2^32 - 1 (default 1). */
  readonly seed?: number
  /** Standard deviation of the pixel noise as a share of the full range, 0 to 1 (default 0.08). */
  readonly noise?: number
  /** 0 = no strokes beside and over the shape, 1 = up to 12 (default 0.4). */
  readonly clutter?: number
  /** Largest side of the patch that hides a part, as a share of the shape's size, 0 to 1 (default 0.5). */
  readonly occlusion?: number
}

type Shapes = Required<ShapesOptions>

const defaults: Omit<Shapes, 'count'> = {
  start: 0,
  size: 32,
  channels: 3,
  seed: 1,
  noise: 0.08,
  clutter: 0.4,
  occlusion: 0.5,
}

const allowed: Record<keyof Shapes, { whole: boolean; min: number; max: number }> = {
  count: { whole: true, min: 1, max: 2 ** 31 },
  start: { whole: true, min: 0, max: 2 ** 31 },
  size: { whole: true, min: 8, max: 1024 },
  channels: { whole: true, min: 1, max: 3 },
  seed: { whole: true, min: 0, max: 2 ** 32 - 1 },
  noise: { whole: false, min: 0, max: 1 },
  clutter: { whole: false, min: 0, max: 1 },
  occlusion: { whole: false, min: 0, max: 1 },
}

/**
 * The embedded data set: a generator of small labelled pictures, about as hard as Fashion-MNIST for a small net.
 * One shape of ten a picture, at a random place, size, stretch and rotation, in random colours on a gradient,
 * with strokes around and over it, a part hidden, and pixel noise. Every ten pictures show each class once.
 *
 * Field `x`: uint8, channels x size x size. Labels 0 to 9 (`shapeNames`).
 *
 * A picture depends on (seed, index) and the options only, so any range can be made by itself; it is the same
 * to the bit on every machine because only +, -, *, / and Math.sqrt, which IEEE 754 fixes, touch it.
 * Throws a UserError for an option out of range.
 */
export function shapes(options: ShapesOptions): Dataset {
  const all: Shapes = { ...defaults, ...options }
  check(all)
  const { count, start, size, channels } = all
  const length = channels * size * size
  async function* batches(range: BatchOptions): AsyncGenerator<Batch> {
    for (const [from, to] of batchRanges(count, range)) {
      const pixels = new Uint8Array((to - from) * length)
      const labels = new Int32Array(to - from)
      for (let i = from; i < to; i++) {
        const picture = pixels.subarray((i - from) * length, (i - from + 1) * length)
        labels[i - from] = drawPicture(start + i, all, picture)
      }
      const x = new Tensor('uint8', [to - from, channels, size, size], pixels)
      yield { inputs: new Map([['x', x]]), labels, size: to - from }
    }
  }
  return {
    name: shapesSpec(options),
    size: count,
    fields: [{ name: 'x', dataType: 'uint8', sampleShape: [channels, size, size], layout: 'NCHW' }],
    labelled: true,
    mixed: true,
    classNames: shapeNames,
    batches,
  }
}

/** `shapes:count=2000,seed=7`: the text that `parseShapesSpec` reads back. */
export const shapesSpec = (options: ShapesOptions): string =>
  `shapes:${Object.entries(options)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${value}`)
    .join(',')}`

/** Reads `shapes:count=2000,size=32,channels=3,seed=7,noise=0.1`; what is left out takes its default. */
export function parseShapesSpec(spec: string): ShapesOptions {
  const options: Record<string, number> = { count: 1000 }
  const text = spec.replace(/^shapes:/, '')
  for (const pair of text === '' ? [] : text.split(',')) {
    const [name = '', value = ''] = pair.split('=').map((part) => part.trim())
    if (!Object.hasOwn(allowed, name))
      throw new UserError(
        `${spec}: unknown option '${name}', expected one of ${Object.keys(allowed).join(', ')}; ` +
          'try shapes:count=2000,seed=7',
      )
    options[name] = value === '' ? Number.NaN : Number(value)
  }
  const result = options as unknown as ShapesOptions
  check({ ...defaults, ...result })
  return result
}

function check(options: Shapes): void {
  for (const [name, { whole, min, max }] of Object.entries(allowed)) {
    const value = options[name as keyof Shapes]
    const fits = value >= min && value <= max && (!whole || Number.isInteger(value))
    if (!fits || (name === 'channels' && value === 2))
      throw new UserError(
        `shapes: ${name} must be ${
          name === 'channels' ? '1 or 3' : `a ${whole ? 'whole ' : ''}number from ${min} to ${max}`
        }, got ${value}; try leaving it out for its default`,
      )
  }
}

/**
 * Signed distance to each shape (negative inside), roughly in units of the shape's radius; y points down.
 * Distances need to be right only near the outline, where they become the shade of a pixel on the edge.
 */
const distance: Record<(typeof shapeNames)[number], (x: number, y: number) => number> = {
  disc: (x, y) => radius(x, y) - 0.85,
  ring: (x, y) => abs(radius(x, y) - 0.7) - 0.17,
  square: (x, y) => max(abs(x), abs(y)) - 0.75,
  frame: (x, y) => abs(max(abs(x), abs(y)) - 0.66) - 0.16,
  triangle: (x, y) => max(0.8660254037844386 * abs(x) - 0.5 * y, y) - 0.5,
  cross: (x, y) => min(max(abs(x) - 0.95, abs(y) - 0.28), max(abs(y) - 0.95, abs(x) - 0.28)),
  star: (x, y) => {
    // Five wedges folded onto one; the numbers are the cosine and sine of 36 and 54 degrees.
    let [u, v] = [abs(x), -y]
    let out = 0.8090169943749475 * u - 0.5877852522924731 * v
    if (out > 0) [u, v] = [u - 2 * out * 0.8090169943749475, v + 2 * out * 0.5877852522924731]
    out = -0.8090169943749475 * u - 0.5877852522924731 * v
    if (out > 0) [u, v] = [u + 2 * out * 0.8090169943749475, v + 2 * out * 0.5877852522924731]
    return 0.8090169943749475 * abs(u) + 0.38 * v - 0.38
  },
  bars: (x, y) => max(abs(abs(x) - 0.48) - 0.2, abs(y) - 0.85),
  crescent: (x, y) => max(radius(x, y) - 0.9, 0.75 - radius(x - 0.42, y)),
  checker: (x, y) => max(max(abs(x), abs(y)) - 0.85, (x * y > 0 ? -1 : 1) * min(abs(x), abs(y))),
}

const { abs, max, min } = Math
const radius = (x: number, y: number): number => Math.sqrt(x * x + y * y)
const mix = (from: number, to: number, share: number): number => from + (to - from) * share
const clamp = (value: number): number => max(0, min(1, value))

/** Fills `picture` (channels x size x size) with picture number `index`; returns its label. */
function drawPicture(index: number, options: Shapes, picture: Uint8Array): number {
  const { size, channels, noise, clutter, occlusion } = options
  const label = labelOf(options.seed, index)
  const draw = randomBits(options.seed, index, 1)
  const between = (low: number, high: number): number => mix(low, high, draw() / 2 ** 32)
  const sign = (): number => (draw() < 2 ** 31 ? -1 : 1)
  // Grey pictures draw the tints that they do not use, so that they show the same scene as RGB ones.
  const tint = (level: number, spread: number): number[] => {
    const offsets = [between(-spread, spread), between(-spread, spread), between(-spread, spread)]
    return offsets.map((offset) => (channels === 3 ? level + offset : level))
  }

  // The picture spans -1 to 1. A pixel's shade falls from 1 to 0 over one pixel at an outline.
  const pixel = 2 / size
  const canvas = new Float64Array(channels * size * size)
  const paint = (
    colour: readonly number[],
    [centreX, centreY, reach]: readonly [number, number, number],
    depth: (x: number, y: number) => number,
  ): void => {
    // Nothing further than `reach` from the centre is painted: pixels beyond it need no look.
    const [left, right] = pixelsWithin(centreX, reach, size)
    const [top, bottom] = pixelsWithin(centreY, reach, size)
    for (let row = top; row < bottom; row++)
      for (let column = left; column < right; column++) {
        const share = clamp(0.5 - depth((column + 0.5) * pixel - 1, (row + 0.5) * pixel - 1) / pixel)
        if (share === 0) continue
        for (let channel = 0; channel < channels; channel++) {
          const at = (channel * size + row) * size + column
          canvas[at] = mix(canvas[at]!, colour[channel]!, share)
        }
      }
  }
  const stroke = (colour: readonly number[]): void => {
    const [x, y, halfLength, halfWidth] = [
      between(-1, 1),
      between(-1, 1),
      between(0.15, 0.6),
      between(0.03, 0.09),
    ]
    const [cos, sin] = direction(draw)
    paint(colour, [x, y, halfLength + halfWidth], (px, py) =>
      max(
        abs((px - x) * cos + (py - y) * sin) - halfLength,
        abs((py - y) * cos - (px - x) * sin) - halfWidth,
      ),
    )
  }

  const level = between(0.25, 0.75)
  const contrast = between(0.25, 0.5) * (level > 0.6 ? -1 : level < 0.4 ? 1 : sign())
  const ground = tint(level, 0.12)
  const ink = tint(level + contrast, 0.12)
  const [slopeX, slopeY] = [between(-0.2, 0.2), between(-0.2, 0.2)]
  for (let channel = 0; channel < channels; channel++)
    for (let row = 0; row < size; row++)
      for (let column = 0; column < size; column++)
        canvas[(channel * size + row) * size + column] =
          ground[channel]! + slopeX * ((column + 0.5) * pixel - 1) + slopeY * ((row + 0.5) * pixel - 1)

  const strokes = Math.floor(between(0, 12 * clutter + 1))
  const over = Math.floor(strokes / 3)
  for (let i = over; i < strokes; i++) stroke(tint(between(0, 1), 0.2))

  const scale = between(0.5, 0.8)
  const [centreX, centreY] = [between(-1, 1) * (0.95 - scale), between(-1, 1) * (0.95 - scale)]
  const stretch = between(0.8, 1.25)
  const [cos, sin] = direction(draw)
  const depth = distance[shapeNames[label]!]
  // The farthest corner lies at 1.21 before it is stretched by up to 1.25.
  paint(ink, [centreX, centreY, 1.6 * scale], (px, py) => {
    const [x, y] = [(px - centreX) / scale, (py - centreY) / scale]
    return scale * depth((x * cos + y * sin) * stretch, (y * cos - x * sin) / stretch)
  })

  for (let i = 0; i < over; i++) stroke(tint(between(0, 1), 0.2))
  const [halfX, halfY] = [between(0, occlusion) * scale, between(0, occlusion) * scale]
  const [patchX, patchY] = [centreX + between(-1, 1) * scale, centreY + between(-1, 1) * scale]
  const patch = tint(between(0, 1), 0.2)
  paint(patch, [patchX, patchY, max(halfX, halfY)], (px, py) =>
    max(abs(px - patchX) - halfX, abs(py - patchY) - halfY),
  )

  for (let i = 0; i < picture.length; i++) {
    const bits = draw()
    // The sum of four random bytes is close to normal; its mean is 510, its standard deviation 147.8.
    const bytes = (bits & 255) + ((bits >>> 8) & 255) + ((bits >>> 16) & 255) + (bits >>> 24)
    const value = canvas[i]! + (noise * (bytes - 510)) / 147.8
    picture[i] = Math.floor(clamp(value) * 255 + 0.5)
  }
  return label
}

/** The range of pixels of a row that may lie within `reach` of `centre`, one more at both ends. */
function pixelsWithin(centre: number, reach: number, size: number): readonly [number, number] {
  const at = (place: number): number => Math.floor(((place + 1) * size) / 2)
  return [max(0, at(centre - reach) - 1), min(size, at(centre + reach) + 2)]
}

/** A direction as (cosine, sine), uniform: a random point in the unit disc, brought to length 1. */
function direction(draw: () => number): readonly [number, number] {
  for (;;) {
    const [x, y] = [draw() / 2 ** 31 - 1, draw() / 2 ** 31 - 1]
    const square = x * x + y * y
    if (square > 0.01 && square <= 1) return [x / Math.sqrt(square), y / Math.sqrt(square)]
  }
}

/** Every run of ten pictures is a random order of the ten classes. */
function labelOf(seed: number, index: number): number {
  const draw = randomBits(seed, Math.floor(index / 10), 0)
  const order = shapeNames.map((_, i) => i)
  for (let i = 9; i > 0; i--) {
    const j = draw() % (i + 1)
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  return order[index % 10]!
}
