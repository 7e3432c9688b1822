import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { readModel } from '../formats/onnx/read.ts'
import { inlineFunctions } from '../ir/inline-functions.ts'
import { parseModel } from '../ir/text.ts'
import type { Noise } from './facts.ts'
import { factsOf } from './index.ts'

const noisesOf = (text: string): readonly Noise[] => factsOf(parseModel(text)).noises

const summary = ({ kind, parameter, sharing, active, input, output }: Noise) => ({
  kind,
  value: parameter.value,
  sharing,
  active,
  input,
  output,
})

describe('files that PyTorch exported, or that spell a noise out as exporters do', () => {
  const folder = new URL('../../test/oracle/noise/', import.meta.url)
  const { graphs } = JSON.parse(readFileSync(new URL('noise.json', folder), 'utf8')) as {
    graphs: { name: string; file: string | null; value: number; shares: string; kind: string }[]
  }
  const kinds: Readonly<Record<string, readonly string[]>> = {
    bernoulli: ['dropout', 'spatial-dropout', 'drop-path'],
    gaussian: ['gaussian'],
    uniform: ['uout'],
    additive: ['additive-gaussian'],
    alpha: ['alpha-dropout'],
  }
  for (const { file, value, shares, kind } of graphs) {
    if (!file) continue
    test(file, () => {
      const { model } = readModel(readFileSync(new URL(file, folder)))
      const { noises } = factsOf(inlineFunctions(model))
      expect(noises).toHaveLength(1)
      expect(kinds[kind]).toContain(noises[0]!.kind)
      expect(noises[0]!.parameter.value).toBeCloseTo(value, 6)
      expect(noises[0]!.sharing).toBe(shares)
    })
  }
})

describe('Dropout', () => {
  const dropout = (opset: number, node: string, more = '') =>
    noisesOf(`<opset_import: ["": ${opset}]> net (float32[N, 4] x${more}) => (y)
      <float32 r = {0.25}, bool on = {1}, bool off = {0}> { [drop] y = ${node} }`).map(summary)[0]

  test('since opset 12 ratio and mode are inputs', () => {
    expect(dropout(13, 'Dropout(x, r, on)')).toMatchObject({ value: 0.25, active: 'always' })
    expect(dropout(13, 'Dropout(x, r, off)')).toMatchObject({ value: 0.25, active: 'never' })
    expect(dropout(13, 'Dropout(x)')).toMatchObject({ value: 0.5, active: 'never' })
    expect(dropout(13, 'Dropout(x, r, mode)', ', bool mode')).toMatchObject({ active: 'dynamic' })
    expect(dropout(13, 'Dropout(x, p, on)', ', float32 p')).toMatchObject({ value: undefined })
  })

  test('before that attributes', () => {
    expect(dropout(10, 'Dropout <ratio = 0.1> (x)')).toMatchObject({ value: 0.1, active: 'never' })
    expect(dropout(6, 'Dropout <ratio = 0.1> (x)')).toMatchObject({ active: 'always' })
    expect(dropout(6, 'Dropout <is_test = 1> (x)')).toMatchObject({ value: 0.5, active: 'never' })
  })

  test('of ones it makes a mask for something else', () => {
    const [noise, ...others] = noisesOf(`
      net (float32[N, 4, 8, 8] x) => (y)
      <float32 r = {0.5}, bool on = {1}, float32 one = {1}, int64[1] a = {0}, int64[1] b = {2}, int64[2] ones = {1, 1}>
      {
        s = Shape(x)
        lead = Slice(s, a, b, a)
        t = Concat <axis = 0> (lead, ones)
        e = Expand(one, t)
        m = Dropout(e, r, on)
        y = Mul(m, x)
      }`)
    expect(others).toEqual([])
    expect(summary(noise!)).toEqual({
      kind: 'spatial-dropout',
      value: 0.5,
      sharing: 'channel',
      active: 'always',
      input: 'x',
      output: 'y',
    })
    expect(noise?.sharedAxes).toEqual([2, 3])
    expect(noise?.nodes.map(({ opType }) => opType)).toEqual(['Dropout', 'Mul'])
  })
})

describe('patterns', () => {
  const spelled = (nodes: string, declarations = '') =>
    noisesOf(`net (float32[N, 4] x, float32[N, 4] z) => (y)
      <float32 keep = {0.8}, float32 half = {0.5}, float32 zero = {0}, float32 one = {1}, float32 five = {5}${declarations}> { ${nodes} }`)

  const dropped = { kind: 'dropout', sharing: 'element', active: 'always', input: 'x', output: 'y' }
  for (const [name, nodes] of [
    [
      'masked, then scaled',
      'u = RandomUniformLike(x) b = Less(u, keep) m = Cast <to = 1> (b) p = Mul(x, m) y = Div(p, keep)',
    ],
    [
      'scaled, then masked',
      'u = RandomUniformLike(x) q = Add(u, keep) m = Floor(q) p = Div(x, keep) y = Mul(p, m)',
    ],
    [
      'kept where larger',
      'u = RandomUniformLike(x) k = Sub(one, keep) b = GreaterOrEqual(u, k) m = Cast <to = 1> (b) d = Div(m, keep) y = Mul(d, x)',
    ],
    ['selected', 'u = RandomUniformLike(x) b = Less(u, keep) p = Div(x, keep) y = Where(b, p, zero)'],
    [
      'filled where dropped',
      'u = RandomUniformLike(x) b = Greater(u, keep) p = Where(b, zero, x) y = Div(p, keep)',
    ],
    ['Bernoulli', 's = Shape(x) p = Expand(keep, s) b = Bernoulli(p) m = Mul(x, b) y = Div(m, keep)'],
  ] as const)
    test(`dropout: ${name}`, () => {
      const noises = spelled(nodes)
      expect(noises.map(summary)).toMatchObject([dropped])
      expect(noises[0]?.parameter.value).toBeCloseTo(0.2, 6)
      expect(noises[0]?.relativeVariance).toBeCloseTo(0.25, 6)
    })

  test('Gaussian, uniform and additive noise, however the terms are ordered', () => {
    expect(
      spelled('n = RandomNormalLike(x) s = Mul(n, half) f = Add(s, one) y = Mul(f, x)').map(summary),
    ).toMatchObject([{ kind: 'gaussian', value: 0.5 }])
    expect(
      spelled('n = RandomNormalLike <scale = 0.5> (x) p = Mul(n, x) y = Add(x, p)').map(summary),
    ).toMatchObject([{ kind: 'gaussian', value: 0.5 }])
    expect(
      spelled('n = RandomUniformLike <low = -0.1, high = 0.1> (x) p = Mul(x, n) y = Add(x, p)').map(summary),
    ).toMatchObject([{ kind: 'uout', value: 0.1 }])
    expect(spelled('n = RandomNormalLike <scale = 0.5> (x) y = Sub(x, n)').map(summary)).toMatchObject([
      { kind: 'additive-gaussian', value: 0.5 },
    ])
  })

  test('a mask drawn for each sample', () => {
    const noises =
      noisesOf(`net (float32[N, 4, 8, 8] x) => (y) <float32 keep = {0.8}, int64[1] a = {0}, int64[1] b = {1}>
      {
        first = ReduceMean <axes = [1, 2, 3]> (x)
        u = RandomUniformLike(first)
        q = Less(u, keep)
        m = Cast <to = 1> (q)
        d = Div(m, keep)
        y = Mul(x, d)
      }`)
    expect(noises.map(summary)).toMatchObject([{ kind: 'drop-path', sharing: 'sample' }])
    expect(noises[0]?.sharedAxes).toEqual([1, 2, 3])
  })

  test('channels that come last', () => {
    const [noise] = noisesOf(`net (float32[N, 8, 8, 4] x) => (y) <float32 keep = {0.8}>
      { f = ReduceMean <axes = [1, 2]> (x) u = RandomUniformLike(f) q = Less(u, keep) m = Cast <to = 1> (q) d = Div(m, keep) y = Mul(x, d) }`)
    expect(noise).toMatchObject({ kind: 'spatial-dropout', sharing: 'channel', sharedAxes: [1, 2] })
  })

  test('what is random but no noise of mean 1 is left alone', () => {
    expect(spelled('n = RandomNormalLike(x) y = Mul(x, n)')).toEqual([])
    expect(spelled('u = RandomUniformLike(x) b = Less(u, keep) m = Cast <to = 1> (b) y = Mul(x, m)')).toEqual(
      [],
    )
    expect(spelled('n = RandomNormalLike(x) y = Mul(n, half)')).toEqual([])
    expect(spelled('u = RandomUniformLike(x) b = Less(u, keep) y = Where(b, x, z)')).toEqual([])
    expect(spelled('n = RandomUniformLike(x) y = Add(x, n)')).toEqual([])
  })

  test('noises come in graph order and name all their nodes', () => {
    const noises = spelled(
      'a = RandomNormalLike <scale = 0.5> (x) b = Add(x, a) n = RandomNormalLike <mean = 1.0, scale = 0.5> (b) c = Mul(b, n) y = Relu(c)',
    )
    expect(noises.map(({ kind, key }) => [kind, key])).toEqual([
      ['additive-gaussian', 'b'],
      ['gaussian', 'c'],
    ])
    expect(noises[1]?.nodes.map(({ opType }) => opType)).toEqual(['RandomNormalLike', 'Mul'])
  })
})
