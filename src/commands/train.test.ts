import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { encodeNpz } from '../data/npz-write.ts'
import { openModel } from '../formats/open-model.ts'
import { storedTensor } from '../ir/edit.ts'
import { uniform } from '../ir/random.ts'
import { elementCount, Tensor } from '../ir/tensor.ts'
import { nodeFiles } from '../platform/node.ts'
import { save } from './save.ts'
import { train } from './train.ts'

const oracle = fileURLToPath(new URL('../../test/oracle/', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'varshift-train-job-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('models train and are written back in their own format', () => {
  for (const path of [
    'keras/residual/model.keras',
    'keras/residual/model.h5',
    'keras/residual/model.onnx',
    'tfjs/residual/model.json',
    'tfjs/dense/model.json',
    'networks/vgg-bn/model.onnx',
    'networks/preresnet/model-opset9.onnx',
    'networks/wrn/model-dynamo.onnx',
  ])
    test(path, async () => {
      const file = await openModel(join(oracle, path), nodeFiles)
      const out = join(folder, path.replaceAll(/[/.]/g, '-'))
      mkdirSync(out)
      const { inputs, outputs, initializers } = file.model.graph
      const size = 16
      const arrays = new Map<string, Tensor>()
      for (const { name } of inputs.filter((input) => !initializers.has(input.name))) {
        const shape = factsOf(file.model).types.get(name)!.shape!.slice(1) as number[]
        const dims = [size, ...shape]
        arrays.set(name, Tensor.float32(dims, uniform(elementCount(dims), 0, 1, 1)))
      }
      const classes = factsOf(file.model).types.get(outputs[0]!.name)!.shape!.at(-1) as number
      arrays.set(
        'labels',
        Tensor.int64(
          [size],
          Array.from({ length: size }, (_, i) => i % Math.max(2, classes)),
        ),
      )
      writeFileSync(join(out, 'data.npz'), encodeNpz(arrays))

      const { result, edits } = await train(
        file,
        {
          data: join(out, 'data.npz'),
          batchSize: 8,
          epochs: 2,
          learningRate: 0.01,
          threads: 1,
          loss: classes > 1 ? 'cross-entropy' : 'binary-cross-entropy',
        },
        nodeFiles,
      )
      expect(result.training).toMatchObject({ steps: 4, ended: 'finished', network: file.path })
      expect(edits.some(({ kind }) => kind === 'set-running-statistics')).toBe(
        factsOf(file.model).norms.length > 0,
      )
      const target = join(out, path.split('/').at(-1)!)
      await save(file, edits, target, nodeFiles)
      const again = await openModel(target, nodeFiles)
      expect(again.model.format).toBe(file.model.format)
      let moved = 0
      for (const edit of edits) {
        if (edit.kind === 'set-tensor') {
          const numbers = storedTensor(again.model.graph, edit.value)!.toNumbers()
          expect(numbers).toEqual(edit.tensor.toNumbers())
          if (numbers.some((v, i) => v !== storedTensor(file.model.graph, edit.value)!.toNumbers()[i]))
            moved++
        }
        if (edit.kind === 'set-running-statistics') {
          const norm = factsOf(again.model).norms.find(({ key }) => key === edit.node)!
          expect(norm.mean).toEqual(Float64Array.from(Float32Array.from(edit.mean)))
          expect(norm.variance).toEqual(Float64Array.from(Float32Array.from(edit.variance)))
        }
      }
      expect(moved).toBeGreaterThan(edits.length / 4)
    })
})

test('a network by its name takes the size of the data', async () => {
  const { file, result } = await train(
    { network: 'mlp-64-32-10', noise: { kind: 'dropout', value: 0.5 }, placement: 'before-norm' },
    { data: 'shapes:count=32,size=8,channels=1', batchSize: 16, threads: 1 },
    nodeFiles,
  )
  const types = factsOf(file.model).types
  expect(types.get(file.model.graph.outputs[0]!.name)!.shape!.at(-1)).toBe(10)
  expect(result.noises.length).toBeGreaterThan(0)
  expect(result.training!.parameters).toBeGreaterThan(1000)
})
