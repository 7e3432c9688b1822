import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { expectedOf, pathOf, recordedNetworks } from '../../test/conformance/oracle.ts'
import { readModel } from '../formats/onnx/read.ts'
import { labelOf } from '../ir/model.ts'
import { parseModel } from '../ir/text.ts'
import { factsOf } from './index.ts'

const declared = `<float32 r = {0.5}, bool t = {1}, float32[4] one = fill(1), float32[4] zero = fill(0),
  float32[8] one8 = fill(1), float32[8] zero8 = fill(0), float32[4, 4, 3, 3] w = uniform(-1, 1, 1), float32[4, 4] d = uniform(-1, 1, 2),
  float32 half = {0.5}, float32 keep = {0.5}, float32 none = {0}>`

function pathsOf(nodes: string, input = 'float32[N, 4, 8, 8] x') {
  const { paths } = factsOf(parseModel(`net (${input}) => (y) ${declared} { ${nodes} }`))
  return paths.map(({ noise, norm, through, steps, firstNonlinear }) => [
    `${noise.label || noise.key} > ${norm.label || norm.key}`,
    through,
    steps.map((node) => labelOf(node)).join(' '),
    ...(firstNonlinear ? [labelOf(firstNonlinear)] : []),
  ])
}

const norm = (x: string, y: string) => `[${y}] ${y} = BatchNormalization(${x}, one, zero, zero, one)`
const drop = (x: string, y = 'drop') => `[${y}] ${y} = Dropout(${x}, r, t)`

describe('kinds of ways', () => {
  test('direct: nothing, or nodes that move elements', () => {
    expect(pathsOf(`${drop('x')} ${norm('drop', 'y')}`)).toEqual([['drop > y', 'direct', '']])
    expect(
      pathsOf(`${drop('x')} p = Transpose <perm = [0, 1, 3, 2]> (drop) q = Identity(p) ${norm('q', 'y')}`),
    ).toEqual([['drop > y', 'direct', 'p q']])
  })

  test('linear: convolution, sums, average pooling', () => {
    expect(
      pathsOf(
        `${drop('x')} c = Conv <pads = [1, 1, 1, 1]> (drop, w) p = AveragePool <kernel_shape = [2, 2]> (c) ${norm('p', 'y')}`,
      ),
    ).toEqual([['drop > y', 'linear', 'c p']])
  })

  test('Relu passes a factor, but not a sum', () => {
    expect(pathsOf(`${drop('x')} a = Relu(drop) c = Conv(a, w) ${norm('c', 'y')}`)).toEqual([
      ['drop > y', 'linear', 'a c'],
    ])
    expect(pathsOf(`${drop('x')} c = Conv(drop, w) a = Relu(c) ${norm('a', 'y')}`)).toEqual([
      ['drop > y', 'nonlinear', 'c a', 'a'],
    ])
    // Factors of additive noise do not exist.
    expect(
      pathsOf(`n = RandomNormalLike(x) [add] z = Add(x, n) a = Relu(z) ${norm('a', 'y')}`)[0]?.slice(0, 2),
    ).toEqual(['add > y', 'nonlinear'])
  })

  test('max pooling passes only a factor that its window shares', () => {
    const pool = `p = MaxPool <kernel_shape = [2, 2]> (z) ${norm('p', 'y')}`
    expect(pathsOf(`[drop] z = Dropout(x, r, t) ${pool}`)[0]?.[1]).toBe('nonlinear')
    const spatial = `f = ReduceMean <axes = [2, 3]> (x) u = RandomUniformLike(f) b = Less(u, keep) m = Cast <to = 1> (b) k = Div(m, keep) [drop] z = Mul(x, k)`
    expect(pathsOf(`${spatial} ${pool}`)[0]?.[1]).toBe('linear')
  })

  test('another norm between', () => {
    expect(pathsOf(`${drop('x')} ${norm('drop', 'b')} c = Conv(b, w) ${norm('c', 'y')}`)).toEqual([
      ['drop > b', 'direct', ''],
      ['drop > y', 'nonlinear', 'b c', 'b'],
    ])
  })
})

describe('branches', () => {
  test('a residual sum: the way around the block is linear', () => {
    expect(
      pathsOf(
        `${drop('x')} ${norm('drop', 'b')} a = Relu(b) c = Conv <pads = [1, 1, 1, 1]> (a, w) s = Add(c, drop) ${norm('s', 'y')}`,
      ),
    ).toEqual([
      ['drop > b', 'direct', ''],
      ['drop > y', 'linear', 's'],
    ])
  })

  test('concatenation moves elements, a gate that the noise reaches does not', () => {
    expect(
      pathsOf(
        `${drop('x')} s = Concat <axis = 1> (drop, x) [y] y = BatchNormalization(s, one8, zero8, zero8, one8)`,
      ),
    ).toEqual([['drop > y', 'direct', 's']])
    expect(pathsOf(`${drop('x')} g = Sigmoid(x) s = Mul(drop, g) ${norm('s', 'y')}`)[0]?.[1]).toBe('linear')
    expect(pathsOf(`${drop('x')} g = Sigmoid(drop) s = Mul(drop, g) ${norm('s', 'y')}`)[0]?.[1]).toBe(
      'nonlinear',
    )
  })

  test('the shortest of several ways, and several noises', () => {
    expect(
      pathsOf(
        `${drop('x', 'd1')} i = Identity(d1) j = Identity(i) s = Add(j, d1) ${drop('s', 'd2')} ${norm('d2', 'y')}`,
      ),
    ).toEqual([
      ['d1 > y', 'linear', 's d2'],
      ['d2 > y', 'direct', ''],
    ])
  })

  test('shapes and indices carry nothing', () => {
    expect(
      pathsOf(`${drop('x')} s = Shape(drop) c = ConstantOfShape(s) z = Add(c, x) ${norm('z', 'y')}`),
    ).toEqual([])
  })

  test('a noise outside enters a branch', () => {
    expect(
      pathsOf(
        `${drop('x')} [if] z = If <then_branch = a () => (p) { p = Relu(drop) }, else_branch = b () => (q) { q = Identity(x) }> (c) ${norm('z', 'y')}`,
        'float32[N, 4, 8, 8] x, bool c',
      ),
    ).toEqual([['drop > y', 'nonlinear', 'if', 'if']])
  })
})

test('the classes that PyTorch exports were recorded with', () => {
  for (const network of recordedNetworks) {
    const { model } = readModel(readFileSync(pathOf(network, 'model.onnx')))
    const { norms, pathsTo } = factsOf(model)
    for (const [i, { module, exposure }] of expectedOf(network).norms.entries()) {
      const kinds = new Set(pathsTo.get(norms[i]!.key)!.map(({ through }) => through))
      const best = (['direct', 'linear', 'nonlinear'] as const).find((kind) => kinds.has(kind)) ?? 'none'
      // The recording calls concatenation linear and keeps what lies behind another norm apart.
      const same: Readonly<Record<string, readonly string[]>> = {
        linear: network === 'densenet' ? ['direct', 'linear'] : ['linear'],
        behind: ['nonlinear'],
      }
      expect({
        network,
        module,
        best: (same[exposure] ?? [exposure]).includes(best) ? best : exposure,
      }).toEqual({
        network,
        module,
        best,
      })
    }
  }
})

test('every path through a thousand layers with a noise in each block is found', () => {
  const blocks = 333
  const lines = Array.from({ length: blocks }, (_, i) => {
    const x = i === 0 ? 'x' : `s${i - 1}`
    return `a${i} = BatchNormalization(${x}, one, zero, zero, one) b${i} = Relu(a${i}) c${i} = Conv(b${i}, k)
      d${i} = BatchNormalization(c${i}, one, zero, zero, one) e${i} = Relu(d${i}) f${i} = Conv(e${i}, k) g${i} = Dropout(f${i}, r, t)
      h${i} = BatchNormalization(g${i}, one, zero, zero, one) i${i} = Relu(h${i}) j${i} = Conv(i${i}, k) s${i} = Add(${x}, j${i})`
  })
  const model = parseModel(`net (float32[N, 4, 8, 8] x) => (y)
    <float32 r = {0.5}, bool t = {1}, float32[4] one = fill(1), float32[4] zero = fill(0), float32[4, 4, 1, 1] k = uniform(-1, 1, 1)>
    { ${lines.join('\n')} y = Identity(s${blocks - 1}) }`)
  const facts = factsOf(model)
  const before = facts.noises.length + facts.norms.length
  const { paths } = facts
  expect(before).toBe(4 * blocks)
  // Each noise reaches the norm behind it and the three of every later block.
  expect(paths.length).toBe(blocks + (3 * blocks * (blocks - 1)) / 2)
  const longest = paths.filter(({ noise }) => noise.key === 'g0').at(-1)!
  expect(longest.through).toBe('nonlinear')
  expect(longest.steps.length).toBeGreaterThan(3)
})
