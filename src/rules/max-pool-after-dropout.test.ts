import { expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { parseModel } from '../ir/text.ts'
import { runRules } from './index.ts'

const find = (nodes: string) => {
  const model = parseModel(`net (float32[N, 4, 8, 8] x) => (y)
  <float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] zero = fill(0),
   float32[4, 4, 1, 1] w = uniform(-0.5, 0.5, 1), int64[4] two = {0, 2, 1, 1}, int64[2] axes = {2, 3}, int64[2] from = {0, 0}, int64[2] to = {1, 1}> {
    ${nodes}
  }`)
  return runRules({ model, facts: factsOf(model) }, { select: ['max-pool-after-dropout'] }).findings
}
const pool = 'MaxPool <kernel_shape = [2, 2], strides = [2, 2]>'

test('names the pool, the noise and the norms behind it', () => {
  const findings = find(`[drop] d = Dropout(x, ratio, on)
    [pool] p = ${pool} (d)
    [bn1] a = BatchNormalization(p, one, zero, zero, one)
    [conv] c = Conv(p, w)
    [bn2] b = BatchNormalization(c, one, zero, zero, one)
    y = Add(a, b)`)
  expect(findings).toHaveLength(1)
  expect(findings[0]).toMatchObject({
    severity: 'warning',
    at: { label: 'pool' },
    path: [{ label: 'drop' }, { label: 'pool' }, { label: 'bn1' }],
  })
  expect(findings[0]?.message).toContain("'bn1' and 'bn2'")
})

test('stays quiet where a norm comes first', () => {
  expect(
    find(`d = Dropout(x, ratio, on)
    a = BatchNormalization(d, one, zero, zero, one)
    p = ${pool} (a)
    y = BatchNormalization(p, one, zero, zero, one)`),
  ).toEqual([])
})

test('noise that a whole channel shares passes a max pool, unless it was mixed before', () => {
  const spatial = `s = Slice(x, from, to, axes)
    r = RandomUniformLike <low = 0.0, high = 1.0> (s)
    half = Constant <value_float = 0.5> ()
    keep = Less(r, half)
    mask = Cast <to = 1> (keep)
    m = Div(mask, half)
    [spatial] d = Mul(x, m)`
  const end = `p = ${pool} (e)
    y = BatchNormalization(p, one, zero, zero, one)`
  expect(find(`${spatial} e = Relu(d) ${end}`)).toEqual([])
  expect(find(`${spatial} e = Conv(d, w) ${end}`)).toHaveLength(1)
})
