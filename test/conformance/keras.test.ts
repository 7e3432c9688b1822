import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { unzipSync } from 'fflate'
import { describe, expect, test } from 'vitest'
import { factsOf } from '../../src/analysis/index.ts'
import { parametersNotStored } from '../../src/commands/not-stored.ts'
import { concat, encodeModel } from '../../src/formats/onnx/index.ts'
import { readModelBytes } from '../../src/formats/open-model.ts'
import { applyEdits, type Edit } from '../../src/ir/edit.ts'
import { UserError } from '../../src/ir/errors.ts'
import type { Model } from '../../src/ir/model.ts'
import { uniform } from '../../src/ir/random.ts'
import { Tensor } from '../../src/ir/tensor.ts'
import { memoryFiles } from '../../src/platform/web.ts'
import { toMode } from '../../src/rewrite/modes/mode.ts'
import { createSession } from '../../src/runtime/session.ts'
import { parametersOf } from '../../src/train/parameters.ts'

interface Listed {
  shape: number[]
  values: number[]
}

interface Expected {
  inputs: Record<string, Listed>
  outputs: Listed[]
  norms: Record<string, { mean: Listed; variance: Listed }>
}

/** Models made by Keras itself, each with inputs and eval outputs; see scripts/oracle/record_keras_layers.py. */
const recorded = unzipSync(
  readFileSync(fileURLToPath(new URL('../oracle/keras-layers.zip', import.meta.url))),
)
const names = Object.keys(recorded).filter((name) => !name.endsWith('.json'))
const expectedOf = (name: string): Expected | undefined => {
  const json = recorded[name.replace(/\.\w+$/, '.json')]
  return json && (JSON.parse(Buffer.from(json).toString()) as Expected)
}

const read = (name: string, bytes: Uint8Array = recorded[name]!) =>
  readModelBytes(bytes, name, memoryFiles(new Map()))

async function outputsOf(model: Model, { inputs }: Expected): Promise<Tensor[]> {
  const session = await createSession(encodeModel(toMode(model, 'eval')), { threads: 1 })
  const feeds = new Map(
    model.graph.inputs.map(({ name }, i) => {
      const { shape, values } = Object.values(inputs)[i]!
      return [name, Tensor.float32(shape, values)] as const
    }),
  )
  const outputs = await session.run(feeds)
  await session.release()
  return model.graph.outputs.map(({ name }) => outputs.get(name)!)
}

const editsOf = (model: Model): Edit[] =>
  // Applications of one layer are given the same, as repairs do.
  factsOf(model).norms.map((norm, _, all) => {
    const first = all.findIndex((other) => other.node.inputs[3] === norm.node.inputs[3])
    return {
      kind: 'set-running-statistics',
      node: norm.key,
      mean: uniform(norm.mean!.length, -1, 1, 2 * first),
      variance: uniform(norm.variance!.length, 0.5, 2, 2 * first + 1),
    }
  })

const contentsOf = ({ graph }: Model) =>
  [...graph.initializers].map(([name, tensor]) => [name, [...tensor.dims], [...tensor.toNumbers()]])

describe.each(names)('%s', (name) => {
  test('its eval outputs are those of Keras', async () => {
    const expected = expectedOf(name)
    const file = await read(name)
    if (!expected) {
      expect(file.notes?.length).toBeGreaterThan(0)
      return
    }
    expect(file.notes?.filter((note) => !/is frozen/.test(note))).toEqual([])
    const outputs = await outputsOf(file.model, expected)
    for (const [i, { shape, values }] of expected.outputs.entries()) {
      expect(outputs[i]!.dims).toEqual(shape)
      const got = outputs[i]!.toNumbers()
      const error = values.map((value, j) => Math.abs(value - got[j]!) / Math.max(1, Math.abs(value)))
      expect(Math.max(...error)).toBeLessThan(1e-4)
    }
  })

  test('its running statistics are found by the path of their layer', async () => {
    const norms = expectedOf(name)?.norms ?? {}
    const { model } = await read(name)
    const found = new Map(factsOf(model).norms.map((norm) => [norm.label, norm]))
    for (const [path, { mean, variance }] of Object.entries(norms)) {
      expect([...found.get(path)!.mean!].map((v, i) => Math.abs(v - mean.values[i]!))).toSatisfy(small)
      expect([...found.get(path)!.variance!].map((v, i) => Math.abs(v - variance.values[i]!))).toSatisfy(
        small,
      )
    }
  })

  test('what is written reads as what was edited, and nothing without edits', async () => {
    const file = await read(name)
    expect(concat(file.write([]))).toBe(recorded[name])
    const edits = editsOf(file.model)
    const written = concat(file.write(edits))
    const again = await read(name, written)
    expect(contentsOf(again.model)).toEqual(contentsOf(applyEdits(file.model, edits)))
    expect(again.model.graph.nodes).toEqual(file.model.graph.nodes)
    // Only numbers were replaced.
    expect(written.length).toBe(recorded[name]!.length)
  })
})

test.each(names)('%s: training can set all parameters but those that Keras leaves out', async (name) => {
  const file = await read(name)
  const left = new Set(parametersNotStored(file))
  const settings = parametersOf(file.model).map(
    ({ value, tensor }): Edit => ({ kind: 'set-tensor', value, tensor }),
  )
  const isLeft = (edit: Edit) => edit.kind === 'set-tensor' && left.has(edit.value)
  expect(() => file.write(settings.filter((edit) => !isLeft(edit)))).not.toThrow()
  for (const edit of settings.filter(isLeft)) expect(() => file.write([edit])).toThrow(UserError)
})

const small = (errors: number[]) => errors.every((error) => error < 1e-5)
