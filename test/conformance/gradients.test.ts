import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { knownValues } from '../../src/analysis/infer-types.ts'
import { withGradients } from '../../src/autodiff/with-gradients.ts'
import { encodeModel } from '../../src/formats/onnx/write.ts'
import { GraphBuilder } from '../../src/ir/builder.ts'
import type { Model, ValueInfo } from '../../src/ir/model.ts'
import { opsetOf } from '../../src/ir/model.ts'
import { uniform } from '../../src/ir/random.ts'
import { elementCount, isFloat, Tensor } from '../../src/ir/tensor.ts'
import { parseModel } from '../../src/ir/text.ts'
import { blockedDomain, nchwcDomain } from '../../src/ops/blocked/index.ts'
import { sharedAxesOf } from '../../src/ops/define-noise.ts'
import type { Op } from '../../src/ops/index.ts'
import { opOf, ops } from '../../src/ops/index.ts'
import { noiseUnits } from '../../src/ops/noises/index.ts'
import { fillWords, RandomWords } from '../../src/ops/random-words.ts'
import { bindDimensions } from '../../src/rewrite/passes/bind-shapes.ts'
import { createSession } from '../../src/runtime/session.ts'

const bindings = { N: 3, H: 5, W: 6 }

/** The floating-point values that a sample computes and that its loss is made of. */
const outputsOf = (model: Model): string[] =>
  model.graph.nodes
    .flatMap((node) => (node.opType === 'Split' ? node.outputs : node.outputs.slice(0, 1)))
    .filter((output) => isFloat(knownValues(model).get(output)?.dataType ?? 'bool'))

/** Floating-point inputs and initializers that are no mere settings. */
function parametersOf(model: Model): string[] {
  const opset = opsetOf(model)
  const isSetting = (value: string) =>
    model.graph.nodes.every((node) => {
      const moving = node.inputs.map((input) => input === value)
      const flows = opOf(node).flow({ node, opset, moving })
      return node.inputs.every((input, i) => input !== value || flows[i] === 'none')
    })
  return [...model.graph.inputs.map(({ name }) => name), ...model.graph.initializers.keys()].filter(
    (name) => isFloat(knownValues(model).get(name)?.dataType ?? 'bool') && !isSetting(name),
  )
}

/** The model with `outputs`, and the values of `parameters` fed rather than stored. */
function exposing(model: Model, parameters: readonly string[], outputs: readonly string[]): Model {
  const stored: ValueInfo[] = [...model.graph.initializers]
    .filter(([name]) => parameters.includes(name))
    .map(([name, { dataType, dims }]) => ({ name, type: { dataType, shape: dims } }))
  return {
    ...model,
    graph: {
      ...model.graph,
      inputs: [...model.graph.inputs, ...stored],
      initializers: new Map([...model.graph.initializers].filter(([name]) => !parameters.includes(name))),
      outputs: outputs.map((name) => ({ name, type: undefined })),
      types: new Map(),
    },
  }
}

type Feeds = ReadonlyMap<string, Tensor>

/** Central differences of the loss along random directions against the gradients that the graph computes. */
async function check(model: Model): Promise<void> {
  const known = knownValues(model)
  const dataTypeOf = (name: string) => known.get(name)!.dataType!
  const outputs = outputsOf(model)
  const parameters = parametersOf(model)
  const feeds = new Map<string, Tensor>()
  model.graph.inputs.forEach(({ name, type }, i) => {
    const dims = type!.shape as readonly number[]
    const values = uniform(
      elementCount(dims),
      isFloat(type!.dataType!) ? -1 : 0,
      isFloat(type!.dataType!) ? 1 : 2,
      i + 1,
    )
    feeds.set(
      name,
      Tensor.of(type!.dataType!, dims, isFloat(type!.dataType!) ? values : values.map(Math.floor)),
    )
  })
  for (const name of parameters) if (!feeds.has(name)) feeds.set(name, model.graph.initializers.get(name)!)

  const weights = new Map(
    outputs.map((name, i) => {
      const shape = known.get(name)!.shape as readonly number[]
      return [name, Tensor.of(dataTypeOf(name), shape, uniform(elementCount(shape), -1, 1, 100 + i))]
    }),
  )
  const build = new GraphBuilder(model)
  for (const node of model.graph.nodes) build.keep(node)
  const terms = outputs.map((name) => {
    const product = build.mul(name, build.constant(weights.get(name)!))
    const axes = known.get(name)!.shape!.map((_, axis) => axis)
    const sum = axes.length > 0 ? build.reduceSum(product, axes, false) : product
    return dataTypeOf(name) === dataTypeOf(outputs[0]!) ? sum : build.op('CastLike', [sum, outputs[0]!])
  })
  const loss = terms.length > 1 ? build.op('Sum', terms) : build.op('Identity', terms)
  const withLoss = {
    ...model,
    graph: { ...model.graph, nodes: build.nodes, initializers: build.initializers },
  }
  const { model: differentiated, gradients } = withGradients(withLoss, { loss, wrt: parameters })

  const forward = await createSession(encodeModel(exposing(model, parameters, outputs)), { threads: 1 })
  const lossOf = async (fed: Feeds) => {
    const values = await forward.run(fed)
    let sum = 0
    for (const [name, weight] of weights) {
      const [y, w] = [values.get(name)!.toNumbers(), weight.toNumbers()]
      for (let i = 0; i < y.length; i++) sum += y[i]! * w[i]!
    }
    return sum
  }
  const backward = await createSession(
    encodeModel(exposing(differentiated, parameters, [...new Set(gradients.values())])),
    { threads: 1 },
  )
  const used = (fed: Feeds) => new Map([...fed].filter(([name]) => backward.inputs.includes(name)))
  const found = await backward.run(used(feeds))
  const precise = [...known.values()].every(({ dataType }) => !isFloat(dataType!) || dataType === 'float64')
  for (const [index, name] of parameters.entries()) {
    const gradient = found.get(gradients.get(name)!)!
    const value = feeds.get(name)!
    expect({ name, dims: gradient.dims, type: gradient.dataType }).toEqual({
      name,
      dims: value.dims,
      type: value.dataType,
    })
    const step = precise ? 1e-6 : 4e-3
    for (const trial of [0, 1, 2]) {
      const direction = uniform(value.size, -1, 1, 1000 + 10 * index + trial).map((v) => Math.sign(v) || 1)
      const moved = (by: number) => {
        const values = value.toNumbers().map((v, i) => v + by * direction[i]!)
        return new Map([...feeds, [name, Tensor.of(value.dataType, value.dims, values)]])
      }
      const [above, below] = [moved(step), moved(-step)]
      // What was really added, after rounding to the type.
      const numeric = ((await lossOf(above)) - (await lossOf(below))) / (2 * step)
      const slopes = gradient.toNumbers()
      let analytic = 0
      let size = 1
      for (let i = 0; i < slopes.length; i++) {
        analytic += slopes[i]! * direction[i]!
        size += Math.abs(slopes[i]!)
      }
      expect(Math.abs(numeric - analytic) / size, `${name}: ${numeric} against ${analytic}`).toBeLessThan(
        precise ? 1e-7 : 2e-3,
      )
    }
  }
  await forward.release()
  await backward.release()
}

const float64 = (sample: string) => sample.replaceAll('float32', 'float64')

/** Whether ONNX Runtime has kernels for all of the sample in float64. */
async function runs(sample: string): Promise<boolean> {
  const model = bindDimensions(parseModel(sample), bindings)
  try {
    const exposed = exposing(model, [], outputsOf(model))
    await (await createSession(encodeModel(exposed), { threads: 1 })).release()
    return true
  } catch {
    return false
  }
}

const isTrainable = (op: Op) =>
  op.opTypes.some((opType) =>
    op.inputs.some((_, i) => op.gradient({ opType, attributes: new Map() } as never, i)),
  )

describe('gradients are central differences', () => {
  for (const op of ops.filter(isTrainable))
    for (const [i, sample] of op.gradientSamples.entries()) {
      const model = bindDimensions(parseModel(sample), bindings)
      if (opsetOf(model) < 17 || parametersOf(model).length === 0) continue
      test(`${op.opTypes.join(', ')} ${i}`, async () => {
        const text = (await runs(float64(sample))) ? float64(sample) : sample
        await check(bindDimensions(parseModel(text), bindings))
      })
    }
})

interface Recorded {
  readonly name: string
  /** The model in the text form; what it computes last is y. */
  readonly graph: string
  /** Seed of what y is multiplied with to make the loss. */
  readonly weights: number
  readonly loss: number
  readonly gradients: Readonly<Record<string, readonly number[]>>
}

const recorded = JSON.parse(
  readFileSync(new URL('../oracle/gradients/gradients.json', import.meta.url), 'utf8'),
) as { readonly cases: readonly Recorded[] }

/** Largest difference between gradients, relative to the largest element that is expected. */
function relativeError(found: ArrayLike<number>, expected: readonly number[]): number {
  const largest = expected.reduce((max, v) => Math.max(max, Math.abs(v)), 1e-3)
  return expected.reduce((worst, v, i) => Math.max(worst, Math.abs(found[i]! - v) / largest), 0)
}

describe("gradients are PyTorch's", () => {
  for (const { name, graph, weights, loss, gradients } of recorded.cases)
    test(name, async () => {
      const model = parseModel(graph)
      const shape = knownValues(model).get('y')!.shape as readonly number[]
      const build = new GraphBuilder(model)
      for (const node of model.graph.nodes) build.keep(node)
      const factor = build.constant(Tensor.float32(shape, uniform(elementCount(shape), -1, 1, weights)))
      const product = build.mul('y', factor)
      const total = shape.length > 0 ? build.reduceSum(product, [...shape.keys()], false) : product
      const { model: differentiated, gradients: values } = withGradients(
        { ...model, graph: { ...model.graph, nodes: build.nodes, initializers: build.initializers } },
        { loss: total, wrt: Object.keys(gradients) },
      )
      const session = await createSession(
        encodeModel(exposing(differentiated, [], [...new Set([total, ...values.values()])])),
        { threads: 1 },
      )
      const found = await session.run(new Map())
      await session.release()
      expect(Math.abs(found.get(total)!.toNumbers()[0]! - loss)).toBeLessThan(
        1e-5 * Math.max(1, Math.abs(loss)),
      )
      for (const [operand, expected] of Object.entries(gradients)) {
        const gradient = found.get(values.get(operand)!)!
        expect(gradient.size).toBe(expected.length)
        expect(relativeError(gradient.toNumbers(), expected), operand).toBeLessThan(1e-4)
      }
    })
})

describe('gradients pass every noise as it was drawn', () => {
  const dims = [4, 3, 5, 6]
  const parameters: Readonly<Record<string, number>> = { gaussian: 0.4, 'additive-gaussian': 0.4, uout: 0.5 }
  for (const unit of noiseUnits)
    for (const opset of [17, 22])
      for (const source of ['fed', 'drawn'] as const)
        test(`${unit.id}, ${source}, opset ${opset}`, async () => {
          const base = parseModel(
            `<ir_version: ${opset > 21 ? 10 : 8}, opset_import: ["": ${opset}]> g (float32[${dims}] x, float32[${dims}] w) => () { }`,
          )
          const build = new GraphBuilder(base)
          const words = new RandomWords('words')
          const y = unit.emit(build, 'x', {
            value: parameters[unit.id] ?? 0.3,
            seed: 5,
            sharedAxes: sharedAxesOf(unit.sharing, dims.length),
            fed: source === 'fed' ? { words, dims } : undefined,
          })
          const loss = build.reduceSum(build.mul(y, 'w'), [0, 1, 2, 3], false)
          const inputs: ValueInfo[] = [
            ...base.graph.inputs,
            { name: 'words', type: { dataType: 'int32', shape: [words.size] } },
          ]
          const { model, gradients } = withGradients(
            {
              ...base,
              graph: { ...base.graph, inputs, nodes: build.nodes, initializers: build.initializers },
            },
            { loss, wrt: ['x'] },
          )
          const filled = new Int32Array(words.size)
          fillWords(filled, 1, 1)
          const [x, w] = [1, 2].map((seed) => uniform(elementCount(dims), -1, 1, seed)) as [
            Float64Array,
            Float64Array,
          ]
          // Each session starts the same draws.
          const run = async (values: ArrayLike<number>) => {
            const session = await createSession(encodeModel(exposing(model, [], [y, gradients.get('x')!])), {
              threads: 1,
            })
            const feeds = new Map([
              ['x', Tensor.float32(dims, values)],
              ['w', Tensor.float32(dims, w)],
              ['words', new Tensor('int32', [words.size], new Uint8Array(filled.buffer))],
            ])
            const found = await session.run(
              new Map([...feeds].filter(([name]) => session.inputs.includes(name))),
            )
            await session.release()
            return [y, gradients.get('x')!].map((name) => found.get(name)!.toNumbers()) as [
              Float64Array,
              Float64Array,
            ]
          }
          const step = 2 ** -6
          const [[before, gradient], [after]] = [await run(x), await run(x.map((v) => v + step))]
          if (unit.id === 'moment-preserving') {
            // Mean and variance of a channel count as constants: what is kept has one slope in each channel.
            for (const channel of [0, 1, 2]) {
              const slopes = [...gradient].flatMap((slope, i) =>
                Math.floor(i / 30) % 3 === channel && slope !== 0 ? [slope / w[i]!] : [],
              )
              expect(slopes.length).toBeGreaterThan(40)
              expect(Math.max(...slopes) - Math.min(...slopes)).toBeLessThan(1e-4)
            }
          } else
            gradient.forEach((slope, i) => {
              expect(slope).toBeCloseTo(((after[i]! - before[i]!) / step) * w[i]!, 3)
            })
          expect(gradient.filter((slope) => slope !== 0).length).toBeGreaterThan(0)
        })
})

test('every operator that has a gradient is used in a sample of it', () => {
  // Operators that only passes write, for layouts that depend on the machine, are held against plain ones by blocked.test.ts.
  for (const op of ops.filter(({ domain }) => domain !== blockedDomain && domain !== nchwcDomain))
    for (const opType of op.opTypes) {
      if (!isTrainable({ ...op, opTypes: [opType] })) continue
      const used = op.gradientSamples.some((sample) => new RegExp(`\\b${opType}\\b`).test(sample))
      expect({ opType, used }).toEqual({ opType, used: true })
    }
})
