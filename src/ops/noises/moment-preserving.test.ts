import { expect, test } from 'vitest'
import { withGradients } from '../../autodiff/with-gradients.ts'
import { encodeModel } from '../../formats/onnx/index.ts'
import { layers, network } from '../../index.ts'
import { GraphBuilder } from '../../ir/builder.ts'
import { uniform } from '../../ir/random.ts'
import { Tensor } from '../../ir/tensor.ts'
import { parseModel } from '../../ir/text.ts'
import { createSession } from '../../runtime/session.ts'
import { momentPreserving } from './moment-preserving.ts'

const [samples, channels, positions] = [64, 3, 400]
const dims = [samples, channels, positions]
const ratio = 0.4

/** Channels that are far from normal: a skewed one, one with a large mean, a constant one. */
const x = uniform(samples * channels * positions, 0, 1, 5).map((u, i) => {
  const channel = Math.floor(i / positions) % channels
  return [u ** 4, 3 + u, -2][channel]!
})

const ofChannel = (values: ArrayLike<number>, channel: number) =>
  Array.from(values).filter((_, i) => Math.floor(i / positions) % channels === channel)

function momentsOf(values: readonly number[]): { mean: number; variance: number } {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length
  return { mean, variance: values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length }
}

function expectPreserved(y: ArrayLike<number>): void {
  const count = samples * positions
  for (const channel of [0, 1, 2]) {
    const [before, after] = [momentsOf(ofChannel(x, channel)), momentsOf(ofChannel(y, channel))]
    // Five standard errors; the fourth moments are below ten times the square of the variance.
    expect(Math.abs(after.mean - before.mean)).toBeLessThan(5 * Math.sqrt(before.variance / count) + 1e-5)
    expect(Math.abs(after.variance - before.variance)).toBeLessThan(
      5 * before.variance * Math.sqrt(10 / count) + 1e-9,
    )
  }
  // What is dropped becomes (1 - k) c.
  const { mean, variance } = momentsOf(ofChannel(x, 1))
  const k = Math.sqrt(variance / (variance + (ratio / (1 - ratio)) * (variance + mean ** 2)))
  const dropped = ofChannel(y, 1).filter((v) => Math.abs(v - (1 - k) * mean) < 1e-4).length
  expect(Math.abs(dropped - ratio * count)).toBeLessThan(5 * Math.sqrt(ratio * (1 - ratio) * count))
}

test.each([7, 12, 18, 22])('keeps mean and variance of every channel, opset %d', async (opset) => {
  const base = parseModel(
    `<ir_version: ${opset > 21 ? 10 : 8}, opset_import: ["": ${opset}]> g (float32[${dims}] x) => (y) { }`,
  )
  const build = new GraphBuilder(base)
  const y = momentPreserving.emit(build, 'x', { value: ratio, seed: 3 })
  const graph = {
    ...base.graph,
    nodes: build.nodes,
    initializers: build.initializers,
    outputs: [{ name: y }],
  }
  const session = await createSession(encodeModel({ ...base, graph }), { threads: 1 })
  const outputs = await session.run(new Map([['x', Tensor.float32(dims, x)]]))
  await session.release()
  expectPreserved(outputs.get(y)!.toNumbers())
})

test('as a node of a file it is off, and another runtime can switch it on', async () => {
  const made = network(layers.noise('moment-preserving', ratio), { input: dims.slice(1) })
  const run = async (model: typeof made.model) => {
    const session = await createSession(encodeModel(model), { threads: 1 })
    const outputs = await session.run(new Map([['x', Tensor.float32(dims, x)]]))
    await session.release()
    return [...outputs.values()][0]!.toNumbers()
  }
  const float32 = Float64Array.from(Float32Array.from(x))
  expect(await run(made.model)).toEqual(float32)
  expect(await run(made.eval())).toEqual(float32)
  expectPreserved(await run(made.train()))
  const [node] = made.model.graph.nodes
  const on = new Map(made.model.graph.initializers).set(node!.inputs[2]!, Tensor.of('bool', [], [1]))
  expectPreserved(await run({ ...made.model, graph: { ...made.model.graph, initializers: on } }))
})

test('gradients take the moments as constants: dy/dx = k m', async () => {
  const small = [8, 3, 5]
  const base = parseModel(`<opset_import: ["": 18]> g (float32[${small}] x, float32[${small}] w) => (y) { }`)
  const build = new GraphBuilder(base)
  const y = momentPreserving.emit(build, 'x', { value: ratio, seed: 3 })
  const loss = build.op('ReduceSum', [build.mul(y, 'w')], { keepdims: 0 })
  const graph = {
    ...base.graph,
    nodes: build.nodes,
    initializers: build.initializers,
    outputs: [{ name: y }],
  }
  const { model, gradients } = withGradients({ ...base, graph }, { loss, wrt: ['x'] })
  const dx = gradients.get('x')!
  const session = await createSession(
    encodeModel({ ...model, graph: { ...model.graph, outputs: [{ name: y }, { name: dx }] } }),
    { threads: 1 },
  )
  const [values, weights] = [uniform(120, 1, 2, 1), uniform(120, -1, 1, 2)]
  const outputs = await session.run(
    new Map([
      ['x', Tensor.float32(small, values)],
      ['w', Tensor.float32(small, weights)],
    ]),
  )
  await session.release()
  const [made, gradient] = [outputs.get(y)!.toNumbers(), outputs.get(dx)!.toNumbers()]
  for (let channel = 0; channel < 3; channel++) {
    const at = Array.from({ length: 120 }, (_, i) => i).filter((i) => Math.floor(i / 5) % 3 === channel)
    const { mean, variance } = momentsOf(at.map((i) => values[i]!))
    const k = Math.sqrt(variance / (variance + (ratio / (1 - ratio)) * (variance + mean ** 2)))
    // y = k m x + (1 - k) c.
    for (const i of at)
      expect(gradient[i]).toBeCloseTo((weights[i]! * (made[i]! - (1 - k) * mean)) / values[i]!, 5)
  }
})
