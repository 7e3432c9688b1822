import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
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
  preResNet,
  resNet,
  resNeXt,
  vgg,
  wideResNet,
} from '../../src/models/index.ts'
import { createSession } from '../../src/runtime/session.ts'

/** What PyTorch made of the same networks; see scripts/oracle/record_models.py. */
interface Recorded {
  readonly seed: number
  readonly parameters: number
  readonly eval: readonly number[]
  readonly train: readonly number[]
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

/** What the model makes of the first four samples of a batch of 16. */
async function outputOf(model: Model, seed: number): Promise<Float64Array> {
  const dims = [16, ...(model.graph.inputs[0]!.type!.shape!.slice(1) as number[])]
  const x = Tensor.float32(dims, uniform(elementCount(dims), -1, 1, seedOf(seed, 'x0')))
  const session = await createSession(encodeModel(model), { threads: 1 })
  const outputs = await session.run(new Map([['x', x]]))
  await session.release()
  const y = outputs.get(model.graph.outputs[0]!.name)!
  return y.toNumbers().slice(0, y.size / 4)
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length)
  return Array.from(a).reduce((most, v, i) => Math.max(most, Math.abs(v - b[i]!)), 0)
}

describe.each(Object.entries(networks))('%s', (name, build) => {
  const expected = recorded[name]!
  const network = started(build(), expected.seed)

  test('has PyTorch’s parameters by name', () => {
    expect(network.parameterCount).toBe(expected.parameters)
    expect([...network.state().keys()].sort()).toEqual(Object.keys(expected.final).sort())
  })

  test('gives PyTorch’s outputs in eval mode', async () => {
    expect(largestDifference(await outputOf(network.eval(), expected.seed), expected.eval)).toBeLessThan(1e-4)
  })

  test('gives PyTorch’s outputs in train mode', async () => {
    expect(largestDifference(await outputOf(network.train(), expected.seed), expected.train)).toBeLessThan(
      1e-4,
    )
  })
})
