import { readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { knownValues } from '../../src/analysis/infer-types.ts'
import { withGradients } from '../../src/autodiff/with-gradients.ts'
import { encodeModel } from '../../src/formats/onnx/write.ts'
import { openModel } from '../../src/formats/open-model.ts'
import { GraphBuilder } from '../../src/ir/builder.ts'
import type { Model } from '../../src/ir/model.ts'
import { uniform } from '../../src/ir/random.ts'
import { elementCount, isFloat, Tensor } from '../../src/ir/tensor.ts'
import { fillWords, RandomWords } from '../../src/ops/random-words.ts'
import { nodeFiles } from '../../src/platform/node.ts'
import { toMode } from '../../src/rewrite/modes/mode.ts'
import { toTraining } from '../../src/rewrite/modes/training.ts'
import { bindShapes } from '../../src/rewrite/passes/bind-shapes.ts'
import { raiseOpset } from '../../src/rewrite/passes/raise-opset.ts'
import { createSession } from '../../src/runtime/session.ts'

const root = new URL('../oracle/networks/', import.meta.url)
const batch = 8

/** The model, its noise on, with a loss: the sum of its outputs, each multiplied by a number of its own. */
async function prepared(path: string, mode: 'train' | 'sample') {
  const { model: file } = await openModel(path, nodeFiles)
  const shapes = new Map(
    file.graph.inputs
      .filter(({ name }) => !file.graph.initializers.has(name))
      .map(({ name, type }) => [name, [batch, ...(type!.shape!.slice(1) as number[])]]),
  )
  const bound = bindShapes(raiseOpset(file), shapes)
  const words = new RandomWords('words')
  const model = mode === 'train' ? toTraining(bound, { words }).model : toMode(bound, 'sample', { words })
  const build = new GraphBuilder(model)
  for (const node of model.graph.nodes) build.keep(node)
  const [output] = model.graph.outputs
  const dims = knownValues(model).get(output!.name)!.shape as readonly number[]
  const weights = build.constant(Tensor.float32(dims, uniform(elementCount(dims), -1, 1, 1)))
  const loss = build.reduceSum(build.mul(output!.name, weights), [...dims.keys()], false)
  const withLoss: Model = {
    ...model,
    graph: { ...model.graph, nodes: build.nodes, initializers: build.initializers },
  }
  const feeds = new Map(
    [...shapes].map(([name, shape]) => [name, Tensor.float32(shape, uniform(elementCount(shape), 0, 1, 2))]),
  )
  if (words.size > 0) {
    const filled = new Int32Array(words.size)
    fillWords(filled, 1, 1)
    feeds.set('words', new Tensor('int32', [words.size], new Uint8Array(filled.buffer)))
  }
  return { model: withLoss, loss, feeds }
}

/** Parameters: what matrices, convolutions and norms read. */
function parametersOf({ graph }: Model): string[] {
  const read = graph.nodes
    .filter(({ opType }) => ['Conv', 'Gemm', 'MatMul', 'BatchNormalization', 'Add'].includes(opType))
    .flatMap(({ inputs, opType }) => inputs.slice(opType === 'Add' || opType === 'MatMul' ? 0 : 1, 3))
  return [...new Set(read)].filter((name) => {
    const tensor = graph.initializers.get(name)
    return tensor && isFloat(tensor.dataType) && tensor.size > 1
  })
}

async function check(path: string, mode: 'train' | 'sample'): Promise<void> {
  const { model, loss, feeds } = await prepared(path, mode)
  const parameters = parametersOf(model)
  const inputs = model.graph.inputs.filter(({ name }) => name !== 'words').map(({ name }) => name)
  const wrt = mode === 'train' ? parameters : inputs
  const { model: differentiated, gradients } = withGradients(model, { loss, wrt })
  const fed = mode === 'train' ? parameters : []
  const session = await createSession(
    encodeModel({
      ...differentiated,
      graph: {
        ...differentiated.graph,
        inputs: [
          ...differentiated.graph.inputs,
          ...fed.map((name) => {
            const { dataType, dims } = model.graph.initializers.get(name)!
            return { name, type: { dataType, shape: dims } }
          }),
        ],
        initializers: new Map([...differentiated.graph.initializers].filter(([name]) => !fed.includes(name))),
        outputs: [loss, ...new Set(gradients.values())].map((name) => ({ name })),
        types: new Map(),
      },
    }),
    { threads: 1 },
  )
  const given = new Map(feeds)
  for (const name of fed) given.set(name, model.graph.initializers.get(name)!)
  const run = (values: ReadonlyMap<string, Tensor>) =>
    session.run(new Map([...values].filter(([name]) => session.inputs.includes(name))))
  const found = await run(given)
  let square = 0
  for (const value of gradients.values())
    for (const slope of found.get(value)!.toNumbers()) square += slope * slope
  expect(square).toBeGreaterThan(0)
  // A step along the gradient changes the loss by its squared length times the step's.
  const lossAt = async (step: number) => {
    const moved = new Map(given)
    for (const [name, value] of gradients) {
      const slopes = found.get(value)!.toNumbers()
      const tensor = given.get(name)!
      moved.set(
        name,
        Tensor.of(
          'float32',
          tensor.dims,
          tensor.toNumbers().map((v, i) => v + step * slopes[i]!),
        ),
      )
    }
    return (await run(moved)).get(loss)!.toNumbers()[0]!
  }
  const errors: number[] = []
  // Long steps cross the kinks of activations, short ones drown in the rounding of float32.
  for (const length of [1e-3, 3e-4, 1e-4]) {
    const step = length / Math.sqrt(square)
    errors.push(Math.abs(((await lossAt(step)) - (await lossAt(-step))) / (2 * step) / square - 1))
  }
  await session.release()
  expect(Math.min(...errors)).toBeLessThan(3e-3)
}

describe('a small step along the gradient of a whole network changes the loss as foretold', () => {
  for (const network of readdirSync(root))
    for (const file of readdirSync(new URL(`${network}/`, root)).filter((name) => name.endsWith('.onnx')))
      for (const mode of ['train', 'sample'] as const) {
        // Some channels of this network are dead: divided by their deviation of 0, no step is small.
        if (network === 'mlp' && mode === 'train') continue
        test(`${network}/${file}, ${mode}`, () => check(new URL(`${network}/${file}`, root).pathname, mode))
      }
})
