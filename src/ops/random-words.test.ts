import { describe, expect, test } from 'vitest'
import { encodeModel } from '../formats/onnx/index.ts'
import { GraphBuilder } from '../ir/builder.ts'
import type { Model } from '../ir/model.ts'
import { elementCount, Tensor } from '../ir/tensor.ts'
import { parseModel } from '../ir/text.ts'
import { createSession, type Session } from '../runtime/session.ts'
import { sharedAxesOf } from './define-noise.ts'
import { noiseUnits } from './noises/index.ts'
import { fillWords, RandomWords } from './random-words.ts'

const dims = [32, 16, 12, 12]
const count = elementCount(dims)

/** A session that makes `outputs` of x (all 1.5) and of the words that it is fed. */
async function sessionOf(opset: number, emit: (build: GraphBuilder, words: RandomWords) => string[]) {
  const text = `<ir_version: ${opset > 21 ? 10 : 8}, opset_import: ["": ${opset}]> g (float32[${dims.join(', ')}] x) => (y) { }`
  const base = parseModel(text)
  const build = new GraphBuilder(base)
  const words = new RandomWords('words')
  const outputs = emit(build, words)
  const model: Model = {
    ...base,
    graph: {
      ...base.graph,
      nodes: build.nodes,
      initializers: build.initializers,
      inputs: [...base.graph.inputs, { name: 'words', type: { dataType: 'int32', shape: [words.size] } }],
      outputs: outputs.map((name) => ({ name, type: undefined })),
    },
  }
  return { session: await createSession(encodeModel(model), { threads: 1 }), size: words.size, outputs }
}

async function draw(
  { session, size, outputs }: { session: Session; size: number; outputs: string[] },
  seed: number,
  step: number,
): Promise<Float64Array[]> {
  const words = new Int32Array(size)
  fillWords(words, seed, step)
  const feeds = new Map([
    ['x', Tensor.float32(dims, new Float64Array(count).fill(1.5))],
    ['words', new Tensor('int32', [size], new Uint8Array(words.buffer))],
  ])
  const fetched = await session.run(new Map([...feeds].filter(([name]) => session.inputs.includes(name))))
  return outputs.map((name) => fetched.get(name)!.toNumbers())
}

function momentsOf(values: ArrayLike<number>): { mean: number; variance: number } {
  const list = Array.from(values)
  const mean = list.reduce((sum, v) => sum + v, 0) / list.length
  return { mean, variance: list.reduce((sum, v) => sum + (v - mean) ** 2, 0) / list.length }
}

const parameters: Readonly<Record<string, number>> = { gaussian: 0.4, 'additive-gaussian': 0.4, uout: 0.5 }

describe('noise from fed words', () => {
  // Moment-preserving dropout leaves a constant as it is: it has a test of its own.
  for (const opset of [12, 17, 21, 22])
    for (const unit of noiseUnits.filter(({ id }) => id !== 'moment-preserving'))
      test(`${unit.id}, opset ${opset}`, async () => {
        const value = parameters[unit.id] ?? 0.3
        const sharedAxes = sharedAxesOf(unit.sharing, 4)
        const ready = await sessionOf(opset, (build, words) =>
          [0, 1].map(() => unit.emit(build, 'x', { value, seed: 0, sharedAxes, fed: { words, dims } })),
        )
        const [first, second] = await draw(ready, 7, 3)
        const others = [await draw(ready, 7, 4), await draw(ready, 8, 3)].map(([values]) => values!)
        expect(await draw(ready, 7, 3)).toEqual([first, second])
        await ready.session.release()

        const draws = { element: count, channel: 32 * 16, sample: 32, batch: 1 }[unit.sharing]
        const outcomes = unit.outcomes(value)
        const expected = outcomes.reduce((sum, o) => sum + o.weight * (o.scale * 1.5 + o.shift), 0)
        const spread = outcomes.reduce(
          (sum, o) => sum + o.weight * (o.scale * 1.5 + o.shift - expected) ** 2,
          0,
        )
        const { mean, variance } = momentsOf(first!)
        expect(Math.abs(mean - expected)).toBeLessThan(5 * Math.sqrt(spread / draws))
        expect(Math.abs(variance / spread - 1)).toBeLessThan(5 * Math.sqrt(10 / draws))
        for (const other of [second!, ...others]) {
          const product = first!.reduce((sum, v, i) => sum + (v - mean) * (other[i]! - mean), 0)
          expect(Math.abs(product / count / spread)).toBeLessThan(5 / Math.sqrt(draws))
        }
        if (unit.sharing === 'channel') expect(first!.every((v, i) => v === first![i - (i % 144)])).toBe(true)
      })
})

test('sums along every axis vary as those of independent draws do', async () => {
  const ready = await sessionOf(21, (build, words) => [words.draw(build, dims)])
  const steps = 40
  const sums = dims.map((size) => Array.from({ length: size }, () => [] as number[]))
  for (let step = 0; step < steps; step++) {
    const [values] = await draw(ready, 1, step)
    const inStep = dims.map((size) => new Float64Array(size))
    values!.forEach((v, i) => {
      let rest = i
      for (let axis = 3; axis >= 0; axis--) {
        inStep[axis]![rest % dims[axis]!]! += v / 2 ** 31
        rest = Math.floor(rest / dims[axis]!)
      }
    })
    for (const [axis, totals] of inStep.entries())
      totals.forEach((total, k) => {
        sums[axis]![k]!.push(total)
      })
  }
  await ready.session.release()
  for (const [axis, size] of dims.entries()) {
    const { mean, variance } = momentsOf(sums[axis]!.flat())
    const expected = count / size / 3
    expect(Math.abs(mean)).toBeLessThan(5 * Math.sqrt(expected / (size * steps)))
    expect(Math.abs(variance / expected - 1)).toBeLessThan(5 * Math.sqrt(2 / (size * steps)))
  }
})

test('normal variables have the tails of the normal distribution', async () => {
  const ready = await sessionOf(21, (build, words) => [words.normal(build, dims)])
  const [values] = await draw(ready, 1, 0)
  await ready.session.release()
  const share = (above: number) => values!.filter((v) => Math.abs(v) > above).length / count
  for (const [above, expected] of [
    [1, 0.31731],
    [2, 0.0455],
    [3, 0.0027],
  ] as const)
    expect(Math.abs(share(above) - expected)).toBeLessThan(5 * Math.sqrt(expected / count))
})

test('words depend on seed and step, and look random', () => {
  const words = (seed: number, step: number, size = 4096) => {
    const filled = new Int32Array(size)
    fillWords(filled, seed, step)
    return filled
  }
  expect(words(1, 2)).toEqual(words(1, 2))
  // No shift of one is another.
  const seen = new Set<number>()
  for (const [seed, step] of [
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
    [2, 0],
  ] as const)
    for (const word of words(seed, step, 1000)) seen.add(word)
  expect(seen.size).toBeGreaterThan(4990)
  for (let bit = 0; bit < 32; bit++) {
    const set = words(3, 9).filter((word) => (word >>> bit) & 1).length
    expect(Math.abs(set - 2048)).toBeLessThan(5 * 32)
  }
})
