import { expect, test } from 'vitest'
import { factsOf } from '../../analysis/index.ts'
import { usesOf } from '../../ir/uses.ts'
import {
  autoencoder,
  convNet,
  denseNet,
  mlp,
  networkFamilies,
  parseNetwork,
  placementNamed,
  preResNet,
  resNet,
  resNeXt,
  vgg,
  wideResNet,
} from '../index.ts'

/** Parameters in millions and norms, as the sources (and PyTorch, for ResNet-50) count them. */
const counts: readonly [name: string, millions: number, norms: number | undefined, source: string][] = [
  ['preresnet-20', 0.27, undefined, 'arXiv:1512.03385, table 6'],
  ['preresnet-110', 1.7, undefined, 'arXiv:1512.03385, table 6'],
  ['preresnet-164-bottleneck', 1.7, 163, 'arXiv:1801.05134, where it is called PreResNet-110'],
  ['resnext-29-8x64', 34.43, 31, 'arXiv:1801.05134'],
  ['wrn-16-4', 2.7, undefined, 'arXiv:1605.07146, table 4'],
  ['wrn-28-10', 36.48, 25, 'arXiv:1801.05134'],
  ['densenet-bc-100-12', 0.77, 99, 'arXiv:1801.05134'],
  ['resnet-50', 25.557032, 53, 'PyTorch'],
]

test.each(counts)('%s has %d million parameters', (name, millions, norms) => {
  const made = parseNetwork(name).build()
  const digits = String(millions).split('.')[1]!.length
  expect((made.parameterCount / 1e6).toFixed(digits)).toBe(millions.toFixed(digits))
  if (norms) expect(factsOf(made.model).norms).toHaveLength(norms)
})

test.each(networkFamilies.flatMap(({ examples }) => examples))('%s is a name', (name) => {
  expect(parseNetwork(name).name).toBe(name)
})

const dropout = { kind: 'dropout', value: 0.5 }
const input = [3, 8, 8]
const small = {
  autoencoder: (options: object) => autoencoder.build({ sizes: [6, 5, 2] }, options),
  convnet: (options: object) => convNet.build({ widths: [4, 8] }, { input, ...options }),
  'densenet-bc': (options: object) => denseNet.build({ depth: 10, growth: 4 }, { input, ...options }),
  mlp: (options: object) => mlp.build({ sizes: [6, 8, 8, 3] }, options),
  preresnet: (options: object) => preResNet.build({ depth: 8, width: 4 }, { input, ...options }),
  'preresnet-bottleneck': (options: object) =>
    preResNet.build({ depth: 11, width: 4, bottleneck: true }, { input, ...options }),
  resnet: (options: object) => resNet.build({ depth: 50, width: 2 }, { input: [3, 32, 32], ...options }),
  resnext: (options: object) =>
    resNeXt.build({ depth: 11, cardinality: 2, groupWidth: 2, width: 4 }, { input, ...options }),
  vgg: (options: object) => vgg.build({ depth: 11, width: 2 }, options),
  wrn: (options: object) => wideResNet.build({ depth: 10, widen: 2, width: 2 }, { input, ...options }),
}

test.each(Object.entries(small))('%s has its noise where the placement says', (name, build) => {
  const around = (placement: string) => {
    const { model } = build({ noise: dropout, placement })
    const uses = usesOf(model.graph)
    return factsOf(model).noises.map(({ input, output, label }) => {
      expect(label).toMatch(/(^|\.)dropout$/)
      return [uses.producer(input)?.opType, ...uses.consumers(output).map(({ opType }) => opType)]
    })
  }
  const beforeNorm = around('before-norm')
  expect(beforeNorm.length).toBeGreaterThan(0)
  for (const neighbours of beforeNorm)
    expect(neighbours).toEqual([expect.stringMatching(/Conv|Gemm/), 'BatchNormalization'])
  const beforeWeight = around('b')
  expect(beforeWeight.length).toBeGreaterThan(0)
  for (const neighbours of beforeWeight)
    expect(neighbours).toEqual([
      expect.stringMatching(/Relu|Sigmoid|MaxPool/),
      expect.stringMatching(/Conv|Gemm/),
    ])
  if (name !== 'autoencoder')
    expect(around('after-last-norm').map((neighbours) => neighbours.at(-1))).toEqual(['Gemm'])
  expect(factsOf(build({}).model).noises).toEqual([])
})

test('a noise in the head reaches no norm', () => {
  for (const placement of ['head-before-pool', 'head-after-pool'] as const) {
    const { model } = small.preresnet({ noise: dropout, placement })
    expect(factsOf(model).noises).toHaveLength(1)
    expect(factsOf(model).paths).toEqual([])
  }
})

test('an mlp takes images of as many pixels', () => {
  const made = mlp.build({ sizes: [64, 8, 10] }, { input: [1, 8, 8], classes: 4 })
  expect(made.model.graph.outputs[0]!.type!.shape).toEqual(['N', 4])
  expect(() => mlp.build({ sizes: [64, 8, 10] }, { input: [3, 8, 8] })).toThrow(
    'mlp: made for 64 inputs, the samples have 192',
  )
})

test.each([
  [() => parseNetwork('resnet50v2'), "there is no network 'resnet50v2'; there are"],
  [() => parseNetwork('preresnet-21').build(), 'there is no depth 21; depths are 6 n + 2, such as 20 or 26'],
  [() => parseNetwork('preresnet-20').build({ classes: 0 }), 'classes must be a whole number above 0, got 0'],
  [() => parseNetwork('vgg-12-bn').build(), 'there is no depth 12; depths are 11, 13, 16, 19'],
  [() => parseNetwork('vgg-11-bn').build({ input: [3, 16, 16] }), "'pool5' cannot take a value of shape"],
  [() => parseNetwork('mlp-0-3'), 'expected at least two sizes above 0'],
  [() => placementNamed('c'), "there is no placement 'c'"],
  [() => small.mlp({ placement: 'head-before-pool', noise: dropout }), "mlp has no place 'head-before-pool'"],
  [() => small.mlp({ noise: dropout }), "noise 'dropout' needs a placement"],
  [() => small.mlp({ placement: 'before-norm' }), "placement 'before-norm' needs a noise"],
])('refuses what makes no network (%#)', (build, message) => {
  expect(build).toThrow(message)
})
