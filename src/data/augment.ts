import { UserError } from '../ir/errors.ts'
import { randomBits } from '../ir/random.ts'
import { dataTypes, elementCount } from '../ir/tensor.ts'
import { layoutOf } from './arrange.ts'
import type { Dataset, Field } from './dataset.ts'

export interface AugmentOptions {
  /** Pad pictures by so many pixels of 0 on every side and take a part of the old size at random (default 0). */
  readonly crop?: number
  /** Mirror left and right with probability 1/2 (default false). */
  readonly flip?: boolean
}

/** Writes sample number `sample` of a field, changed at random, to `to`; false if the field is left as it is. */
export type Augment = (field: Field, from: Uint8Array, sample: number, to: Uint8Array) => boolean

/** Reads `crop=4,flip`. */
export function parseAugment(text: string): AugmentOptions {
  const options: { crop?: number; flip?: boolean } = {}
  for (const part of text.split(',').map((piece) => piece.trim())) {
    const [, padding] = /^crop=(\d+)$/.exec(part) ?? []
    if (padding !== undefined) options.crop = Number(padding)
    else if (part === 'flip') options.flip = true
    else
      throw new UserError(`'${part}' is no augmentation; there are crop=PIXELS and flip, with commas between`)
  }
  return options
}

/**
 * Random crops and mirror images of the pictures of a dataset, before they are scaled. What becomes of a sample depends
 * on the seed, the epoch and its number only. Throws a UserError if the dataset has no pictures.
 */
export function augmenter(
  { fields, name }: Pick<Dataset, 'fields' | 'name'>,
  { crop = 0, flip = false }: AugmentOptions,
  { seed, epoch }: { readonly seed: number; readonly epoch: number },
): Augment {
  const layouts = new Map(fields.map((field) => [field, pictureOf(field)]))
  if (![...layouts.values()].some(Boolean))
    throw new UserError(`${name} holds no pictures, so there is nothing to crop or flip; leave --augment out`)
  for (const layout of layouts.values())
    if (layout && crop >= Math.min(layout.height, layout.width))
      throw new UserError(`a crop of ${crop} pixels is as large as the pictures; give less`)
  return (field, from, sample, to) => {
    const picture = layouts.get(field)
    if (!picture) return false
    const draw = randomBits(seed, sample, epoch)
    const shift = () => (crop > 0 ? (draw() % (2 * crop + 1)) - crop : 0)
    const [down, right] = [shift(), shift()]
    copyMoved(from, to, picture, { down, right, mirrored: flip && draw() % 2 === 1 })
    return true
  }
}

interface Picture {
  /** Planes one after the other, and bytes of a pixel in a plane. */
  readonly planes: number
  readonly pixelBytes: number
  readonly height: number
  readonly width: number
}

function pictureOf(field: Field): Picture | undefined {
  const { sampleShape: shape, dataType } = field
  const bytes = dataTypes[dataType].bits / 8
  if (shape.length === 2) return { planes: 1, pixelBytes: bytes, height: shape[0]!, width: shape[1]! }
  const layout = layoutOf(field)
  if (!layout || elementCount(shape) === 0) return undefined
  const [a, b, c] = shape as [number, number, number]
  return layout === 'NCHW'
    ? { planes: a, pixelBytes: bytes, height: b, width: c }
    : { planes: 1, pixelBytes: bytes * c, height: a, width: b }
}

/** `to` is all zeros at first. */
function copyMoved(
  from: Uint8Array,
  to: Uint8Array,
  { planes, pixelBytes, height, width }: Picture,
  { down, right, mirrored }: { down: number; right: number; mirrored: boolean },
): void {
  const rowBytes = width * pixelBytes
  // Of each row, the part that stays in sight.
  const [first, last] = [Math.max(0, right), Math.min(width, width + right)]
  for (let plane = 0; plane < planes; plane++)
    for (let y = Math.max(0, down); y < Math.min(height, height + down); y++) {
      const source = (plane * height + y - down) * rowBytes
      const target = (plane * height + y) * rowBytes
      if (!mirrored) {
        const start = source + (first - right) * pixelBytes
        to.set(from.subarray(start, start + (last - first) * pixelBytes), target + first * pixelBytes)
        continue
      }
      for (let x = first; x < last; x++) {
        const start = source + (x - right) * pixelBytes
        const place = target + (width - 1 - x) * pixelBytes
        for (let byte = 0; byte < pixelBytes; byte++) to[place + byte] = from[start + byte]!
      }
    }
}
