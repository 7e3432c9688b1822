import { readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { typesOf } from '../../src/analysis/infer-types.ts'
import { encodeModel } from '../../src/formats/onnx/write.ts'
import { GraphBuilder } from '../../src/ir/builder.ts'
import type { Dim, Model, TensorType } from '../../src/ir/model.ts'
import { uniform } from '../../src/ir/random.ts'
import { type DataType, elementCount, isFloat, Tensor } from '../../src/ir/tensor.ts'
import { parseModel } from '../../src/ir/text.ts'
import { blockedDomain, nchwcDomain } from '../../src/ops/blocked/index.ts'
import { sharedAxesOf } from '../../src/ops/define-noise.ts'
import { ops } from '../../src/ops/index.ts'
import { noiseUnits } from '../../src/ops/noises/index.ts'
import { createSession } from '../../src/runtime/session.ts'

/** What named dimensions of samples are bound to: numbers that occur in no sample. */
const bindings: Readonly<Record<string, number>> = { N: 7, H: 10, W: 11 }

const bound = (dim: Dim): number => {
  if (typeof dim === 'number') return dim
  const size = dim === undefined ? undefined : bindings[dim]
  if (size === undefined) throw new Error(`sample uses the dimension '${dim}', which is bound to nothing`)
  return size
}

function feedOf(type: TensorType | undefined, seed: number): Tensor {
  const { dataType, shape } = type as { dataType: DataType; shape: readonly Dim[] }
  const dims = shape.map(bound)
  const values = uniform(elementCount(dims), isFloat(dataType) ? -1 : 0, isFloat(dataType) ? 1 : 2, seed)
  return Tensor.of(dataType, dims, isFloat(dataType) ? values : values.map(Math.floor))
}

/** The model with every value that a node computes as an output. */
function withAllOutputs(model: Model): Model {
  const { graph } = model
  const outputs = graph.nodes.flatMap((node) =>
    node.outputs.filter(Boolean).map((name) => ({ name, type: undefined })),
  )
  return { ...model, graph: { ...graph, outputs, types: new Map() } }
}

async function run(model: Model): Promise<ReadonlyMap<string, Tensor>> {
  const session = await createSession(encodeModel(model), { threads: 1 })
  const feeds = new Map(model.graph.inputs.map(({ name, type }, i) => [name, feedOf(type, i + 1)]))
  const outputs = await session.run(feeds)
  await session.release()
  return outputs
}

describe('inferred types are those of ONNX Runtime', () => {
  for (const op of ops)
    for (const [i, sample] of op.samples.entries())
      test(`${op.opTypes.join(', ')} ${i}`, async () => {
        const model = withAllOutputs(parseModel(sample))
        const types = typesOf(model)
        for (const [name, tensor] of await run(model)) {
          const { dataType, shape } = types.get(name) ?? {}
          expect({ name, dataType }).toEqual({ name, dataType: tensor.dataType })
          expect({ name, rank: shape?.length }).toEqual({ name, rank: tensor.dims.length })
          const seen = shape?.map((dim, axis) => (dim === undefined ? tensor.dims[axis] : bound(dim)))
          expect({ name, shape: seen }).toEqual({ name, shape: tensor.dims })
        }
      })
})

/** Operators that only passes write, for layouts that depend on the machine; blocked.test.ts runs them. */
const onlyWritten: readonly string[] = [blockedDomain, nchwcDomain]

test('every operator of a unit is used in one of its samples', () => {
  for (const op of ops.filter(({ domain }) => !onlyWritten.includes(domain)))
    for (const opType of op.opTypes) {
      const used = op.samples.some((sample) => new RegExp(`\\b${opType}\\b`).test(sample))
      expect({ opType, used }).toEqual({ opType, used: true })
    }
})

test('every unit is in the table', async () => {
  const folder = new URL('../../src/ops/', import.meta.url)
  for (const file of readdirSync(folder).filter(
    (name) => name.endsWith('.ts') && !name.endsWith('.test.ts'),
  )) {
    if (file === 'index.ts') continue
    const module: Record<string, unknown> = await import(new URL(file, folder).href)
    for (const exported of Object.values(module))
      if (typeof exported === 'object' && exported !== null && 'opTypes' in exported)
        expect({ file, known: (ops as unknown[]).includes(exported) }).toEqual({ file, known: true })
  }
  const noises = new URL('noises/', folder)
  for (const file of readdirSync(noises).filter((name) => name !== 'index.ts' && !name.endsWith('.test.ts')))
    expect(noiseUnits.map(({ id }) => `${id}.ts`)).toContain(file)
})

/** Mean and variance of an array. */
function momentsOf(values: ArrayLike<number>): { mean: number; variance: number } {
  let mean = 0
  for (let i = 0; i < values.length; i++) mean += values[i]! / values.length
  let variance = 0
  for (let i = 0; i < values.length; i++) variance += (values[i]! - mean) ** 2 / values.length
  return { mean, variance }
}

const parameters: Readonly<Record<string, number>> = {
  dropout: 0.3,
  'spatial-dropout': 0.3,
  'drop-path': 0.3,
  'alpha-dropout': 0.3,
  gaussian: 0.4,
  'additive-gaussian': 0.4,
  uout: 0.5,
}

describe('noises do to numbers what they say', () => {
  const dims = [64, 32, 8, 8]
  // Moment-preserving dropout leaves a constant as it is: it has a test of its own.
  for (const opset of [7, 9, 12, 17, 22])
    for (const unit of noiseUnits.filter(({ id }) => id !== 'moment-preserving'))
      test(`${unit.id}, opset ${opset}`, async () => {
        const value = parameters[unit.id]!
        const shape = dims.join(', ')
        const base = parseModel(
          `<ir_version: ${opset > 21 ? 10 : 8}, opset_import: ["": ${opset}]> g (float32[${shape}] x) => (y) { }`,
        )
        const build = new GraphBuilder(base)
        const sharedAxes = sharedAxesOf(unit.sharing, 4)
        const outputs = [5, 5, 6].map((seed) => unit.emit(build, 'x', { value, seed, sharedAxes }))
        const model: Model = {
          ...base,
          graph: {
            ...base.graph,
            nodes: build.nodes,
            initializers: build.initializers,
            outputs: outputs.map((name) => ({ name, type: undefined })),
          },
        }
        const session = await createSession(encodeModel(model), { threads: 1 })
        const constant = 1.5
        const x = Tensor.float32(dims, new Float64Array(elementCount(dims)).fill(constant))
        const fetched = await session.run(new Map([['x', x]]))
        await session.release()
        const [first, same, other] = outputs.map((name) => fetched.get(name)!.toNumbers())

        expect(first!.every((v, i) => v === same![i])).toBe(true)
        expect(first!.every((v, i) => v === other![i])).toBe(false)
        const draws = { element: 64 * 32 * 64, channel: 64 * 32, sample: 64, batch: 1 }[unit.sharing]
        const outcomes = unit.outcomes(value)
        const expected = outcomes.reduce((sum, o) => sum + o.weight * (o.scale * constant + o.shift), 0)
        const spread = outcomes.reduce(
          (sum, o) => sum + o.weight * (o.scale * constant + o.shift - expected) ** 2,
          0,
        )
        const { mean, variance } = momentsOf(first!)
        // Five standard errors; the fourth moments of these noises are below ten times the square of the second.
        expect(Math.abs(mean - expected)).toBeLessThan(5 * Math.sqrt(spread / draws))
        expect(Math.abs(variance / spread - 1)).toBeLessThan(5 * Math.sqrt(10 / draws))
        // Draws of different noises do not go together.
        let product = 0
        for (let i = 0; i < first!.length; i++)
          product += ((first![i]! - mean) * (other![i]! - mean)) / first!.length / spread
        expect(Math.abs(product)).toBeLessThan(5 / Math.sqrt(draws))
        if (unit.sharing !== 'element') {
          const block = unit.sharing === 'channel' ? 64 : 32 * 64
          expect(first!.every((v, i) => v === first![i - (i % block)])).toBe(true)
        }
        if (unit.relativeVariance(value) > 0 && unit.id !== 'additive-gaussian')
          expect(spread / constant ** 2).toBeCloseTo(unit.relativeVariance(value), 10)
      })
})
