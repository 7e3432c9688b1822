import { describe, expect, test } from 'vitest'
import { pathOf } from '../../test/conformance/oracle.ts'
import { predictedLayers } from '../../test/conformance/predictions.ts'
import { openModel } from '../formats/open-model.ts'
import { nodeFiles } from '../platform/node.ts'
import { checkDistilled } from './check-distilled.ts'

async function errorsOf(network: string) {
  const { layers, notes } = await predictedLayers(network)
  const percentOff = (ratio: number) => 100 * Math.abs(ratio - 1)
  return {
    notes,
    layers: layers.map(({ isDirect, distilled, formula, prediction }) => ({
      isDirect,
      distilled: percentOff(distilled),
      formula: percentOff(formula),
      assumptions: prediction?.assumptions ?? [],
    })),
  }
}

const worst = (errors: readonly number[]) => Math.max(...errors)

describe('against networks that PyTorch trained and measured', () => {
  test('convolutions in Keras style: every layer within 10 %, where formulas are 20 % off', async () => {
    const { layers, notes } = await errorsOf('keras-style')
    expect(notes).toEqual([])
    expect(layers.some(({ isDirect }) => isDirect)).toBe(true)
    expect(worst(layers.map(({ formula }) => formula))).toBeGreaterThan(20)
    expect(worst(layers.map(({ distilled }) => distilled))).toBeLessThan(10)
    expect(layers[0]!.assumptions).toEqual([
      expect.stringMatching(/^measured on \d+ inputs distilled from the model$/),
    ])
  })

  test('VGG, noise in front of convolutions: within 10 % behind them too', async () => {
    const { layers } = await errorsOf('vgg-bn')
    expect(layers.length).toBeGreaterThan(0)
    expect(worst(layers.map(({ formula }) => formula))).toBeGreaterThan(25)
    expect(worst(layers.map(({ distilled }) => distilled))).toBeLessThan(10)
  })

  test('noise on the raw input, of which no formula tells', async () => {
    const { layers } = await errorsOf('conv1d')
    expect(layers.every(({ formula }) => Number.isNaN(formula))).toBe(true)
    const direct = layers.filter(({ isDirect }) => isDirect)
    expect(direct).toHaveLength(1)
    expect(direct[0]!.distilled).toBeLessThan(10)
  })

  test('where inputs do not match, the formulas stay, and the result says so', async () => {
    const { layers, notes } = await errorsOf('mlp')
    expect(notes).toEqual([
      expect.stringMatching(
        /^predictions are by formula, .*loss 0\.\d+ reached, at most 0\.02 expected: they do not match/,
      ),
    ])
    expect(layers.map(({ distilled }) => distilled)).toEqual(layers.map(({ formula }) => formula))
  })
})

test('a stopped one ends with the reason', async () => {
  const file = await openModel(pathOf('vgg-bn', 'model.onnx'), nodeFiles)
  const controller = new AbortController()
  const onProgress = () => controller.abort(new Error('enough'))
  await expect(checkDistilled(file, { signal: controller.signal, onProgress }, nodeFiles)).rejects.toThrow(
    'enough',
  )
})
