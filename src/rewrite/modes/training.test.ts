import { expect, test } from 'vitest'
import { withGradients } from '../../autodiff/with-gradients.ts'
import { encodeModel } from '../../formats/onnx/write.ts'
import type { Model } from '../../ir/model.ts'
import { uniform } from '../../ir/random.ts'
import { elementCount, Tensor } from '../../ir/tensor.ts'
import { parseModel } from '../../ir/text.ts'
import { RandomWords } from '../../ops/random-words.ts'
import { createSession } from '../../runtime/session.ts'
import { toMode } from './mode.ts'
import { toTraining } from './training.ts'

const model = parseModel(`
  net (float32[6, 2, 3] x) => (float32[] loss)
  <float32[2] s = {1, 2}, float32[2] b = {0, 1}, float32[2] m = {0.5, -1}, float32 ratio = {0.25}, float32[6, 2, 3] t = uniform(-9, 9, 4)>
  {
    a = BatchNormalization (x, s, b, m, s)
    d = Dropout (a, ratio)
    c = BatchNormalization <momentum = 0.5> (d, s, b, m, s)
    e = Mul (c, t)
    loss = ReduceMean <keepdims = 0> (e)
  }`)

async function run(graph: Model, outputs: readonly string[], feeds: ReadonlyMap<string, Tensor>) {
  const exposed = {
    ...graph,
    graph: { ...graph.graph, outputs: outputs.map((name) => ({ name, type: undefined })), types: new Map() },
  }
  const session = await createSession(encodeModel(exposed), { threads: 1 })
  const found = await session.run(new Map([...feeds].filter(([name]) => session.inputs.includes(name))))
  await session.release()
  return (name: string) => [...found.get(name)!.toNumbers()]
}

const x = Tensor.float32([6, 2, 3], uniform(36, -1, 1, 1))

test('running statistics move towards the moments of the batch, as ONNX or as PyTorch has it', async () => {
  const values = x.toNumbers()
  const channel = Array.from({ length: 18 }, (_, i) => values[Math.floor(i / 3) * 6 + (i % 3)]!)
  const mean = channel.reduce((sum, v) => sum + v, 0) / 18
  const variance = channel.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 18
  for (const [kind, factor] of [
    ['biased', 1],
    ['unbiased', 18 / 17],
  ] as const) {
    const { model: training, statistics } = toTraining(model, { variance: kind })
    expect(statistics.map(({ norm }) => norm.key)).toEqual(['a', 'c'])
    const [first] = statistics
    const found = await run(training, [first!.newMean, first!.newVariance], new Map([['x', x]]))
    expect(found(first!.newMean)[0]).toBeCloseTo(0.9 * 0.5 + 0.1 * mean, 5)
    expect(found(first!.newVariance)[0]).toBeCloseTo(0.9 * 1 + 0.1 * variance * factor, 5)
  }
  const { statistics } = toTraining(model)
  expect(new Set(statistics.flatMap((s) => [s.mean, s.variance])).size).toBe(4)
})

test('gradients pass noise as the mask that was drawn lets them, in train and in sample mode', async () => {
  const words = new RandomWords('words')
  for (const graph of [
    toTraining(model, { words: new RandomWords('words') }).model,
    toTraining(model, { seed: 3 }).model,
    toMode(model, 'sample', { words }),
  ]) {
    const { model: differentiated, gradients } = withGradients(graph, { loss: 'loss', wrt: ['d', 'a'] })
    const feeds = new Map([['x', x]])
    const drawn = graph.graph.inputs.find(({ name }) => name === 'words')
    const dims = drawn?.type?.shape as number[] | undefined
    if (dims)
      feeds.set('words', Tensor.of('int32', dims, uniform(elementCount(dims), -(2 ** 31), 2 ** 31, 5)))
    const outputs = ['a', 'd', gradients.get('a')!, gradients.get('d')!]
    const found = await run(differentiated, outputs, feeds)
    const [before, after, passed, arriving] = outputs.map(found)
    const kept = before!.filter((v, i) => {
      const factor = after![i]! / v
      expect(passed![i]).toBeCloseTo(arriving![i]! * factor, 5)
      return factor > 0
    })
    expect(kept.length).toBeGreaterThan(18)
    expect(kept.length).toBeLessThan(36)
  }
})
