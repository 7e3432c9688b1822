import { expect, test } from 'vitest'
import { factsOf } from '../../analysis/index.ts'
import { usesOf } from '../../ir/uses.ts'
import { convNet, mlp, networkFamilies, parseNetwork, placementNamed, preResNet, vgg } from '../index.ts'

/** Parameters, in thousands, by count of the definition or as the source prints them. */
const counts: Readonly<Record<string, number>> = {
  // He et al., arXiv:1512.03385, table 6: 0.27 M and 1.7 M; Li et al., arXiv:1801.05134: 1.70 M.
  'preresnet-20': 272.282,
  'preresnet-110': 1730.522,
  'preresnet-164-bottleneck': 1703.258,
}

test.each(Object.entries(counts))('%s has %d thousand parameters', (name, thousands) => {
  expect(parseNetwork(name).build().parameterCount).toBe(thousands * 1000)
})

test.each(networkFamilies.flatMap(({ examples }) => examples))('%s is a name', (name) => {
  expect(parseNetwork(name).name).toBe(name)
})

const dropout = { kind: 'dropout', value: 0.5 }
const small = {
  convnet: (options: object) => convNet.build({ widths: [4, 8] }, { input: [1, 8, 8], ...options }),
  mlp: (options: object) => mlp.build({ sizes: [6, 8, 8, 3] }, options),
  preresnet: (options: object) => preResNet.build({ depth: 8, width: 4 }, { input: [3, 8, 8], ...options }),
  'preresnet-bottleneck': (options: object) =>
    preResNet.build({ depth: 11, width: 4, bottleneck: true }, { input: [3, 8, 8], ...options }),
  vgg: (options: object) => vgg.build({ depth: 11, width: 2 }, options),
}

test.each(Object.entries(small))('%s has its noise where the placement says', (_, build) => {
  const around = (placement: string) => {
    const { model } = build({ noise: dropout, placement: placementNamed(placement) })
    const uses = usesOf(model.graph)
    return factsOf(model).noises.map(({ input, output, label }) => {
      expect(label).toMatch(/(^|\.)dropout$/)
      return [uses.producer(input)?.opType, ...uses.consumers(output).map(({ opType }) => opType)]
    })
  }
  for (const neighbours of around('before-norm'))
    expect(neighbours).toEqual([expect.stringMatching(/Conv|Gemm/), 'BatchNormalization'])
  for (const neighbours of around('before-weight'))
    expect(neighbours).toEqual([expect.stringMatching(/Relu|MaxPool/), expect.stringMatching(/Conv|Gemm/)])
  expect(around('b')).toEqual(around('before-weight'))
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
