import { describe, expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { dataFor } from '../commands/data.ts'
import { encodeNpz } from '../data/npz-write.ts'
import { openDataset } from '../data/open.ts'
import { encodeModel } from '../formats/onnx/write.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { uniform } from '../ir/random.ts'
import { elementCount, Tensor } from '../ir/tensor.ts'
import { parseModel } from '../ir/text.ts'
import { memoryFiles } from '../platform/web.ts'
import { resultSchema } from '../result/result.ts'
import { toMode } from '../rewrite/modes/mode.ts'
import { createSession } from '../runtime/session.ts'
import { Gathering, type MeasureOptions, measure, measureMoments, probeInMode } from './measure.ts'

const header = '<ir_version: 8, opset_import: ["": 17]>'

/** The arrays as a dataset, adapted to the model. */
async function dataOf(model: Model, arrays: Record<string, Tensor>, options: { batchSize?: number } = {}) {
  const files = memoryFiles(new Map([['data.npz', encodeNpz(new Map(Object.entries(arrays)))]]))
  const dataset = await openDataset('data.npz', files)
  return (await dataFor(model, { data: dataset, ...options }, files)).batches
}

async function layersOf(model: Model, arrays: Record<string, Tensor>, options: MeasureOptions = {}) {
  const { measurement } = await measure(model, await dataOf(model, arrays, { batchSize: 16 }), {
    modeSamples: 0,
    ...options,
  })
  return measurement.layers
}

/** What the named value holds in eval mode, computed in one run. */
async function tensorOf(model: Model, name: string, arrays: Record<string, Tensor>): Promise<Tensor> {
  const ready = toMode(
    { ...model, graph: { ...model.graph, outputs: [...model.graph.outputs, { name, type: {} }] } },
    'eval',
  )
  const session = await createSession(encodeModel(ready))
  const fetched = await session.run(
    new Map(Object.entries(arrays).filter(([key]) => session.inputs.includes(key))),
  )
  await session.release()
  return fetched.get(name)!
}

/** Mean and biased variance of each channel, in two passes. */
function momentsOf({ dims, ...tensor }: { dims: readonly number[] } & { values: Float64Array }) {
  const { values } = tensor
  const [n = 1, channels = 1, ...rest] = dims
  const positions = elementCount(rest)
  return Array.from({ length: channels }, (_, c) => {
    const own: number[] = []
    for (let i = 0; i < n; i++)
      for (let p = 0; p < positions; p++) own.push(values[(i * channels + c) * positions + p]!)
    const mean = own.reduce((sum, v) => sum + v, 0) / own.length
    return { mean, variance: own.reduce((sum, v) => sum + (v - mean) ** 2, 0) / own.length }
  })
}

/** Holds every measured layer against the moments of its input, computed from the input itself. */
async function expectMoments(model: Model, arrays: Record<string, Tensor>, tolerance = 2e-5): Promise<void> {
  const layers = await layersOf(model, arrays)
  const { norms } = factsOf(model)
  expect(layers.map(({ key }) => key)).toEqual(norms.map(({ key }) => key))
  for (const [i, layer] of layers.entries()) {
    const tensor = await tensorOf(model, norms[i]!.node.inputs[0]!, arrays)
    const expected = momentsOf({ dims: tensor.dims, values: tensor.toNumbers() })
    expect(layer.channels).toBe(expected.length)
    expected.forEach(({ mean, variance }, c) => {
      const deviation = Math.sqrt(variance)
      expect(Math.abs(layer.realMean[c]! - mean)).toBeLessThan(
        tolerance * Math.max(deviation, Math.abs(mean)),
      )
      expect(Math.abs(layer.realVariance[c]! / variance - 1)).toBeLessThan(tolerance)
    })
    const ratio =
      expected.reduce((sum, m) => sum + m.variance, 0) /
      layer.storedVariance.reduce<number>((sum, v) => sum + v!, 0)
    expect(layer.shiftRatio).toBeCloseTo(Math.max(ratio, 1 / ratio), 4)
  }
}

const input = (dims: number[], seed = 1) => Tensor.float32(dims, uniform(elementCount(dims), -2, 3, seed))
const affine = (
  channels: number,
) => `float32[${channels}] gamma = uniform(0.5, 2, 1), float32[${channels}] beta = uniform(-1, 1, 2),
  float32[${channels}] mean = uniform(-1, 1, 3), float32[${channels}] variance = uniform(0.5, 2, 4)`

const probesIn = async (model: Model, arrays: Record<string, Tensor>) =>
  probeInMode(model, 'eval', await dataOf(model, arrays)).probes

describe('probes', () => {
  for (const dims of [
    [50, 3],
    [50, 3, 7],
    [50, 3, 4, 5],
    [50, 3, 2, 3, 2],
  ])
    test(`inputs of rank ${dims.length}`, async () => {
      const axes = ['N', ...dims.slice(1)].join(', ')
      const model = parseModel(`${header} g (float32[${axes}] x) => (y) <${affine(3)}>
        { y = BatchNormalization (x, gamma, beta, mean, variance) }`)
      await expectMoments(model, { x: input(dims) })
    })

  test('a rank that nothing tells', async () => {
    const model = parseModel(`${header} g (float32[N, 12] x, int64[k] shape) => (y) <${affine(3)}>
      { r = Reshape (x, shape)  y = BatchNormalization (r, gamma, beta, mean, variance) }`)
    const data = { fields: [{ name: 'x', dataType: 'float32' as const, sampleShape: [12] }] }
    const { model: probed, probes, stretches, means } = probeInMode(model, 'eval', data)
    expect(factsOf(probed).types.get('r')?.shape).toBeUndefined()
    const session = await createSession(encodeModel(probed))
    const x = input([40, 12])
    for (const shape of [
      [40, 3, 4],
      [80, 3, 2],
      [40, 3, 2, 2],
      [160, 3],
    ]) {
      const fetched = await session.run(
        new Map([
          ['x', x],
          ['shape', Tensor.int64([shape.length], shape)],
        ]),
      )
      const gathering = new Gathering({ stretches, means })
      gathering.add(fetched, 40)
      const norm = { norm: factsOf(model).norms[0]!, parts: probes, folded: false }
      const { mean, variance } = gathering.momentsOf(norm)
      momentsOf({ dims: shape, values: x.toNumbers() }).forEach((expected, c) => {
        expect(mean[c]!).toBeCloseTo(expected.mean, 5)
        expect(variance[c]! / expected.variance).toBeCloseTo(1, 5)
      })
    }
    await session.release()
  })

  test('concatenated channels are probed where they arise, each once', async () => {
    const concat = (axis: number) =>
      parseModel(`${header} g (float32[N, 3, 4, 4] x) => (y, z)
        <${affine(8)}, float32[5, 3, 1, 1] w = uniform(-1, 1, 5), float32[8, 8, 1, 1] v = uniform(-1, 1, 6),
         float32[16] g2 = uniform(0.5, 2, 1), float32[16] b2 = fill(0), float32[16] m2 = uniform(-1, 1, 2), float32[16] v2 = fill(2)>
        {
          a = Conv (x, w)
          c = Concat <axis = ${axis}> (a, x)
          y = BatchNormalization (c, gamma, beta, mean, variance)
          d = Conv (c, v)
          e = Concat <axis = 1> (c, d)
          z = BatchNormalization (e, g2, b2, m2, v2)
        }`)
    for (const axis of [1, -3]) {
      const model = concat(axis)
      const x = input([30, 3, 4, 4])
      expect((await probesIn(model, { x })).map(({ value }) => value)).toEqual(['a', 'x', 'd'])
      await expectMoments(model, { x })
    }
  })

  test('means of a trunk follow from those of the narrow ends of its blocks', async () => {
    const convolution = (outputs: number, inputs: number) => `float32[${outputs}, ${inputs}, 1, 1]`
    const model =
      parseModel(`${header} g (float32[N, 3, 4, 4] x) => (y, z) <${affine(8)}, ${convolution(8, 3)} u = uniform(-1, 1, 5),
        ${convolution(2, 8)} v = uniform(0.1, 1, 6), ${convolution(8, 1)} w = uniform(-1, 1, 7), float32[8] b = uniform(-0.1, 0.1, 8),
        float32[8] g2 = uniform(0.5, 2, 1), float32[8] b2 = uniform(-0.1, 0.1, 9), float32[8] m2 = uniform(-1, 1, 2), float32[8] v2 = fill(2)>
      {
        t = Conv (x, u)
        n = BatchNormalization (t, gamma, beta, mean, variance)
        r = Relu (n)
        c = Conv (r, v)
        q = Relu (c)
        e = Conv <group = 2> (q, w, b)
        k = BatchNormalization (e, gamma, b2, m2, v2)
        s = Add (k, t)
        y = BatchNormalization (s, g2, b2, m2, v2)
        d = Add (s, s)
        i = Add (d, s)
        z = BatchNormalization (i, g2, b2, m2, v2)
      }`)
    const x = input([30, 3, 4, 4])
    const { means } = probeInMode(model, 'eval', await dataOf(model, { x }))
    const pooled = [...means].flatMap(([value, told]) => ('block' in told ? [value] : []))
    // Some of these channels have means of several deviations, which costs float32 a digit wherever means are taken.
    await expectMoments(model, { x }, 1e-4)
    expect(pooled).toEqual(['x', 'q'])
  })

  test('channels joined along another axis are probed behind it', async () => {
    const model = parseModel(`${header} g (float32[N, 3, 4] x) => (y) <${affine(3)}>
      { r = Relu (x)  c = Concat <axis = 2> (x, r)  y = BatchNormalization (c, gamma, beta, mean, variance) }`)
    const x = input([30, 3, 4])
    expect((await probesIn(model, { x })).map(({ value }) => value)).toEqual(['c'])
    await expectMoments(model, { x })
  })

  test('one value that several norms read is probed once', async () => {
    const model =
      parseModel(`${header} g (float32[N, 3, 4] x) => (y, z, r) <${affine(3)}, float32[3] m2 = fill(0), float32[3] v2 = fill(1)>
      {
        r = Relu (x)
        i = Identity (r)
        y = BatchNormalization (r, gamma, beta, mean, variance)
        z = BatchNormalization (i, gamma, beta, m2, v2)
      }`)
    const x = input([30, 3, 4])
    expect(await probesIn(model, { x })).toHaveLength(1)
    await expectMoments(model, { x })
  })

  test('a norm that is folded into the convolution in front', async () => {
    const model =
      parseModel(`${header} g (float32[N, 3, 6, 6] x) => (y) <${affine(8)}, float32[8, 3, 3, 3] w = uniform(-1, 1, 5)>
      { c = Conv (x, w)  n = BatchNormalization (c, gamma, beta, mean, variance)  y = Relu (n) }`)
    await expectMoments(model, { x: input([40, 3, 6, 6]) })
  })

  test('a mean of 100 and a variance of a thousandth, stored nearly right', async () => {
    for (const source of ['x', 'c']) {
      const model = parseModel(`${header} g (float32[N, 2, 5, 5] x) => (y)
        <float32[2] gamma = {1, 2}, float32[2] beta = {0, 1}, float32[2] mean = {100.01, -99.99},
         float32[2] variance = {0.0012, 0.0009}, float32[2, 2, 1, 1] w = {1, 0, 0, 1}>
        { c = Conv (x, w)  y = BatchNormalization (${source}, gamma, beta, mean, variance) }`)
      const values = uniform(60 * 50, -0.05, 0.05, 3).map((v, i) => v + (Math.floor(i / 25) % 2 ? -100 : 100))
      await expectMoments(model, { x: Tensor.float32([60, 2, 5, 5], values) }, 1e-3)
    }
  })

  test('values of float16 and float64', async () => {
    for (const type of ['float16', 'float64'] as const) {
      const model =
        parseModel(`${header} g (${type}[N, 3, 4] x) => (y) <${affine(3).replaceAll('float32', type)}>
        { r = Relu (x)  y = BatchNormalization (r, gamma, beta, mean, variance) }`)
      await expectMoments(model, { x: Tensor.of(type, [50, 3, 4], uniform(600, -2, 3, 1)) }, 1e-3)
    }
  })

  test('time steps as rows: intervals count samples, not rows', async () => {
    const model = parseModel(`${header} g (float32[N, 6, 3] x) => (y) <${affine(3)}, int64[2] rows = {-1, 3}>
      { r = Reshape (x, rows)  y = BatchNormalization (r, gamma, beta, mean, variance) }`)
    // All steps of a sample are alike, so that steps tell nothing that the sample does not.
    const own = uniform(60 * 3, -1, 1, 4)
    const steps = Float64Array.from({ length: 60 * 18 }, (_, i) => own[Math.floor(i / 18) * 3 + (i % 3)]!)
    await expectMoments(model, { x: Tensor.float32([60, 6, 3], steps) })
    const [byRows] = await layersOf(model, { x: Tensor.float32([60, 6, 3], steps) })
    const single = parseModel(`${header} g (float32[N, 3] x) => (y) <${affine(3)}>
      { y = BatchNormalization (x, gamma, beta, mean, variance) }`)
    const [bySamples] = await layersOf(single, { x: Tensor.float32([60, 3], own) })
    expect(byRows!.shiftRatioInterval[0]).toBeCloseTo(bySamples!.shiftRatioInterval[0], 5)
    expect(byRows!.shiftRatioInterval[1]).toBeCloseTo(bySamples!.shiftRatioInterval[1], 5)
  })
})

const small = parseModel(`${header} net (float32[N, 3] x) => (float32[N, 2] y)
  <${affine(3)}, float32[3, 2] w = uniform(-1, 1, 7), float32 half = {0.5}, bool on = {1}>
  {
    [drop] d = Dropout (x, half, on)
    [bn] n = BatchNormalization (d, gamma, beta, mean, variance)
    y = MatMul (n, w)
  }`)
const samples = (count: number) => ({
  x: input([count, 3], 5),
  labels: Tensor.int64(
    [count],
    Array.from({ length: count }, (_, i) => i % 2),
  ),
})

describe('measurements', () => {
  test('are results that the schema takes, in all modes', async () => {
    const { measurement } = await measure(small, await dataOf(small, samples(300)), { seed: 3 })
    const shape = resultSchema.shape.measurement.unwrap()
    expect(shape.parse(measurement)).toEqual(measurement)
    expect(measurement.partial).toBe(false)
    expect(measurement.modes.agreements.map(({ a, b }) => `${a} ${b}`)).toEqual([
      'train eval',
      'sample eval',
      'train sample',
    ])
    for (const mode of ['train', 'eval', 'sample'] as const)
      expect(measurement.modes[mode]).toMatchObject({ samples: 300, accuracy: expect.any(Number) })
    expect(measurement.layers[0]?.shiftRatio).toBeGreaterThan(1)
  })

  test('repeat with the seed', async () => {
    const data = await dataOf(small, samples(100))
    const run = async (seed: number) => (await measure(small, data, { seed })).measurement
    expect(await run(1)).toEqual(await run(1))
    expect((await run(1)).modes.sample).not.toEqual((await run(2)).modes.sample)
  })

  test('do not depend on the size of batches', async () => {
    const of = async (batchSize: number) =>
      (await measure(small, await dataOf(small, samples(100), { batchSize }), { modeSamples: 0 })).measurement
        .layers[0]!
    const [all, few] = [await of(100), await of(7)]
    for (const [c, v] of few.realVariance.entries()) expect(v! / all.realVariance[c]!).toBeCloseTo(1, 5)
    expect(few.shiftRatioInterval[1]).toBeCloseTo(all.shiftRatioInterval[1], 4)
  })

  test('modes are compared on as many samples as asked for', async () => {
    const data = await dataOf(small, samples(100), { batchSize: 16 })
    const { modes } = (await measure(small, data, { modeSamples: 20 })).measurement
    expect([modes.eval.samples, modes.train?.samples, modes.agreements[0]?.samples]).toEqual([100, 20, 20])
  })

  test('what is stopped is partial, and what has not begun is nothing', async () => {
    const data = await dataOf(small, samples(100), { batchSize: 10 })
    const controller = new AbortController()
    const { measurement, moments } = await measure(small, data, {
      modeSamples: 0,
      signal: controller.signal,
      onProgress: (done) => done >= 30 && controller.abort(),
    })
    expect(measurement.partial).toBe(true)
    expect(measurement.data.samples).toBe(30)
    expect(moments.size).toBe(1)
    const stopped = { signal: AbortSignal.abort() }
    await expect(measure(small, data, stopped)).rejects.toThrow(
      /no samples were measured, it was stopped before/,
    )
    await expect(measureMoments(small, data, 'eval', stopped)).rejects.toThrow(UserError)
  })

  test('too few samples are called too few', async () => {
    const { measurement } = await measure(small, await dataOf(small, samples(4)), { modeSamples: 0 })
    expect(measurement.layers[0]).toMatchObject({ enoughSamples: false })
    expect(measurement.notes.join()).toMatch(
      /4 samples are too few to tell for 1 of 1 layers; about \d+ would/,
    )
    const single = (await measure(small, await dataOf(small, samples(1)), { modeSamples: 0 })).measurement
    expect(single.unmeasured.concat(single.layers.map(({ label }) => ({ label, reason: '' })))).toHaveLength(
      1,
    )
    expect(resultSchema.shape.measurement.unwrap().parse(single)).toEqual(single)
  })

  test('what is not finite is told and leaves no moments behind', async () => {
    const model = parseModel(`${header} net (float32[N, 3] x) => (y, z) <${affine(3)}, float32 huge = {3e38}>
      {
        y = BatchNormalization (x, gamma, beta, mean, variance)
        h = Mul (x, huge)
        z = BatchNormalization (h, gamma, beta, mean, variance)
      }`)
    const { measurement, moments } = await measure(model, await dataOf(model, samples(20)), {
      modeSamples: 0,
    })
    expect(measurement.layers.map(({ key }) => key)).toEqual(['y'])
    expect(measurement.unmeasured).toEqual([
      { label: 'z', reason: 'what it sees on this data is not finite' },
    ])
    expect([...moments.keys()]).toEqual(['y'])
    expect(resultSchema.shape.measurement.unwrap().parse(measurement)).toEqual(measurement)
  })

  test('a noise whose ratio is not stored leaves eval mode alone', async () => {
    const model =
      parseModel(`${header} net (float32[N, 3] x, float32 ratio) => (y) <${affine(3)}, bool on = {1}>
      { [drop] d = Dropout (x, ratio, on)  y = BatchNormalization (d, gamma, beta, mean, variance) }`)
    const { measurement } = await measure(model, await dataOf(model, { x: input([30, 3]) }))
    expect(measurement.modes.train).toBeUndefined()
    expect(measurement.notes.join()).toMatch(
      /train and sample mode were not run: the ratio of 'drop' is not stored/,
    )
  })

  test('batch statistics are those of each batch', async () => {
    const data = await dataOf(small, samples(64), { batchSize: 64 })
    const { moments } = await measureMoments(small, data, 'calibrate')
    const x = samples(64).x
    momentsOf({ dims: [64, 3], values: x.toNumbers() }).forEach(({ mean, variance }, c) => {
      expect(moments.get('n')!.mean[c]!).toBeCloseTo(mean, 5)
      expect(moments.get('n')!.variance[c]! / variance).toBeCloseTo(1, 5)
    })
  })
})
