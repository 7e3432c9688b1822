import { describe, expect, test } from 'vitest'
import { encodeModel } from '../../formats/onnx/write.ts'
import type { Model } from '../../ir/model.ts'
import { uniform } from '../../ir/random.ts'
import { elementCount, Tensor } from '../../ir/tensor.ts'
import { parseModel } from '../../ir/text.ts'
import { createSession } from '../../runtime/session.ts'
import { type Mode, toMode } from './mode.ts'

const modes: readonly Mode[] = ['train', 'eval', 'sample', 'calibrate']

/** Outputs by name of `runs` runs of one session. */
async function run(
  model: Model,
  mode: Mode,
  feeds: Record<string, Tensor>,
  { seed = 0, runs = 1 } = {},
): Promise<Record<string, Float64Array>[]> {
  const ready = toMode(model, mode, { seed })
  const session = await createSession(encodeModel(ready), { threads: 1 })
  try {
    expect([...session.outputs]).toEqual(model.graph.outputs.map(({ name }) => name))
    const results: Record<string, Float64Array>[] = []
    const given = new Map(Object.entries(feeds).filter(([name]) => session.inputs.includes(name)))
    for (let i = 0; i < runs; i++) {
      const fetched = await session.run(given)
      results.push(Object.fromEntries([...fetched].map(([name, tensor]) => [name, tensor.toNumbers()])))
    }
    return results
  } finally {
    await session.release()
  }
}

const header = (opset = 17) => `<ir_version: 8, opset_import: ["": ${opset}]>`

const input = (dims: number[], seed = 1) => Tensor.float32(dims, uniform(elementCount(dims), -2, 3, seed))

/** Mean and biased variance of each channel of values of shape N x C x ... */
function channelMoments(values: ArrayLike<number>, dims: readonly number[]) {
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

function expectClose(a: ArrayLike<number>, b: ArrayLike<number>, tolerance: number): void {
  expect(a.length).toBe(b.length)
  let most = 0
  for (let i = 0; i < b.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!))
  expect(most).toBeLessThan(tolerance)
}

const gamma = [1.5, -0.5, 2]
const beta = [0.25, -1, 3]
const mean = [0.5, -1, 2]
const variance = [4, 0.25, 1]
const statistics = `float32[3] gamma = {${gamma}}, float32[3] beta = {${beta}}, float32[3] mean = {${mean}},
  float32[3] variance = {${variance}}`
const epsilon = 0.001

describe('BatchNormalization', () => {
  for (const dims of [
    [64, 3],
    [32, 3, 7],
    [16, 3, 5, 4],
    [8, 3, 3, 2, 4],
  ])
    for (const known of [true, false])
      test(`rank ${dims.length}${known ? '' : ', which the graph does not tell'}`, async () => {
        const axes = ['N', '3', ...dims.slice(2).map((_, i) => `d${i}`)].join(', ')
        // Reshape by an input hides the rank.
        const model = parseModel(`${header()}
          net (float32[${axes}] x, int64[k] shape) => (y) <${statistics}>
          {
            r = ${known ? 'Identity (x)' : 'Reshape (x, shape)'}
            y = BatchNormalization <epsilon = ${epsilon}, training_mode = 1> (r, gamma, beta, mean, variance)
          }`)
        const x = input(dims)
        const feeds = { x, shape: Tensor.int64([dims.length], dims) }
        const positions = elementCount(dims.slice(2))
        const values = Float64Array.from(Float32Array.from(x.toNumbers()))
        const channel = (i: number) => Math.floor(i / positions) % 3
        const expected = (center: readonly number[], spread: readonly number[]) =>
          values.map((v, i) => {
            const c = channel(i)
            return ((v - center[c]!) / Math.sqrt(spread[c]! + epsilon)) * gamma[c]! + beta[c]!
          })
        const own = channelMoments(values, dims)
        for (const mode of modes) {
          const [{ y }] = (await run(model, mode, feeds)) as [{ y: Float64Array }]
          const batch = mode === 'train' || mode === 'calibrate'
          expectClose(
            y,
            batch
              ? expected(
                  own.map((m) => m.mean),
                  own.map((m) => m.variance),
                )
              : expected(mean, variance),
            2e-5,
          )
          if (!batch) continue
          // What training promises: mean beta, variance gamma^2 (but for epsilon).
          channelMoments(y, dims).forEach((moments, c) => {
            expect(Math.abs(moments.mean - beta[c]!)).toBeLessThan(1e-5)
            expect(Math.abs(moments.variance / gamma[c]! ** 2 - 1)).toBeLessThan(2 * epsilon)
          })
        }
      })

  test('outputs of its training form that are used elsewhere', async () => {
    for (const [opset, outputs, attributes] of [
      [17, 'y, m, v', ', training_mode = 1'],
      [9, 'y, m, v, sm, sv', ''],
    ] as const) {
      const names = outputs.split(', ').slice(1)
      const model = parseModel(`${header(opset)}
        net (float32[N, 3] x) => (y, ${names.join(', ')}, doubled) <${statistics}>
        {
          ${outputs} = BatchNormalization <epsilon = ${epsilon}${attributes}> (x, gamma, beta, mean, variance)
          doubled = Add (m, m)
        }`)
      for (const mode of modes) {
        const [result] = await run(model, mode, { x: input([10, 3]) })
        expect([...result!.m!]).toEqual(mean)
        expect([...result!.v!]).toEqual(variance)
        expect([...result!.doubled!]).toEqual(mean.map((m) => 2 * m))
      }
    }
  })

  test('statistics of every position are refused', () => {
    const model = parseModel(`${header(8)} net (float32[N, 3] x) => (y) <${statistics}>
      { y = BatchNormalization <spatial = 0> (x, gamma, beta, mean, variance) }`)
    expect(() => toMode(model, 'eval')).toThrow(/spatial = 0.*export the model with opset 9/)
  })
})

const dropout = (opset: number, outputs: string, x: string) =>
  opset < 12 ? `${outputs} = Dropout <ratio = 0.25> (${x})` : `${outputs} = Dropout (${x}, ratio, training)`
const dropoutTensors = (opset: number) => (opset < 12 ? '' : ', float32 ratio = {0.25}, bool training = {1}')

describe('noise', () => {
  const linear = parseModel(`${header()}
    net (float32[N, 3, 4] x) => (float32[N, 3, 4] y)
    <${statistics}, float32[3, 3, 1] w = uniform(-1, 1, 5) ${dropoutTensors(17)}>
    {
      d = Dropout (x, ratio, training)
      c = Conv <kernel_shape = [1]> (d, w)
      n = BatchNormalization <epsilon = ${epsilon}> (c, gamma, beta, mean, variance)
      y = Dropout (n, ratio, training)
    }`)
  test('the mean over draws of a linear network is its value in eval mode', async () => {
    // Draws are rows of one batch: the first elements that ONNX Runtime draws hardly change from run to run.
    const [draws, size] = [20_000, 12]
    const sample = uniform(size, -2, 3, 1)
    const x = Tensor.float32(
      [draws, 3, 4],
      Float64Array.from({ length: draws * size }, (_, i) => sample[i % size]!),
    )
    const [{ y: evaluated }] = (await run(linear, 'eval', { x })) as [{ y: Float64Array }]
    const [{ y: sampled }] = (await run(linear, 'sample', { x })) as [{ y: Float64Array }]
    for (let i = 0; i < size; i++) {
      const own = sampled.filter((_, j) => j % size === i)
      const [moments] = channelMoments(own, [draws, 1])
      const error = Math.sqrt(moments!.variance / draws)
      expect(error).toBeGreaterThan(0)
      expect(Math.abs(moments!.mean - evaluated[i]!)).toBeLessThan(5 * error)
    }
  })

  test('a quarter of the elements is dropped, others are scaled up', async () => {
    const ones = Tensor.float32([100, 3, 100], new Float64Array(30_000).fill(1))
    for (const opset of [7, 9, 11, 12, 17, 22]) {
      const model = parseModel(`${header(opset)} net (float32[N, 3, p] x) => (y)
        <float32[1] one = {1} ${dropoutTensors(opset)}> { ${dropout(opset, 'y', 'x')} }`)
      for (const mode of modes) {
        const [{ y }] = (await run(model, mode, { x: ones })) as [{ y: Float64Array }]
        const kinds = [...new Set(y)].sort((a, b) => a - b)
        if (mode === 'eval' || mode === 'calibrate') expect(kinds).toEqual([1])
        else {
          expect(kinds.length).toBe(2)
          expect(kinds[0]).toBe(0)
          expect(kinds[1]).toBeCloseTo(1 / 0.75, 6)
          const kept = y.filter((v) => v > 0).length / y.length
          // Five standard errors of a share of 30,000.
          expect(Math.abs(kept - 0.75)).toBeLessThan(5 * Math.sqrt((0.75 * 0.25) / 30_000))
        }
      }
    }
  })

  test('seeds repeat the noise, runs and noises do not', async () => {
    const model =
      parseModel(`${header()} net (float32[N, 3, 4] x) => (a, b) <float32[1] one = {1} ${dropoutTensors(17)}>
      { a = Dropout (x, ratio, training)  b = Dropout (x, ratio, training) }`)
    const feeds = { x: input([20, 3, 4]) }
    const [first, second] = await run(model, 'train', feeds, { seed: 5, runs: 2 })
    const [again, after] = await run(model, 'train', feeds, { seed: 5, runs: 2 })
    const [other] = await run(model, 'train', feeds, { seed: 6 })
    expect(again).toEqual(first)
    expect(after).toEqual(second)
    expect(second!.a).not.toEqual(first!.a)
    expect(other!.a).not.toEqual(first!.a)
    expect(first!.a).not.toEqual(first!.b)
  })

  test('inputs that only switch noise vanish, others stay', () => {
    const model = parseModel(
      `${header()}
      net (float32[N, 3] x, bool training, float32 ratio, bool other) => (y, z)
      {
        y = Dropout (x, half, training)
        z = Identity (other)
      }`.replace('{', '<float32 half = {0.5}> {'),
    )
    for (const mode of modes)
      expect(toMode(model, mode).graph.inputs.map(({ name }) => name)).toEqual(['x', 'other'])
    const used = parseModel(`${header()}
      net (float32[N, 3] x, bool training) => (y, z) <float32 half = {0.5}>
      { y = Dropout (x, half, training)  z = Not (training) }`)
    expect(toMode(used, 'eval').graph.inputs.map(({ name }) => name)).toEqual(['x', 'training'])
  })

  test('a ratio that is not stored: off is possible, on is refused', () => {
    const model = parseModel(`${header()}
      net (float32[N, 3] x, float32 ratio) => (y) <bool training = {1}> { [drop] y = Dropout (x, ratio, training) }`)
    expect(toMode(model, 'eval').graph.inputs.map(({ name }) => name)).toEqual(['x'])
    expect(() => toMode(model, 'train')).toThrow(/'drop' cannot be switched on: its ratio is not stored/)
  })

  test('noise on what is no floating-point number is refused', () => {
    const model = parseModel(`${header()}
      net (int32[N, 3] x) => (y) <float32 half = {0.5}, bool training = {1}> { [drop] y = Dropout (x, half, training) }`)
    expect(() => toMode(model, 'train')).toThrow(/'drop' acts on values of type int32/)
  })

  for (const opset of [7, 9, 10, 11, 12, 17, 22])
    test(`the mask that a Dropout tells, opset ${opset}`, async () => {
      const type = opset < 10 ? 'float32' : 'bool'
      const model = parseModel(`${header(opset)}
        net (float32[N, 3] x) => (float32[N, 3] y, ${type}[N, 3] kept, float32[N, 3] masked)
        <float32[1] one = {1} ${dropoutTensors(opset)}>
        {
          ${dropout(opset, 'y, kept', 'x')}
          factors = Cast <to = 1> (kept)
          masked = Mul (x, factors)
        }`)
      const feeds = { x: input([50, 3]) }
      const values = feeds.x.toNumbers()
      for (const mode of modes) {
        const [result] = await run(model, mode, feeds)
        const { y, kept, masked } = result as Record<'y' | 'kept' | 'masked', Float64Array>
        const on = mode === 'train' || mode === 'sample'
        expectClose(y, on ? masked.map((v) => v / 0.75) : values, 1e-5)
        if (on) expect(new Set(kept)).toEqual(new Set([0, 1]))
        else expect(kept.every((k) => k === 1)).toBe(true)
      }
    })

  test('outputs of the graph that are outputs of noise keep their names', async () => {
    const model = parseModel(`${header()}
      net (float32[N, 3] x) => (out, mask) <float32[1] one = {1} ${dropoutTensors(17)}> { out, mask = Dropout (x, ratio, training) }`)
    const feeds = { x: input([4, 3]) }
    for (const mode of modes)
      expect(Object.keys((await run(model, mode, feeds))[0]!)).toEqual(['out', 'mask'])
    const [evaluated] = await run(model, 'eval', feeds)
    expectClose(evaluated!.out!, feeds.x.toNumbers(), 1e-7)
  })

  test('noise that a few nodes spell out is off and on like any other', async () => {
    const model = parseModel(`${header()}
      net (float32[N, 3] x) => (y) <float32 one = {1}>
      {
        r = RandomUniformLike <low = -0.5, high = 0.5> (x)
        factor = Add (r, one)
        y = Mul (x, factor)
      }`)
    const feeds = { x: Tensor.float32([4000, 3], new Float64Array(12_000).fill(2)) }
    const [evaluated] = await run(model, 'eval', feeds)
    expect(new Set(evaluated!.y)).toEqual(new Set([2]))
    expect(toMode(model, 'eval').graph.nodes.map(({ opType }) => opType)).toEqual(['Identity'])
    const [sampled] = await run(model, 'sample', feeds)
    const [moments] = channelMoments(sampled!.y!, [12_000, 1])
    // Uniform on 1..3: mean 2, variance 1/3; five standard errors.
    expect(Math.abs(moments!.mean - 2)).toBeLessThan(5 * Math.sqrt(1 / 3 / 12_000))
    expect(Math.abs(moments!.variance - 1 / 3)).toBeLessThan(0.02)
    expect(Math.min(...sampled!.y!)).toBeGreaterThanOrEqual(1)
    expect(Math.max(...sampled!.y!)).toBeLessThanOrEqual(3)
  })
})

test('models of float16 run in every mode', async () => {
  const half = statistics.replaceAll('float32', 'float16')
  const model = parseModel(`${header()}
    net (float16[N, 3, 5] x) => (float16[N, 3, 5] y)
    <${half}, float16[3, 3, 1] w = uniform(-3, 3, 5), float16 ratio = {0.25}, bool training = {1}>
    {
      c = Conv <kernel_shape = [1]> (x, w)
      d, kept = Dropout (c, ratio, training)
      f = Cast <to = 10> (kept)
      m = Mul (d, f)
      y = BatchNormalization <epsilon = ${epsilon}, training_mode = 1> (m, gamma, beta, mean, variance)
    }`)
  const dims = [40, 3, 5]
  const x = Tensor.of('float16', dims, uniform(600, -1, 1, 3))
  const outputs = new Map<Mode, Float64Array>()
  for (const mode of modes) outputs.set(mode, (await run(model, mode, { x }))[0]!.y!)
  for (const mode of ['train', 'calibrate'] as const)
    channelMoments(outputs.get(mode)!, dims).forEach((moments, c) => {
      expect(Math.abs(moments.mean - beta[c]!)).toBeLessThan(5e-3)
      expect(Math.abs(moments.variance / gamma[c]! ** 2 - 1)).toBeLessThan(0.02)
    })
  expect(outputs.get('eval')).not.toEqual(outputs.get('sample'))
})

test('modes leave the model as it was, and what is in them stays when set again', () => {
  const model = parseModel(`${header()}
    net (float32[N, 3] x) => (y) <${statistics} ${dropoutTensors(17)}>
    { d = Dropout (x, ratio, training)  y = BatchNormalization (d, gamma, beta, mean, variance) }`)
  const nodes = [...model.graph.nodes]
  for (const mode of modes) toMode(model, mode)
  expect(model.graph.nodes).toEqual(nodes)
  const evaluated = toMode(model, 'eval')
  expect(toMode(evaluated, 'eval').graph.nodes).toEqual(evaluated.graph.nodes)
})
