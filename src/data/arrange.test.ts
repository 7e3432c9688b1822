import fc from 'fast-check'
import { expect, test } from 'vitest'
import { elementCount } from '../ir/tensor.ts'
import { type Arrangement, arrange, type WantedSize } from './arrange.ts'
import type { Layout } from './dataset.ts'

const of = (sampleShape: number[], wanted: WantedSize[] | undefined, options = {}, layout?: Layout) =>
  arrange({ name: 'x', dataType: 'uint8', sampleShape, ...(layout && { layout }) }, wanted, options)

/** Which element of the given sample stands where, whether or not one moves. */
const orderOf = ({ order, shape }: Arrangement): number[] => [
  ...(order ?? Array.from({ length: elementCount(shape) }, (_, i) => i)),
]

test.each<[number[], WantedSize[] | undefined, number[] | undefined]>([
  [
    [3, 32, 32],
    [3, 32, 32],
    [3, 32, 32],
  ],
  [
    [3, 32, 32],
    [3, 'h', 'w'],
    [3, 32, 32],
  ],
  [[3, 32, 32], undefined, [3, 32, 32]],
  [
    [3, 32, 32],
    [32, 32, 3],
    [32, 32, 3],
  ],
  [
    [3, 32, 48],
    ['h', undefined, 3],
    [32, 48, 3],
  ],
  [
    [32, 48, 3],
    [3, -1, -1],
    [3, 32, 48],
  ],
  [[32, 48, 3], undefined, [3, 32, 48]],
  [
    [32, 48, 3],
    [undefined, undefined, undefined],
    [3, 32, 48],
  ],
  [
    [28, 28],
    [1, 28, 28],
    [1, 28, 28],
  ],
  [
    [28, 28],
    [28, 28, 1],
    [28, 28, 1],
  ],
  [
    [28, 28],
    ['c', 'h', 'w'],
    [1, 28, 28],
  ],
  [
    [1, 28, 28],
    [28, 28],
    [28, 28],
  ],
  [
    [1, 28, 28],
    [28, 28, 1],
    [28, 28, 1],
  ],
  [[1, 28, 28], [784], [784]],
  [[3, 4, 4], ['features'], [48]],
  [[784], [1, 28, 28], [1, 28, 28]],
  [[100], [1, 100], [1, 100]],
  [[], [1], [1]],
  [[1], [], []],
  [[3, 16, 16], [3, 32, 32], undefined],
  [[28, 28], [3, 28, 28], undefined],
  [[48], [7, 7], undefined],
  [[5], ['c', 5], undefined],
])('%j for %j gives %j', (given, wanted, expected) => {
  expect(of(given, wanted)?.shape).toEqual(expected)
})

test('the layout decides where sizes do not', () => {
  const open = [undefined, undefined, undefined]
  expect(of([3, 4, 5], open, { layout: 'NHWC' })?.shape).toEqual([4, 5, 3])
  expect(of([28, 28], open, { layout: 'NHWC' })?.shape).toEqual([28, 28, 1])
  expect(of([9, 5, 3], open, { layout: 'NHWC' })?.shape).toEqual([9, 5, 3])
  expect(of([3, 4, 3], open, { layout: 'NHWC' }, 'NHWC')?.shape).toEqual([3, 4, 3])
  // A model that names its sizes is believed.
  expect(of([3, 4, 5], [3, undefined, undefined], { layout: 'NHWC' })?.shape).toEqual([3, 4, 5])
})

test('moving channels there and back gives the picture back', () => {
  const size = fc.integer({ min: 1, max: 6 })
  fc.assert(
    fc.property(fc.constantFrom(1, 3, 4), size, size, (c, h, w) => {
      const there = of([c, h, w], [h, w, c], {}, 'NCHW')!
      const back = of([h, w, c], [c, h, w], {}, 'NHWC')!
      fc.pre(there.order !== undefined && back.order !== undefined)
      const moved = orderOf(there)
      expect(orderOf(back).map((i) => moved[i])).toEqual(Array.from({ length: c * h * w }, (_, i) => i))
      // Place (row, column, channel) holds element (channel, row, column).
      expect(moved[((h - 1) * w + w - 1) * c]).toBe((h - 1) * w + w - 1)
      expect([...there.channelOf!]).toEqual(moved.map((i) => Math.floor(i / (h * w))))
    }),
  )
})

test('grey is repeated when allowed', () => {
  const options = { repeatGrey: true }
  const first = of([2, 2], [3, 2, 2], options)!
  expect(orderOf(first)).toEqual([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3])
  expect(first.channels).toBe(3)
  expect([...first.channelOf!]).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
  const last = of([1, 2, 2], [2, 2, 3], options)!
  expect(orderOf(last)).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
  expect([...last.channelOf!]).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
  expect(of([3, 2, 2], [9, 2, 2], options)).toBeUndefined()
})

test('channels are counted along the axis where they lie', () => {
  expect([...of([2, 2, 3], [12])!.channelOf!]).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
  expect([...of([3, 2, 2], [12])!.channelOf!]).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
  expect(of([28, 28], [28, 28])).toMatchObject({ channels: 1, channelOf: undefined })
})
