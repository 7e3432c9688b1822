import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { encodeModel, readModel } from '../formats/onnx/index.ts'
import type { Model } from '../ir/model.ts'
import { uniform } from '../ir/random.ts'
import { Tensor } from '../ir/tensor.ts'
import { createSession } from '../runtime/session.ts'
import {
  add,
  averagePool,
  batchNorm,
  concat,
  conv,
  dropout,
  elu,
  flatten,
  gelu,
  globalAveragePool,
  globalMaxPool,
  groupNorm,
  type Layer,
  layerNorm,
  leakyRelu,
  linear,
  logSoftmax,
  maxPool,
  type Network,
  network,
  noise,
  noiseKinds,
  relu,
  reshape,
  selu,
  sequential,
  sigmoid,
  silu,
  softmax,
  softplus,
  tanh,
  upsample,
  type Value,
} from './index.ts'

const run = async (model: Model, dims: readonly number[]) => {
  const session = await createSession(encodeModel(model), { threads: 1 })
  const size = dims.reduce((n, d) => n * d, 1)
  const outputs = await session.run(new Map([['x', Tensor.float32(dims, uniform(size, -1, 1, 3))]]))
  await session.release()
  return outputs
}

const labels = ({ model }: Network) => model.graph.nodes.map(({ origin }) => origin?.label)

test('the three styles build the same network', () => {
  class Block implements Layer {
    readonly bn1 = batchNorm()
    readonly conv1 = conv(4, 3, { padding: 1, bias: false })
    forward = (x: Value) => add(x, x.through(this.bn1, relu, this.conv1))
  }
  const inClass = {
    stem: conv(4, 1),
    blocks: [new Block(), new Block()],
    fc: linear(2),
    forward(x: Value) {
      return x.through(this.stem, ...this.blocks, globalAveragePool, flatten, this.fc)
    },
  }
  const block = () => {
    const parts = { bn1: batchNorm(), conv1: conv(4, 3, { padding: 1, bias: false }) }
    return { ...parts, forward: (x: Value) => add(x, x.through(parts.bn1, relu, parts.conv1)) }
  }
  const inRow = sequential({
    stem: conv(4, 1),
    blocks: sequential([block(), block()]),
    pool: globalAveragePool,
    flatten,
    fc: linear(2),
  })
  const input = [3, 5, 5]
  const [a, b] = [network(inClass, { input }), network(inRow, { input })]
  const parts = ({ model }: Network) =>
    model.graph.nodes.map(({ opType, attributes }) => [opType, attributes])
  expect(parts(a)).toEqual(parts(b))
  expect(a.state()).toEqual(b.state())
  expect(a.parameters).toEqual([
    'stem.weight',
    'stem.bias',
    'blocks.0.bn1.weight',
    'blocks.0.bn1.bias',
    'blocks.0.conv1.weight',
    'blocks.1.bn1.weight',
    'blocks.1.bn1.bias',
    'blocks.1.conv1.weight',
    'fc.weight',
    'fc.bias',
  ])
  expect(a.statistics).toEqual(
    [0, 1].flatMap((i) => [`blocks.${i}.bn1.running_mean`, `blocks.${i}.bn1.running_var`]),
  )
  expect(labels(a)).toContain('blocks.1.bn1')
  expect(a.parameterCount).toBe(3 * 4 + 4 + 2 * (8 + 4 * 4 * 9) + 4 * 2 + 2)
})

test('layers without a name are named after what they are', () => {
  const made = network(
    (x) => x.through(conv(2, 3), batchNorm(), relu, conv(2, 3), relu, flatten, linear(3)),
    { input: [1, 7, 7] },
  )
  expect(labels(made)).toEqual(['conv', 'bn', 'relu', 'conv_1', 'relu_1', 'flatten', 'linear'])
})

test('a layer that is used twice shares its parameters', async () => {
  const shared = sequential({ fc: linear(4), relu })
  const made = network((x) => x.through(shared, shared), { input: [4] })
  expect(made.parameters).toHaveLength(2)
  expect(labels(made)).toEqual(['linear', 'relu', 'linear', 'relu'])
  expect((await run(made.eval(), [2, 4])).size).toBe(1)
  const misused = linear(4)
  expect(() => network((x) => x.through(misused, misused), { input: [3] })).toThrow(
    "'linear.weight' has shape [4, 3] and cannot be used again as [4, 4]",
  )
})

test('parameters depend on the seed and on their names', () => {
  const build = (seed: number) => network(sequential([linear(4), linear(4)]), { input: [4], seed })
  const weight = (made: Network, name: string) => made.state().get(name)!.bytes
  expect(weight(build(1), '0.weight')).toEqual(weight(build(1), '0.weight'))
  expect(weight(build(1), '0.weight')).not.toEqual(weight(build(2), '0.weight'))
  expect(weight(build(1), '0.weight')).not.toEqual(weight(build(1), '1.weight'))
})

test('withState takes values by name and refuses others', () => {
  const made = network(sequential({ bn: batchNorm(), fc: linear(2) }), { input: [3] })
  const mean = Tensor.float32([3], [1, 2, 3])
  const changed = made.withState(new Map([['bn.running_mean', mean]]))
  expect(changed.state().get('bn.running_mean')).toBe(mean)
  expect(made.state().get('bn.running_mean')!.toNumbers()).toEqual(new Float64Array(3))
  expect(() => made.withState(new Map([['fc.weights', mean]]))).toThrow("no parameter 'fc.weights'")
  expect(() => made.withState(new Map([['fc.weight', mean]]))).toThrow(
    "'fc.weight' is float32[2, 3], got float32[3]",
  )
})

test('train, eval and sample switch noise and norms', async () => {
  const made = network(sequential({ fc: linear(16), dropout: dropout(0.5), bn: batchNorm() }), { input: [4] })
  const values = async (model: Model) => [...(await run(model, [64, 4])).values()][0]!.toNumbers()
  const mean = (all: Float64Array) => all.filter((_, i) => i % 16 === 0).reduce((sum, v) => sum + v, 0) / 64
  const [train, evaluated, sample] = [
    await values(made.train({ seed: 1 })),
    await values(made.eval()),
    await values(made.sample({ seed: 1 })),
  ]
  expect(mean(train)).toBeCloseTo(0, 5)
  expect(Math.abs(mean(evaluated))).toBeGreaterThan(1e-2)
  const dropped = sample.filter((v) => v === 0).length
  expect(dropped).toBeGreaterThan(400)
  expect(dropped).toBeLessThan(624)
  expect(evaluated.filter((v) => v === 0)).toHaveLength(0)
})

/** Every layer, with the shape of a sample of its result. */
const cases: readonly [string, readonly number[], (x: Value) => Value, readonly number[]][] = [
  ['conv 1-d', [4, 9], (x) => x.through(conv(6, 3, { stride: 2, groups: 2 })), [6, 4]],
  [
    'conv 2-d',
    [3, 8, 9],
    (x) => x.through(conv(4, [3, 5], { padding: 'same', dilation: [2, 1] })),
    [4, 8, 9],
  ],
  ['conv 3-d', [2, 4, 4, 4], (x) => x.through(conv(3, 2, { padding: 1 })), [3, 5, 5, 5]],
  ['linear', [5], (x) => x.through(linear(3)), [3]],
  ['linear on a sequence', [7, 5], (x) => x.through(linear(3)), [7, 3]],
  ['linear without bias', [7, 5], (x) => x.through(linear(3, { bias: false })), [7, 3]],
  ['batchNorm of vectors', [5], (x) => x.through(batchNorm({ scale: 2, shift: 1 })), [5]],
  ['layerNorm', [5, 6], (x) => x.through(layerNorm({ axes: 2 })), [5, 6]],
  ['groupNorm', [6, 4, 4], (x) => x.through(groupNorm(3)), [6, 4, 4]],
  ['groupNorm of vectors', [6], (x) => x.through(groupNorm(2)), [6]],
  ['activations', [6], (x) => x.through(relu, sigmoid, tanh, selu, softplus, silu, gelu), [6]],
  ['more activations', [6], (x) => x.through(leakyRelu(0.1), elu(), softmax(), logSoftmax(1)), [6]],
  ['maxPool', [2, 7, 7], (x) => x.through(maxPool(3, { stride: 2, padding: 1 })), [2, 4, 4]],
  ['averagePool', [2, 8], (x) => x.through(averagePool(2)), [2, 4]],
  ['global pools', [2, 3, 3], (x) => add(globalAveragePool(x), globalMaxPool(x)), [2, 1, 1]],
  ['reshape', [2, 3, 4], (x) => x.through(reshape(6, -1), flatten), [24]],
  ['upsample', [2, 3, 4], (x) => x.through(upsample([2, 3])), [2, 6, 12]],
  ['concat', [2, 3], (x) => concat([x, relu(x)], 2), [2, 6]],
]

test.each(cases)('%s: the shape is the runtime’s', async (_, input, layer, expected) => {
  const made = network(layer, { input })
  const [output] = made.model.graph.outputs
  expect(output!.type!.shape).toEqual(['N', ...expected])
  const result = await run(made.eval(), [2, ...input])
  expect(result.get(output!.name)!.dims).toEqual([2, ...expected])
  expect(result.get(output!.name)!.toNumbers().every(Number.isFinite)).toBe(true)
})

test.each(noiseKinds)('noise %s is found in the model, also behind a file', (kind) => {
  const made = network(sequential({ conv: conv(4, 3), noise: noise(kind, 0.25), bn: batchNorm() }), {
    input: [3, 8, 8],
  })
  const file = encodeModel(made.model)
  const { model } = readModel(file)
  for (const found of [factsOf(made.model).noises, factsOf(model).noises])
    expect(found).toMatchObject([{ kind, label: 'noise', parameter: { value: 0.25 } }])
  expect(factsOf(made.eval()).noises).toEqual([])
})

test('several outputs have the names of their keys', async () => {
  const code = linear(2)
  const made = network(
    (x) => {
      const inside = x.through(code, sigmoid)
      return { code: inside, reconstruction: inside.through(linear(4)) }
    },
    { input: [4] },
  )
  expect([...(await run(made.eval(), [3, 4])).keys()]).toEqual(['code', 'reconstruction'])
})

test.each([
  [() => network(conv(4, 3), { input: [5] }), 'conv takes samples of shape channels x positions, got [5]'],
  [() => network(conv(4, 3), { input: [3, 2, 2] }), "'conv' cannot take a value of shape [N, 3, 2, 2]"],
  [
    () => network(conv(4, 3, { groups: 2 }), { input: [3, 8, 8] }),
    '3 channels and 4 outputs do not fall into 2',
  ],
  [() => network(conv(4, [3, 3]), { input: [3, 8] }), 'expected 1 numbers, one for each axis, got 2'],
  [() => network(reshape(5, -1), { input: [6] }), 'a sample of shape [6] does not fill [5, -1]'],
  [
    () => network((x) => concat([x, x.through(averagePool(2))]), { input: [2, 4] }),
    "concat: shapes do not fit: 'x' [N, 2, 4], 'averagePool' [N, 2, 2]",
  ],
  [
    () => network((x) => add(x, flatten(x)), { input: [2, 4] }),
    "add: shapes do not fit: 'x' [N, 2, 4], 'flatten' [N, 8]",
  ],
  [() => network(relu, { input: [0] }), 'the input of a network needs whole sizes above 0, got [0]'],
  [() => noise('droput', 0.5), "there is no noise 'droput'"],
  [() => dropout(1), 'ratio must be from 0 to below 1, got 1'],
  [() => dropout(Number.NaN), 'got NaN'],
])('refuses what makes no network (%#)', (build, message) => {
  expect(build).toThrow(message)
})
