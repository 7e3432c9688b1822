import { describe, expect, test } from 'vitest'
import { fix } from '../../src/commands/fix.ts'
import { measure } from '../../src/commands/measure.ts'
import { concat } from '../../src/formats/onnx/index.ts'
import { openModel, readModelBytes } from '../../src/formats/open-model.ts'
import { nodeFiles } from '../../src/platform/node.ts'

const fileOf = (name: string, file: string) =>
  new URL(`../oracle/networks/${name}/${file}`, import.meta.url).pathname

/** Largest layer ratio, accuracy and cross entropy on the data recorded with the network, which distilling never saw. */
async function onData(bytes: Uint8Array, name: string) {
  const file = await readModelBytes(bytes, fileOf(name, 'model.onnx'), nodeFiles)
  const { measurement } = await measure(file, { data: fileOf(name, 'data.npz'), modeSamples: 0 }, nodeFiles)
  const { layers, modes } = measurement!
  return {
    ratio: Math.max(...layers.map(({ shiftRatio }) => shiftRatio)),
    gap: layers.reduce((sum, { shiftRatio }) => sum + Math.log(shiftRatio), 0) / layers.length,
    loss: modes.eval.loss!,
    accuracy: modes.eval.accuracy!,
  }
}

describe('a repair without data', () => {
  for (const name of ['preresnet', 'densenet', 'resnext'])
    test(`mends what the data shows: ${name}`, { timeout: 120_000 }, async () => {
      const file = await openModel(fileOf(name, 'model.onnx'), nodeFiles)
      const options = { distillation: { restarts: 2, inputs: 16, steps: 150 }, seed: 1 }
      const { result, chunks } = await fix(file, options, nodeFiles)
      const { id, outcome, distillation } = result.repair!
      expect({ id, outcome }).toEqual({ id: 'distill', outcome: 'kept' })
      expect(distillation!.losses).toHaveLength(2)
      for (const loss of distillation!.losses) expect(loss).toBeLessThan(0.02)
      const before = await onData(concat(file.write([])), name)
      const after = await onData(concat(chunks!), name)
      // Half of the gap, and neither accuracy nor cross entropy pays for it.
      expect(after.gap).toBeLessThan(before.gap / 2)
      expect(after.loss).toBeLessThan(before.loss * 1.02)
      expect(after.accuracy).toBeGreaterThan(before.accuracy - 0.02)
    })

  test('is refused where the stored moments cannot be matched', { timeout: 120_000 }, async () => {
    const file = await openModel(fileOf('mlp', 'model.onnx'), nodeFiles)
    const { result, chunks } = await fix(
      file,
      { distillation: { restarts: 1, inputs: 32, steps: 100 } },
      nodeFiles,
    )
    expect(result.repair?.outcome).toBe('refused')
    expect(result.repair?.reason).toMatch(
      /could not be matched without data: loss .* repair with .*--data FILE/,
    )
    expect(chunks).toBeUndefined()
  })
})
