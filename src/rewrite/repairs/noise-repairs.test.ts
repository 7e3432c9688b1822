import { expect, test } from 'vitest'
import { factsOf } from '../../analysis/index.ts'
import { encodeModel } from '../../formats/onnx/write.ts'
import { applyEdits, type Edit } from '../../ir/edit.ts'
import type { Model } from '../../ir/model.ts'
import { uniform } from '../../ir/random.ts'
import { Tensor } from '../../ir/tensor.ts'
import { parseModel } from '../../ir/text.ts'
import { createSession } from '../../runtime/session.ts'
import { type Mode, toMode } from '../modes/mode.ts'
import type { Repair, RepairChoices } from './define-repair.ts'
import { dropoutBeforeLastWeightLayer } from './dropout-before-last-weight-layer.ts'
import { gaussian } from './gaussian.ts'
import { moveDropoutAfterLastNorm } from './move-dropout-after-last-norm.ts'
import { uout } from './uout.ts'

/** Two norms behind Dropouts, one of them through a residual sum; a classifier behind a global pooling. */
const net = (training = 'off') =>
  parseModel(`
  net (float32[N, 4, 6, 6] x) => (float32[N, 3] y)
  <float32[4] one = fill(1), float32[4] zero = fill(0), float32[4] mean = fill(0.1), float32[4] variance = fill(2),
   float32[4, 4, 3, 3] w = uniform(-0.5, 0.5, 1), float32[3, 4] v = uniform(-1, 1, 2),
   float32 ratio = {0.5}, float32 small = {0.2}, bool off = {0}, bool on = {1}>
  {
    a = Conv <pads = [1, 1, 1, 1]> (x, w)
    [drop1] b = Dropout(a, ratio, ${training})
    [bn1] c = BatchNormalization(b, one, zero, mean, variance)
    r = Relu(c)
    [drop2] d = Dropout(r, small, ${training})
    e = Conv <pads = [1, 1, 1, 1]> (d, w)
    s = Add(e, a)
    [bn2] f = BatchNormalization(s, one, zero, mean, variance)
    g = Relu(f)
    [pool] p = GlobalAveragePool(g)
    q = Flatten(p)
    [fc] y = Gemm <transB = 1> (q, v)
  }`)

const plan = (repair: Repair, model: Model, choices: RepairChoices = {}): Edit[] =>
  repair.plan({ model, facts: factsOf(model), statistics: new Map(), choices })

const repaired = (repair: Repair, model: Model, choices?: RepairChoices) =>
  applyEdits(model, plan(repair, model, choices))

async function run(model: Model, mode?: Mode): Promise<Float64Array> {
  const session = await createSession(encodeModel(mode ? toMode(model, mode) : model), { threads: 1 })
  const x = Tensor.float32([2, 4, 6, 6], uniform(288, -1, 1, 5))
  const outputs = await session.run(new Map([['x', x]]))
  await session.release()
  return outputs.get('y')!.toNumbers()
}

for (const repair of [uout, gaussian, moveDropoutAfterLastNorm]) {
  test(`${repair.id} leaves inference as it is, in the file and in eval mode`, async () => {
    const model = net()
    const changed = repaired(repair, model)
    expect(await run(changed)).toEqual(await run(model))
    expect(await run(changed, 'eval')).toEqual(await run(model, 'eval'))
  })

  test(`${repair.id} acts when the training switch is on, which stays the file's own`, async () => {
    const model = net('on')
    const changed = repaired(repair, model)
    for (const noise of factsOf(changed).noises) expect(noise.active).toBe('always')
    expect(await run(changed, 'eval')).toEqual(await run(model, 'eval'))
    // ONNX Runtime leaves out a Dropout whose mask nobody reads, training mode or not.
    if (repair !== moveDropoutAfterLastNorm)
      expect(await run(changed)).not.toEqual(await run(changed, 'eval'))
    expect(await run(changed, 'sample')).not.toEqual(await run(changed, 'eval'))
  })
}

test('uout and gaussian take the place of every noise that reaches a norm, with the parameter chosen', () => {
  const noisesOf = (model: Model) =>
    factsOf(model).noises.map(({ kind, parameter, label }) => [label, kind, parameter.value])
  expect(noisesOf(repaired(uout, net(), { parameter: 0.3 }))).toEqual([
    ['drop1', 'uout', 0.3],
    ['drop2', 'uout', 0.3],
  ])
  expect(noisesOf(repaired(gaussian, net()))).toEqual([
    ['drop1', 'gaussian', 0.1],
    ['drop2', 'gaussian', 0.1],
  ])
})

test('with a target ratio each parameter is what the prediction asks for', () => {
  const model = net()
  for (const [repair, s2Of] of [
    [uout, (beta: number) => beta ** 2 / 3],
    [gaussian, (sigma: number) => sigma ** 2],
  ] as const) {
    const changed = repaired(repair, model, { targetRatio: 1.01 })
    // Of drop1, which reaches bn1 only: v from stored 2, mean 0.1 (docs/theory.md, "Direct").
    const v = 0.5 * (2 + 0.01) - 0.01
    const wanted = (0.01 * v) / (v + 0.01)
    const [first] = factsOf(changed).noises
    expect(s2Of(first!.parameter.value!)).toBeCloseTo(wanted, 6)
  }
})

test('moving the dropout leaves no noise in front of a norm, and as much as there was behind the last', () => {
  const at = (choices?: RepairChoices) => {
    const changed = repaired(moveDropoutAfterLastNorm, net(), choices)
    const { noises, paths } = factsOf(changed)
    expect(paths).toEqual([])
    return noises.map(({ label, input, parameter }) => [label, input, parameter.value])
  }
  expect(at()).toEqual([['dropout_before_fc', 'q', 0.5]])
  expect(at({ position: 'before-global-pool', parameter: 0.3 })).toEqual([['dropout_before_pool', 'g', 0.3]])
})

test('what cannot be done is refused with its reason and node', () => {
  const headless = parseModel(`
    net (float32[N, 4] x) => (float32[N, 4] y)
    <float32[4] one = fill(1), float32[4] zero = fill(0), float32 ratio = {0.5}, bool on = {1}>
    { b = Dropout(x, ratio, on)  [bn] y = BatchNormalization(b, one, zero, zero, one) }`)
  expect(() => plan(moveDropoutAfterLastNorm, headless)).toThrow(/norm 'bn' with no weight layer behind it/)
  const masked = parseModel(`
    net (float32[N, 4] x) => (float32[N, 4] y, bool[N, 4] m)
    <float32[4] one = fill(1), float32[4] zero = fill(0), float32 ratio = {0.5}, bool on = {1}>
    { [drop] b, m = Dropout(x, ratio, on)  [bn] y = BatchNormalization(b, one, zero, zero, one) }`)
  expect(() => plan(uout, masked)).toThrow(/'drop' also gives away its mask/)
  expect(() => plan(uout, net(), { parameter: 2 })).toThrow(/uout takes a beta from 0 to 1, got 2/)
})

/** Two pre-activation blocks behind a stem, the first with a projection as its shortcut. */
const residual = (end = '') =>
  parseModel(`
  net (float32[N, 4, 6, 6] x) => (float32[N, 3] y)
  <float32[4] one = fill(1), float32[4] zero = fill(0), float32[4] mean = fill(0.1), float32[4] variance = fill(2),
   float32[4, 4, 3, 3] w = uniform(-0.5, 0.5, 1), float32[3, 4] v = uniform(-1, 1, 2),
   float32 ratio = {0.3}, bool off = {0}>
  {
    [stem] a = Conv <pads = [1, 1, 1, 1]> (x, w)
    [drop1] b = Dropout(a, ratio, off)
    [bn1] c = BatchNormalization(b, one, zero, mean, variance)
    d = Relu(c)
    [conv1] e = Conv <pads = [1, 1, 1, 1]> (d, w)
    [bn2] f = BatchNormalization(e, one, zero, mean, variance)
    g = Relu(f)
    [conv2] h = Conv <pads = [1, 1, 1, 1]> (g, w)
    [project] i = Conv <pads = [1, 1, 1, 1]> (d, w)
    [join1] j = Add(h, i)
    [bn3] k = BatchNormalization(j, one, zero, mean, variance)
    l = Relu(k)
    [conv3] m = Conv <pads = [1, 1, 1, 1]> (l, w)
    ${end === '' ? '' : `[${end}] o = BatchNormalization(m, one, zero, mean, variance)`}
    [join2] n = Add(j, ${end === '' ? 'm' : 'o'})
    p = GlobalAveragePool(n)
    q = Flatten(p)
    [fc] y = Gemm <transB = 1> (q, v)
  }`)

test('one Dropout goes in front of the last weight layer of each residual branch', async () => {
  const model = residual()
  const changed = repaired(dropoutBeforeLastWeightLayer, model)
  expect(
    factsOf(changed).noises.map(({ label, input, parameter }) => [label, input, parameter.value]),
  ).toEqual([
    ['dropout_before_conv2', 'g', expect.closeTo(0.3, 6)],
    ['dropout_before_conv3', 'l', expect.closeTo(0.3, 6)],
  ])
  expect(await run(changed)).toEqual(await run(model))
  expect(await run(changed, 'sample')).not.toEqual(await run(changed, 'eval'))
  const chosen = repaired(dropoutBeforeLastWeightLayer, model, { parameter: 0.1 })
  expect(factsOf(chosen).noises.map(({ parameter }) => parameter.value)).toEqual([
    expect.closeTo(0.1, 6),
    expect.closeTo(0.1, 6),
  ])
})

test('a branch that ends in a norm has no such place, nor has a net without branches', () => {
  expect(() => plan(dropoutBeforeLastWeightLayer, residual('bn4'))).toThrow(
    /the residual branch that 'join2' adds ends in the norm 'bn4'.*move-dropout-after-last-norm/,
  )
  const chain = parseModel(`
    net (float32[N, 4] x) => (float32[N, 3] y)
    <float32[4] one = fill(1), float32[4] zero = fill(0), float32[4, 3] w = fill(1), float32[3] b = fill(1),
     float32 ratio = {0.5}, bool on = {1}>
    { d = Dropout(x, ratio, on)  [bn] n = BatchNormalization(d, one, zero, zero, one)
      m = MatMul(n, w)  y = Add(m, b) }`)
  expect(() => plan(dropoutBeforeLastWeightLayer, chain)).toThrow(/no residual branch with a norm/)
})
