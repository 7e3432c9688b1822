import { describe, expect, test } from 'vitest'
import { permutation } from '../ir/random.ts'
import { augmenter, parseAugment } from './augment.ts'
import type { Batch, Dataset, Field } from './dataset.ts'
import { resident } from './resident.ts'
import { shapes } from './shapes.ts'

async function all(dataset: Dataset, batchSize = 4): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of dataset.batches({ batchSize })) batches.push(batch)
  return batches
}

test('samples are taken in any order', async () => {
  const source = shapes({ count: 300, size: 8 })
  const held = await resident(source, { limit: 280 })
  expect(held.size).toBe(280)
  const [whole] = await all(source, 300)
  const order = Int32Array.from([279, 3, 3, 150, 0])
  const batches = await all(held.ordered(order), 3)
  expect(batches.map(({ size }) => size)).toEqual([3, 2])
  const taken = batches.flatMap(({ inputs }) => [...inputs.get('x')!.bytes])
  const wanted = [...order].flatMap((i) => [
    ...whole!.inputs.get('x')!.bytes.subarray(i * 192, (i + 1) * 192),
  ])
  expect(taken).toEqual(wanted)
  expect(batches.flatMap(({ labels }) => [...labels!])).toEqual([...order].map((i) => whole!.labels![i]))
  expect((await all(held, 300))[0]!.size).toBe(280)
})

test('what does not fit into memory is refused before it is read', async () => {
  await expect(resident(shapes({ count: 2 ** 30, size: 1024 }))).rejects.toThrow(
    /GiB in memory.*fewer samples/,
  )
})

test('orders depend on seed and epoch and hold every number once', () => {
  const order = permutation(1000, 5, 2)
  expect(order).toEqual(permutation(1000, 5, 2))
  expect(order).not.toEqual(permutation(1000, 5, 3))
  expect(order).not.toEqual(permutation(1000, 6, 2))
  expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i))
  // Where a number ends up is spread evenly: the mean place of the first over many orders.
  const places = Array.from({ length: 400 }, (_, epoch) => permutation(100, 1, epoch).indexOf(0))
  const mean = places.reduce((sum, place) => sum + place, 0) / places.length
  expect(Math.abs(mean - 49.5)).toBeLessThan((5 * 29) / 20)
})

describe('augmentation', () => {
  const pixels = Uint8Array.from({ length: 2 * 3 * 4 }, (_, i) => i + 1)
  const field = (sampleShape: number[], layout?: 'NCHW' | 'NHWC'): Field => ({
    name: 'x',
    dataType: 'uint8',
    sampleShape,
    ...(layout && { layout }),
  })
  const seen = (wanted: Field, options: { crop?: number; flip?: boolean }) => {
    const found = new Set<string>()
    for (let epoch = 0; epoch < 300; epoch++) {
      const to = new Uint8Array(pixels.length)
      augmenter({ fields: [wanted], name: 'd' }, options, { seed: 1, epoch })(wanted, pixels, 7, to)
      found.add([...to].join())
    }
    return found
  }
  /** The pictures that crop and flip may give, by their definition. */
  const possible = (
    at: (plane: number, y: number, x: number) => number,
    order: 'NCHW' | 'NHWC',
    crop: number,
  ) => {
    const made = new Set<string>()
    for (let down = -crop; down <= crop; down++)
      for (let right = -crop; right <= crop; right++)
        for (const mirrored of [false, true]) {
          const picture: number[] = []
          const put = (plane: number, y: number, x: number) => {
            const column = mirrored ? 3 - x : x
            const [sourceY, sourceX] = [y - down, column - right]
            const inside = sourceY >= 0 && sourceY < 3 && sourceX >= 0 && sourceX < 4
            picture.push(inside ? at(plane, sourceY, sourceX) : 0)
          }
          if (order === 'NCHW')
            for (let plane = 0; plane < 2; plane++)
              for (let y = 0; y < 3; y++) for (let x = 0; x < 4; x++) put(plane, y, x)
          else
            for (let y = 0; y < 3; y++)
              for (let x = 0; x < 4; x++) for (let plane = 0; plane < 2; plane++) put(plane, y, x)
          made.add(picture.join())
        }
    return made
  }

  test('crops and mirrors pictures, channels first', () => {
    const expected = possible((plane, y, x) => pixels[(plane * 3 + y) * 4 + x]!, 'NCHW', 1)
    expect([...seen(field([2, 3, 4], 'NCHW'), { crop: 1, flip: true })].sort()).toEqual([...expected].sort())
  })

  test('and channels last', () => {
    const expected = possible((plane, y, x) => pixels[(y * 4 + x) * 2 + plane]!, 'NHWC', 2)
    expect([...seen(field([3, 4, 2], 'NHWC'), { crop: 2, flip: true })].sort()).toEqual([...expected].sort())
  })

  test('alone, each does no more than it says', () => {
    expect(seen(field([2, 3, 4], 'NCHW'), { flip: true }).size).toBe(2)
    expect(seen(field([2, 3, 4], 'NCHW'), { crop: 1 }).size).toBe(9)
    expect(seen(field([2, 3, 4], 'NCHW'), {}).size).toBe(1)
  })

  test('changes samples of their own, the same way each time', async () => {
    const held = await resident(shapes({ count: 20, size: 8 }))
    const order = permutation(20, 1, 0)
    const take = (epoch: number) =>
      all(held.ordered(order, augmenter(held, { crop: 2, flip: true }, { seed: 3, epoch })), 20)
    const bytes = (batches: Batch[]) => Buffer.from(batches[0]!.inputs.get('x')!.bytes).toString('hex')
    expect(bytes(await take(1))).toBe(bytes(await take(1)))
    expect(bytes(await take(1))).not.toBe(bytes(await take(2)))
  })

  test('is refused where there are no pictures, or crops leave nothing', () => {
    const vectors = { fields: [field([7])], name: 'x.npy' }
    expect(() => augmenter(vectors, { flip: true }, { seed: 0, epoch: 0 })).toThrow('x.npy holds no pictures')
    const small = { fields: [field([1, 4, 4], 'NCHW')], name: 'x' }
    expect(() => augmenter(small, { crop: 4 }, { seed: 0, epoch: 0 })).toThrow('as large as the pictures')
    expect(parseAugment('crop=4, flip')).toEqual({ crop: 4, flip: true })
    expect(() => parseAugment('crop')).toThrow("'crop' is no augmentation")
  })
})
