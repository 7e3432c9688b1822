import { readFileSync } from 'node:fs'
import { unzipSync } from 'fflate'
import { describe, expect, test } from 'vitest'
import { factsOf } from '../../src/analysis/index.ts'
import { encodeModel } from '../../src/formats/onnx/index.ts'
import { readModelBytes } from '../../src/formats/open-model.ts'
import { type DataType, Tensor } from '../../src/ir/tensor.ts'
import { memoryFiles } from '../../src/platform/web.ts'
import { toMode } from '../../src/rewrite/modes/mode.ts'
import { createSession } from '../../src/runtime/session.ts'

interface Recorded {
  inputs: { name: string; dims: number[]; dataType: DataType; values: number[] }[]
  outputs: { layer: string; dims: number[]; values: (number | null)[] }[]
}

/** Recorded by scripts/oracle/record_keras_recurrent.py. */
const archive = unzipSync(readFileSync(new URL('../oracle/keras-recurrent.zip', import.meta.url)))
const names = Object.keys(archive).filter((name) => !name.endsWith('.json'))
const open = (name: string) => readModelBytes(archive[name]!, name, memoryFiles(new Map()))
const recordedOf = (name: string) =>
  JSON.parse(new TextDecoder().decode(archive[name.replace(/\.\w+$/, '.json')])) as Recorded

const feedsOf = ({ inputs }: Recorded) =>
  new Map(inputs.map(({ name, dims, dataType, values }) => [name, Tensor.of(dataType, dims, values)]))

describe.each(names)('%s', (name) => {
  test('computes what Keras computes', async () => {
    const { model, notes } = await open(name)
    expect(notes ?? []).toEqual([])
    const recorded = recordedOf(name)
    const session = await createSession(encodeModel(toMode(model, 'eval')))
    const results = await session.run(feedsOf(recorded))
    await session.release()
    for (const [i, { layer, dims, values }] of recorded.outputs.entries()) {
      const result = results.get(model.graph.outputs[i]!.name)!
      expect(result.dims, layer).toEqual(dims)
      // Keras' mean over no step at all is no number, here as there.
      const far = result
        .toNumbers()
        .filter((value, k) => !(Math.abs(value - (values[k] ?? Number.NaN)) < 1e-4) && values[k] !== null)
      expect([...far], layer).toEqual([])
      expect(result.toNumbers().filter(Number.isNaN).length, layer).toBe(
        values.filter((value) => value === null).length,
      )
    }
  })
})

describe('noise in recurrent layers', () => {
  const name = names.find((other) => /^keras3-cells/.test(other))!

  test('is seen, with the layer that holds it', async () => {
    const { model } = await open(name)
    const { noises } = factsOf(model)
    const found = noises.map(({ label, parameter, active }) => `${label} ${parameter.value} ${active}`)
    expect(found.sort()).toEqual([
      'gru_after_noise 0.3 always',
      'gru_after_noise 0.4 always',
      'gru_noise 0.4 always',
      'lstm_noise 0.2 always',
      'rnn_noise 0.2 always',
    ])
  })

  test('acts in train and sample mode alone, one draw for all steps', async () => {
    const { model } = await open(name)
    const recorded = recordedOf(name)
    const outputs = async (mode: 'sample' | 'eval') => {
      const session = await createSession(encodeModel(toMode(model, mode)))
      const results = await session.run(feedsOf(recorded))
      await session.release()
      return new Map(
        recorded.outputs.map(({ layer }, i) => [
          `${layer}${i}`,
          results.get(model.graph.outputs[i]!.name)!.toNumbers(),
        ]),
      )
    }
    const [noisy, quiet] = [await outputs('sample'), await outputs('eval')]
    const changed = recorded.outputs.flatMap((_, i) => {
      const key = [...quiet.keys()][i]!
      const differs = noisy.get(key)!.some((value, k) => value !== quiet.get(key)![k])
      return differs ? [model.graph.outputs[i]!.name] : []
    })
    expect(changed.sort()).toEqual(['gru_after_noise', 'gru_noise', 'lstm_noise', 'rnn_noise'])
    for (const values of noisy.values()) expect(values.every(Number.isFinite)).toBe(true)
  })
})
