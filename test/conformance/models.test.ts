import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { encodeNpz } from '../../src/data/npz-write.ts'
import { openDataset } from '../../src/data/open.ts'
import { encodeModel } from '../../src/formats/onnx/index.ts'
import type { Model } from '../../src/ir/model.ts'
import { seedOf, uniform } from '../../src/ir/random.ts'
import { elementCount, Tensor } from '../../src/ir/tensor.ts'
import {
  autoencoder,
  convNet,
  denseNet,
  mlp,
  type Network,
  noiseKinds,
  preResNet,
  resNet,
  resNeXt,
  vgg,
  wideResNet,
} from '../../src/models/index.ts'
import { memoryFiles } from '../../src/platform/web.ts'
import { createSession } from '../../src/runtime/session.ts'
import { trainer } from '../../src/train/trainer.ts'

/** What PyTorch made of the same networks; see scripts/oracle/record_models.py. */
interface Recorded {
  readonly seed: number
  readonly parameters: number
  readonly eval: readonly number[]
  readonly train: readonly number[]
  /** Of each step of SGD on one batch; none for a network that was not trained. */
  readonly losses: readonly number[]
  /** A few elements, evenly spaced, of every parameter and statistic after the last step. */
  readonly final: Readonly<Record<string, readonly number[]>>
}

const recorded = JSON.parse(
  readFileSync(new URL('../oracle/models.json', import.meta.url), 'utf8'),
) as Readonly<Record<string, Recorded>>

const input = [3, 8, 8]
const networks: Readonly<Record<string, () => Network>> = {
  preresnet: () => preResNet.build({ depth: 8, width: 4 }, { input }),
  'preresnet-bottleneck': () => preResNet.build({ depth: 11, bottleneck: true, width: 3 }, { input }),
  wrn: () => wideResNet.build({ depth: 10, widen: 2, width: 3 }, { input }),
  resnext: () => resNeXt.build({ depth: 11, cardinality: 2, groupWidth: 4, width: 8 }, { input }),
  resnet: () => resNet.build({ depth: 50, width: 8 }, { input: [3, 64, 64], classes: 10 }),
  'densenet-bc': () => denseNet.build({ depth: 16, growth: 3 }, { input }),
  vgg: () => vgg.build({ depth: 11, width: 4 }),
  convnet: () => convNet.build({ widths: [4, 8] }, { input }),
  mlp: () => mlp.build({ sizes: [12, 16, 16, 10] }),
  autoencoder: () => autoencoder.build({ sizes: [12, 8, 4] }),
}

/** The values that both sides start from. */
function started(network: Network, seed: number): Network {
  const values = (name: string, dims: readonly number[]) => {
    const within = (low: number, high: number) => uniform(elementCount(dims), low, high, seedOf(seed, name))
    if (name.endsWith('running_var') || (name.endsWith('weight') && dims.length === 1))
      return within(0.6, 1.4)
    const bound = name.endsWith('weight') ? Math.sqrt(3 / elementCount(dims.slice(1))) : 0.2
    return within(-bound, bound)
  }
  const state = [...network.state()].map(
    ([name, { dims }]) => [name, Tensor.float32(dims, values(name, dims))] as const,
  )
  return network.withState(new Map(state))
}

function batchOf(network: Network, seed: number): Tensor {
  const dims = [16, ...(network.model.graph.inputs[0]!.type!.shape!.slice(1) as number[])]
  return Tensor.float32(dims, uniform(elementCount(dims), -1, 1, seedOf(seed, 'x')))
}

/** What the model makes of the first four samples of the batch. */
async function outputOf(model: Model, x: Tensor): Promise<Float64Array> {
  const session = await createSession(encodeModel(model), { threads: 1 })
  const outputs = await session.run(new Map([['x', x]]))
  await session.release()
  const y = outputs.get(model.graph.outputs[0]!.name)!
  return y.toNumbers().slice(0, y.size / 4)
}

/** Losses of as many steps as PyTorch recorded, and the parameters and statistics after them. */
async function trained(name: string, network: Network, x: Tensor, steps: number) {
  const labels = Tensor.int64(
    [16],
    Array.from({ length: 16 }, (_, i) => (i * 7) % 10),
  )
  const files = memoryFiles(
    new Map([
      [
        'data.npz',
        encodeNpz(
          new Map([
            ['x', x],
            ['labels', labels],
          ]),
        ),
      ],
    ]),
  )
  const training = await trainer(network.model, {
    data: await openDataset('data.npz', files),
    batchSize: 16,
    epochs: steps,
    optimizer: 'sgd:momentum=0.9,weight-decay=0.0001',
    decay: 'all',
    learningRate: 0.01,
    statistics: { variance: 'unbiased' },
    threads: 1,
    ...(name === 'autoencoder' ? { loss: 'mse', target: 'input' } : {}),
  })
  const losses: number[] = []
  for await (const event of training) if (event.type === 'step') losses.push(event.loss)
  const values = new Map<string, ArrayLike<number>>()
  for (const edit of training.edits())
    if (edit.kind === 'set-tensor') values.set(edit.value, edit.tensor.toNumbers())
    else if (edit.kind === 'set-running-statistics') {
      values.set(`${edit.node}.running_mean`, edit.mean)
      values.set(`${edit.node}.running_var`, edit.variance)
    }
  return { losses, values }
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length)
  return Array.from(a).reduce((most, v, i) => Math.max(most, Math.abs(v - b[i]!)), 0)
}

/** To 1e-4 of the largest. */
const expectClose = (outputs: Float64Array, expected: readonly number[]) =>
  expect(largestDifference(outputs, expected)).toBeLessThan(1e-4 * Math.max(...expected.map(Math.abs)))

describe.each(Object.entries(networks))('%s', (name, build) => {
  const expected = recorded[name]!
  const network = started(build(), expected.seed)
  const x = batchOf(network, expected.seed)

  test('has PyTorch’s parameters by name', () => {
    expect(network.parameterCount).toBe(expected.parameters)
    expect([...network.state().keys()].sort()).toEqual(Object.keys(expected.final).sort())
  })

  test('gives PyTorch’s outputs in eval mode', async () => {
    expectClose(await outputOf(network.eval(), x), expected.eval)
  })

  test('gives PyTorch’s outputs in train mode', async () => {
    expectClose(await outputOf(network.train(), x), expected.train)
  })

  test.skipIf(expected.losses.length === 0)('trains as in PyTorch', async () => {
    const { losses, values } = await trained(name, network, x, expected.losses.length)
    expect(largestDifference(losses, expected.losses)).toBeLessThan(1e-3)
    for (const [parameter, samples] of Object.entries(expected.final)) {
      const all = values.get(parameter)!
      const own = samples.map((_, i) => all[Math.floor((i * all.length) / samples.length)]!)
      expect({ parameter, off: largestDifference(own, samples) > 1e-3 }).toEqual({ parameter, off: false })
    }
  })
})

test.each(noiseKinds)('a network with noise %s trains', async (kind) => {
  const network = convNet.build(
    { widths: [4, 8] },
    { input, noise: { kind, value: 0.3 }, placement: 'before-norm' },
  )
  const { losses, values } = await trained('convnet', network, batchOf(network, 0), 40)
  expect(losses.at(-1)).toBeLessThan(losses[0]!)
  expect([...values.keys()].sort()).toEqual([...network.state().keys()].sort())
})
