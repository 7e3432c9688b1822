import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { parseModel } from '../ir/text.ts'
import type { Finding } from '../result/result.ts'
import { runRules } from './index.ts'

function find(text: string): Finding[] {
  const model = parseModel(text)
  return runRules({ model, facts: factsOf(model) }, { select: ['dropout-before-batch-norm'] }).findings
}

const constants = `float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] zero = fill(0),
  float32[8] one8 = fill(1), float32[8] zero8 = fill(0), float32[8] var8 = fill(2),
  float32[4, 4, 1, 1] w = uniform(-1, 1, 2)`

test('direct Dropout on a zero mean keeps 1 - ratio of the variance', () => {
  const [found, ...others] = find(`net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] y) <${constants}> {
    [drop] d = Dropout(x, ratio, on)
    [bn] y = BatchNormalization(d, one, zero, zero, one)
  }`)
  expect(others).toEqual([])
  expect(found).toMatchObject({
    severity: 'warning',
    at: { label: 'bn', key: 'y', opType: 'BatchNormalization' },
    path: [{ label: 'drop' }, { label: 'bn' }],
    fingerprint: 'dropout-before-batch-norm:bn',
    data: { through: 'direct', noises: ['drop'] },
  })
  expect(found?.data.ratio).toBeCloseTo(0.5, 6)
  expect(found?.message).toContain("dropout 'drop' (ratio 0.5) reaches it directly")
})

test('one finding a norm names all noises that reach it, and the way of the nearest node by node', () => {
  const findings = find(`net (float32[N, 4, 8, 8] x) => (float32[N, 8, 8, 8] y) <${constants}> {
    [drop1] a = Dropout(x, ratio, on)
    [conv1] b = Conv(a, w)
    [drop2] c = Dropout(b, ratio, on)
    [conv2] e = Conv(c, w)
    [add] s = Add(e, x)
    [cat] t = Concat <axis = 1> (s, a)
    [bn] y = BatchNormalization(t, one8, zero8, zero8, var8)
  }`)
  expect(findings).toHaveLength(1)
  expect(findings[0]?.data.noises).toEqual(['drop1', 'drop2'])
  expect(findings[0]?.path?.map(({ label }) => label)).toEqual(['drop1', 'cat', 'bn'])
  expect(findings[0]?.message).toContain('and so does 1 further noise')
})

test('a predicted ratio near 1 is a note', () => {
  const [found] = find(`net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] y)
  <float ratio = {0.01}, bool on = {1}, float32[4] one = fill(1), float32[4] zero = fill(0)> {
    d = Dropout(x, ratio, on)
    y = BatchNormalization(d, one, zero, zero, one)
  }`)
  expect(found?.severity).toBe('info')
})

test('a noise whose strength is an input is reported without a prediction', () => {
  const [found] = find(`net (float32[N, 4, 8, 8] x, float ratio) => (float32[N, 4, 8, 8] y)
  <bool on = {1}, float32[4] one = fill(1), float32[4] zero = fill(0)> {
    d = Dropout(x, ratio, on)
    y = BatchNormalization(d, one, zero, zero, one)
  }`)
  expect(found).toMatchObject({ severity: 'warning' })
  expect(found?.message).toMatch(/ratio not fixed in the file.*cannot be predicted: /)
})

test.each([
  ['Gaussian dropout', `r = RandomNormalLike <mean = 1.0, scale = 0.5> (x) [noise] d = Mul(x, r)`],
  ['uniform dropout', `r = RandomUniformLike <low = 0.5, high = 1.5> (x) [noise] d = Mul(x, r)`],
  ['additive Gaussian noise', `r = RandomNormalLike <mean = 0.0, scale = 0.5> (x) [noise] d = Add(x, r)`],
])('%s is called by its name', (name, nodes) => {
  const [found] = find(`net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] y) <${constants}> {
    ${nodes}
    [bn] y = BatchNormalization(d, one, zero, zero, one)
  }`)
  expect(found?.message).toContain(`${name} 'noise' (`)
})
