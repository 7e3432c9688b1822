import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { encodeModel } from '../formats/onnx/index.ts'
import { GraphBuilder } from '../ir/builder.ts'
import type { Model } from '../ir/model.ts'
import { Tensor } from '../ir/tensor.ts'
import { parseModel } from '../ir/text.ts'
import { createSession } from '../runtime/session.ts'
import { losses } from './losses/index.ts'
import { optimizers } from './optimizers/index.ts'
import { schedules } from './schedules.ts'
import { type Choice, chosen, parseChoice } from './settings.ts'

const recorded = JSON.parse(
  readFileSync(new URL('../../test/oracle/training/units.json', import.meta.url), 'utf8'),
)

/** Runs a graph of float32 inputs (and int64 `labels`) that `emit` writes; outputs by name. */
async function run(
  inputs: Readonly<Record<string, Tensor>>,
  emit: (build: GraphBuilder) => readonly string[],
): Promise<Tensor[]> {
  const base = parseModel('<ir_version: 8, opset_import: ["": 17]> g () => (y) { }')
  const build = new GraphBuilder(base)
  const outputs = emit(build)
  const model: Model = {
    ...base,
    graph: {
      ...base.graph,
      nodes: build.nodes,
      initializers: build.initializers,
      inputs: Object.entries(inputs).map(([name, { dataType, dims }]) => ({
        name,
        type: { dataType, shape: dims },
      })),
      outputs: outputs.map((name) => ({ name, type: undefined })),
    },
  }
  const session = await createSession(encodeModel(model), { threads: 1 })
  const fetched = await session.run(new Map(Object.entries(inputs)))
  await session.release()
  return outputs.map((name) => fetched.get(name)!)
}

describe('losses compute what PyTorch computes', () => {
  for (const { id, settings, shape, output, target, loss } of recorded.losses)
    test(`${id} ${JSON.stringify(settings)}`, async () => {
      const { unit, settings: all } = chosen({ id, ...settings }, losses, 'loss')
      const inputs = {
        output: Tensor.float32(shape, output),
        labels: Tensor.int64([shape[0]], unit.takes === 'classes' ? target : new Array(shape[0]).fill(0)),
        target: Tensor.float32(shape, unit.takes === 'classes' ? output : target),
      }
      const [sum, weight, right] = await run(inputs, (build) => {
        const context = { build, output: 'output', labels: 'labels', target: 'target', shape }
        const term = unit.emit(context, all)
        return [term.sum, term.weight, ...(unit.right ? [unit.right(context)] : [])]
      })
      const value = sum!.toNumbers()[0]! / weight!.toNumbers()[0]!
      expect(Math.abs(value / loss - 1)).toBeLessThan(1e-6)
      if (id !== 'cross-entropy') return
      const rows = Array.from({ length: 6 }, (_, i) => output.slice(5 * i, 5 * i + 5))
      const guessed = rows.filter((row, i) => row.indexOf(Math.max(...row)) === target[i])
      expect(right!.toNumbers()[0]).toBe(guessed.length)
    })

  test('right answers of binary classes', async () => {
    const unit = losses.find(({ id }) => id === 'binary-cross-entropy')!
    const inputs = {
      output: Tensor.float32([2, 2], [3, -1, -2, 0.5]),
      target: Tensor.float32([2, 2], [1, 0, 1, 1]),
    }
    const [right] = await run(inputs, (build) => [
      unit.right!({ build, output: 'output', labels: '', target: 'target', shape: [2, 2] }),
    ])
    expect([...right!.toNumbers()]).toEqual([1.5])
  })

  test('the sparsity penalty is the divergence of mean activities from the target', async () => {
    const unit = losses.find(({ id }) => id === 'kl-sparsity')!
    const activities = [0.2, 0.1, 0.4, 0.05, 0.9, 0.3]
    const [sum] = await run({ h: Tensor.float32([2, 3], activities) }, (build) => {
      const context = { build, output: 'h', labels: '', target: '', shape: [2, 3] }
      return [unit.emit(context, { target: 0.05, weight: 3 }).sum]
    })
    const divergence = (a: number) => 0.05 * Math.log(0.05 / a) + 0.95 * Math.log(0.95 / (1 - a))
    const expected = 3 * [0.125, 0.5, 0.35].reduce((total, a) => total + divergence(a), 0)
    expect(sum!.toNumbers()[0]).toBeCloseTo(expected, 5)
  })

  test('class weights have to fit', () => {
    const { unit, settings } = chosen('cross-entropy:weights=1/2', losses, 'loss')
    const build = new GraphBuilder(parseModel('<ir_version: 8, opset_import: ["": 17]> g () => (y) { }'))
    const context = { build, output: 'x', labels: 'l', target: '', shape: ['N', 3] }
    expect(() => unit.emit(context, settings)).toThrow('2 class weights for 3 classes')
  })
})

describe('optimizers move as those of PyTorch', () => {
  const { start, gradients, rates, cases } = recorded.optimizers
  for (const { id, settings, path } of cases)
    test(`${id} ${JSON.stringify(settings)}`, async () => {
      const { unit, settings: all } = chosen({ id, ...settings }, optimizers, 'optimizer')
      const names = unit.state(all)
      let parameter = Tensor.float32([6], start)
      let state = names.map(() => Tensor.float32([6], new Float64Array(6)))
      for (const [i, gradient] of gradients.entries()) {
        const scalars = unit.scalars(all, i + 1, rates[i])
        const inputs = {
          p: parameter,
          g: Tensor.float32([6], gradient),
          ...Object.fromEntries(names.map((name, k) => [`state_${name}`, state[k]!])),
          ...Object.fromEntries(
            Object.entries(scalars).map(([name, value]) => [name, Tensor.float32([], [value])]),
          ),
        }
        const [next, ...memory] = await run(inputs, (build) => {
          const context = {
            build,
            parameter: 'p',
            gradient: 'g',
            state: Object.fromEntries(names.map((name) => [name, `state_${name}`])),
            scalars: Object.fromEntries(Object.keys(scalars).map((name) => [name, name])),
            decays: true,
          }
          const updated = unit.emit(context, all)
          return [updated.parameter, ...names.map((name) => updated.state[name]!)]
        })
        parameter = next!
        state = memory
        const most = parameter
          .toNumbers()
          .reduce((largest, v, k) => Math.max(largest, Math.abs(v - path[i][k])), 0)
        expect(most).toBeLessThan(2e-6)
      }
    })
})

describe('schedules follow those of PyTorch', () => {
  const { steps, perEpoch, cases } = recorded.schedules
  for (const { id, settings, factors } of cases)
    test(`${id} ${JSON.stringify(settings)}`, () => {
      const { unit, settings: all } = chosen({ id, ...settings }, schedules, 'schedule')
      for (const [step, factor] of factors.entries())
        expect(unit.factor({ step, steps, perEpoch }, all)).toBeCloseTo(factor, 8)
    })

  test('warm-up rises linearly, then the schedule has the rest', () => {
    const { unit, settings } = chosen('cosine:warm-up=0.5', schedules, 'schedule')
    const factors = Array.from({ length: 13 }, (_, step) =>
      unit.factor({ step, steps: 13, perEpoch: 6 }, settings),
    )
    expect(factors.slice(0, 4).map((f) => Math.round(f * 1e6) / 1e6)).toEqual([0.333333, 0.666667, 1, 1])
    expect(factors[8]).toBeCloseTo(0.5, 10)
    const constant = chosen('constant', schedules, 'schedule')
    expect(constant.unit.factor({ step: 7, steps: 9, perEpoch: 3 }, constant.settings)).toBe(1)
  })

  test('steps at fractions of the whole', () => {
    const { unit, settings } = chosen('step', schedules, 'schedule')
    const factors = [0, 4, 5, 7, 8, 9].map((step) => unit.factor({ step, steps: 10, perEpoch: 2 }, settings))
    expect(factors.map((f) => Number(f.toPrecision(6)))).toEqual([1, 1, 0.1, 0.1, 0.01, 0.01])
  })
})

test('choices are read from text and checked', () => {
  expect(parseChoice('sgd:momentum=0.8,weight-decay=1e-4')).toEqual({
    id: 'sgd',
    momentum: '0.8',
    weightDecay: '1e-4',
  })
  expect(chosen('sgd:momentum=0.8,nesterov=true', optimizers, 'optimizer').settings).toEqual({
    momentum: 0.8,
    nesterov: true,
    weightDecay: 0,
  })
  for (const [choice, message] of [
    ['sdg', "no optimizer is called 'sdg'; there are sgd, adam, adamw"],
    ['sgd:momentum', "'momentum' is no setting, expected name=value"],
    ['sgd:momentum=2', 'sgd: momentum is "2", expected a number from 0 to 1'],
    ['sgd:momentum=', 'sgd: momentum is "", expected a number'],
    ['sgd:nesterov=maybe', 'expected true or false'],
    ['sgd:decay=1', "optimizer 'sgd' has no setting 'decay'; it has momentum, nesterov, weightDecay"],
  ] as const)
    expect(() => chosen(choice, optimizers, 'optimizer')).toThrow(message)
  const wrong: Choice = { id: 'step', at: '1/x' }
  expect(() => chosen(wrong, schedules, 'schedule')).toThrow('numbers with slashes between them')
})
