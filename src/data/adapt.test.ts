import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type DataType, Tensor } from '../ir/tensor.ts'
import { type AdaptedDataset, type AdaptOptions, adapt, type WantedInput } from './adapt.ts'
import { type Batch, batchRanges, type Dataset } from './dataset.ts'

/** A dataset over tensors in memory; the first axis counts the samples. */
function datasetOf(fields: Record<string, Tensor>, labels?: number[]): Dataset {
  const size = Object.values(fields)[0]!.dims[0]!
  return {
    name: 'images.npz',
    size,
    labelled: labels !== undefined,
    fields: Object.entries(fields).map(([name, { dataType, dims }]) => ({
      name,
      dataType,
      sampleShape: dims.slice(1),
    })),
    async *batches(options) {
      for (const [from, to] of batchRanges(size, options)) {
        const inputs = new Map<string, Tensor>()
        for (const [name, { dataType, dims, bytes }] of Object.entries(fields)) {
          const row = bytes.length / size
          inputs.set(
            name,
            new Tensor(dataType, [to - from, ...dims.slice(1)], bytes.slice(from * row, to * row)),
          )
        }
        yield { inputs, size: to - from, ...(labels && { labels: Int32Array.from(labels.slice(from, to)) }) }
      }
    },
  }
}

const zeros = (dataType: DataType, ...dims: number[]): Tensor =>
  Tensor.of(dataType, dims, new Float64Array(dims.reduce((n, size) => n * size, 1)))

const input = (name: string, dataType: DataType, ...shape: (number | string | undefined)[]): WantedInput => ({
  name,
  dataType,
  shape,
})

async function read(dataset: AdaptedDataset, range = {}): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of dataset.batches(range)) batches.push(batch)
  return batches
}

test('bytes become floats from 0 to 1, with a note; fields are called as the inputs', async () => {
  const data = datasetOf({ x: Tensor.of('uint8', [2, 2, 2], [0, 51, 255, 0, 0, 0, 0, 102]) }, [4, 5])
  const adapted = adapt(data, [input('image', 'float32', 'N', 1, 2, 2)], { batchSize: 1 })
  expect(adapted).toMatchObject({
    name: 'images.npz',
    size: 2,
    labelled: true,
    batchSize: 1,
    fixedBatch: false,
  })
  expect(adapted.fields).toEqual([{ name: 'image', dataType: 'float32', sampleShape: [1, 2, 2] }])
  expect(adapted.notes).toEqual([
    "input 'image': bytes of images.npz:x are divided by 255; give a scale of 1 to leave them as they are.",
  ])
  const [first, second] = await read(adapted)
  expect(first!.inputs.get('image')!.dims).toEqual([1, 1, 2, 2])
  expect([...first!.inputs.get('image')!.toNumbers()]).toEqual([0, Math.fround(0.2), 1, 0])
  expect(second!.labels).toEqual(Int32Array.of(5))
})

test('scale, mean and std', async () => {
  const data = datasetOf({ x: Tensor.of('uint8', [1, 3, 1, 1], [10, 20, 30]) })
  const valuesOf = async (options: AdaptOptions, dataType: DataType = 'float32'): Promise<number[]> => {
    const adapted = adapt(data, [input('x', dataType, 'N', 3, 1, 1)], options)
    return [...(await read(adapted))[0]!.inputs.get('x')!.toNumbers()]
  }
  expect(await valuesOf({ scale: 1 })).toEqual([10, 20, 30])
  expect(await valuesOf({ scale: { x: 2 } })).toEqual([20, 40, 60])
  expect(await valuesOf({ scale: 0.1, mean: [1, 2, 3], std: [0.5] })).toEqual([0, 0, 0])
  expect(await valuesOf({ mean: [0.1] }, 'float64')).toEqual([10, 20, 30].map((v) => v / 255 - 0.1))
  expect(await valuesOf({}, 'uint8')).toEqual([10, 20, 30])
  for (const options of [{ scale: 0 }, { std: [0] }, { mean: [Number.NaN] }, { mean: [] }])
    await expect(valuesOf(options)).rejects.toThrow(/expected finite numbers/)
  await expect(valuesOf({ mean: [1, 2] })).rejects.toThrow(
    /mean has 2 numbers, but images.npz:x has 3 channels/,
  )
  await expect(valuesOf({ std: [2] }, 'uint8')).rejects.toThrow(/takes uint8, to which std does not apply/)
})

test('scaling is for pictures; bytes that are none stay as they are, with a note', () => {
  const data = datasetOf({
    x: zeros('uint8', 2, 3, 4, 4),
    age: zeros('float32', 2, 1),
    code: zeros('uint8', 2, 5),
  })
  const wanted = [
    input('x', 'float32', 'N', 3, 4, 4),
    input('age', 'float32', 'N', 1),
    input('code', 'float32', 'N', 5),
  ]
  const { notes } = adapt(data, wanted, { mean: [1, 2, 3] })
  expect(notes.join('\n')).toMatch(/bytes of images.npz:x are divided by 255/)
  expect(notes.join('\n')).toMatch(/bytes of images.npz:code are no pictures and stay 0 to 255/)
  expect(notes).toHaveLength(2)
})

test('pictures are turned as the model asks, and back', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(1, 3),
      fc.integer({ min: 5, max: 7 }),
      fc.integer({ min: 5, max: 7 }),
      async (c, h, w) => {
        const tensor = Tensor.float32(
          [2, c, h, w],
          Array.from({ length: 2 * c * h * w }, (_, i) => i),
        )
        const there = adapt(datasetOf({ x: tensor }), [input('x', 'float32', 'N', h, w, c)])
        const turned = (await read(there))[0]!.inputs.get('x')!
        expect(turned.dims).toEqual([2, h, w, c])
        const back = adapt(datasetOf({ x: turned }), [input('x', 'float32', 'N', c, h, w)])
        expect((await read(back))[0]!.inputs.get('x')!.toNumbers()).toEqual(tensor.toNumbers())
      },
    ),
    { numRuns: 20 },
  )
})

test('inputs are matched by name, the rest by order', () => {
  const data = datasetOf({ b: zeros('float32', 2, 5), a: zeros('float32', 2, 3) })
  const both = adapt(data, [input('a', 'float32', 'N', 3), input('b', 'float32', 'N', 5)])
  expect(both.notes).toEqual([])
  expect(both.fields.map(({ sampleShape }) => sampleShape)).toEqual([[3], [5]])
  expect(adapt(data, [input('p', 'float32', 'N', 5), input('q', 'float32', 'N', 3)]).notes).toEqual([
    "input 'p' takes 'b' of images.npz, by order.",
    "input 'q' takes 'a' of images.npz, by order.",
  ])
  expect(adapt(data, [input('a', 'float32', 'N', 3)]).notes).toEqual([
    "images.npz: 'b' is not an input of the model; unused.",
  ])
  expect(() => adapt(data, [input('c', 'float32', 'N', 3)])).toThrow(
    "the model wants inputs 'c', images.npz holds 'b', 'a'; name the arrays as the inputs",
  )
})

test('a wrong shape says what is wanted and what is there', () => {
  const data = datasetOf({ x: zeros('uint8', 203, 3, 16, 16) })
  expect(() => adapt(data, [input('x', 'float32', undefined, 3, 32, 32)])).toThrow(
    "input 'x' of the model wants N x 3 x 32 x 32, images.npz:x holds 203 x 3 x 16 x 16; " +
      'resize the data, or export the model for this size',
  )
  const grey = datasetOf({ x: zeros('uint8', 2, 28, 28) })
  const wanted = [input('x', 'float32', 'N', 3, 28, 28)]
  expect(() => adapt(grey, wanted)).toThrow(/repeat grey pictures/)
  expect(adapt(grey, wanted, { repeatGrey: true, mean: [1, 2, 3] }).fields[0]!.sampleShape).toEqual([
    3, 28, 28,
  ])
})

test('a fixed batch leaves the remainder out', async () => {
  const data = datasetOf({ x: zeros('float32', 19, 2) })
  const adapted = adapt(data, [input('x', 'float32', 8, 2)], { batchSize: 64 })
  expect(adapted).toMatchObject({ size: 16, batchSize: 8, fixedBatch: true })
  expect(adapted.notes).toEqual([
    'the model takes exactly 8 samples at a time; the batch size 64 is not used.',
    'the model takes exactly 8 samples at a time; the last 3 of 19 are left out.',
  ])
  expect((await read(adapted)).map(({ size }) => size)).toEqual([8, 8])
  expect((await read(adapted, { start: 4, limit: 15 })).map(({ size }) => size)).toEqual([8])
  expect(() => adapt(data, [input('x', 'float32', 20, 2)])).toThrow(
    /exactly 20 samples at a time, images.npz holds 19/,
  )
  const two = datasetOf({ x: zeros('float32', 19, 2), z: zeros('float32', 19, 2) })
  expect(() => adapt(two, [input('x', 'float32', 8, 2), input('z', 'float32', 4, 2)])).toThrow(
    /8 and 4 samples/,
  )
})

test('bad values are refused with the number of their sample', async () => {
  const values = new Float64Array(20)
  values[15] = Number.NaN
  const adapted = adapt(datasetOf({ x: Tensor.float32([10, 2], values) }), [input('x', 'float32', 'N', 2)], {
    batchSize: 3,
  })
  await expect(read(adapted)).rejects.toThrow('images.npz:x holds NaN in sample 7')
  await expect(read(adapted, { start: 5 })).rejects.toThrow('in sample 7')
  expect(await read(adapted, { start: 8 })).toHaveLength(1)
})

test('a model that tells no shape takes the samples as they are', () => {
  const { fields } = adapt(datasetOf({ x: zeros('float32', 2, 5, 7) }), [
    { name: 'x', dataType: 'float32', shape: undefined },
  ])
  expect(fields[0]!.sampleShape).toEqual([5, 7])
})

test('impossible batch sizes are refused', () => {
  const data = datasetOf({ x: zeros('float32', 2, 5) })
  for (const batchSize of [0, -1, 1.5, Number.NaN])
    expect(() => adapt(data, [input('x', 'float32', 'N', 5)], { batchSize })).toThrow(/impossible/)
})
