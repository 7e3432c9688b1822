import { describe, expect, test } from 'vitest'
import { factsOf } from '../../src/analysis/index.ts'
import { dataFor } from '../../src/commands/data.ts'
import { recalibrated } from '../../src/commands/recalibrated.ts'
import { concat, encodeModel } from '../../src/formats/onnx/index.ts'
import { openModel, readModelBytes } from '../../src/formats/open-model.ts'
import { fewestBatches } from '../../src/measure/blocked-probe.ts'
import { measure } from '../../src/measure/measure.ts'
import { nodeFiles } from '../../src/platform/node.ts'
import { toMode } from '../../src/rewrite/modes/mode.ts'
import { evalMode } from '../../src/rewrite/repairs/eval-mode.ts'
import { createSession } from '../../src/runtime/session.ts'
import { expectedOf, largestRelativeError, pathOf, type RecordedNorm, recordedNetworks } from './oracle.ts'

/**
 * Float32 sums over thousands of values leave this much between two correct programs, relative to each number, or to
 * this share of the layer's own scale for numbers that are nearly zero.
 */
const tolerance = 1e-4
const nearlyZero = 1e-2

const largest = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), 0)

function expectMoments(
  mean: ArrayLike<number | null>,
  variance: ArrayLike<number | null>,
  expected: { mean: number[]; variance: number[] },
) {
  const scale = largest(expected.variance)
  expect(largestRelativeError(mean, expected.mean, nearlyZero * Math.sqrt(scale))).toBeLessThan(tolerance)
  expect(largestRelativeError(variance, expected.variance, nearlyZero * scale)).toBeLessThan(tolerance)
}

describe.each(recordedNetworks)('%s, against PyTorch', (name) => {
  const recorded = expectedOf(name)
  const byModule = new Map<string, RecordedNorm>(recorded.norms.map((norm) => [norm.module, norm]))
  const scale = Object.fromEntries(
    recorded.inputs.map((input) => [input.name, input.stored === 'uint8' ? 1 / input.divideBy : 1]),
  )
  const options = { data: pathOf(name, 'data.npz'), scale, modeSamples: 0 }

  const open = async (batchSize?: number) => {
    const file = await openModel(pathOf(name, 'model.onnx'), nodeFiles)
    return {
      file,
      data: await dataFor(file.model, { ...options, ...(batchSize ? { batchSize } : {}) }, nodeFiles),
    }
  }

  test.each(['one pass', 'a long pass'])('moments in eval mode and shift ratios, %s', async (length) => {
    const isLong = length === 'a long pass'
    const { file, data } = await open(isLong ? 3 : undefined)
    expect(data.batches.size >= fewestBatches * data.batches.batchSize).toBe(isLong)
    const { measurement } = await measure(file.model, data.batches, {
      ...options,
      ...(isLong ? { files: nodeFiles } : {}),
    })
    expect(measurement.layers.map(({ label }) => label).sort()).toEqual([...byModule.keys()].sort())
    for (const layer of measurement.layers) {
      const norm = byModule.get(layer.label)!
      expectMoments(layer.realMean, layer.realVariance, { mean: norm.realMean, variance: norm.realVariance })
      expect(Math.abs(layer.shiftRatio / norm.shiftRatio - 1)).toBeLessThan(tolerance)
      expect(layer.shiftRatioInterval[0]).toBeLessThanOrEqual(layer.shiftRatio)
      expect(layer.shiftRatioInterval[1]).toBeGreaterThanOrEqual(layer.shiftRatio)
    }
    const { evalBefore } = recorded.scores.samples
    expect(measurement.modes.eval.accuracy).toBeCloseTo(evalBefore.accuracy, 6)
    expect(Math.abs(measurement.modes.eval.loss! / evalBefore.crossEntropy - 1)).toBeLessThan(tolerance)
  })

  test('moments do not depend on how samples are cut into batches', async () => {
    const { file, data } = await open(29)
    const { measurement } = await measure(file.model, data.batches, options)
    for (const layer of measurement.layers) {
      const norm = byModule.get(layer.label)!
      expectMoments(layer.realMean, layer.realVariance, { mean: norm.realMean, variance: norm.realVariance })
    }
  })

  test('the repaired file stores the population statistics and computes the repaired outputs', async () => {
    const { file, data } = await open()
    const { edits } = await recalibrated(file.model, data, options)
    const repaired = await readModelBytes(concat(file.write(edits)), 'repaired.onnx', nodeFiles)
    const { measurement } = await measure(repaired.model, data.batches, options)
    for (const layer of measurement.layers) {
      const norm = byModule.get(layer.label)!
      expectMoments(layer.storedMean, layer.storedVariance, {
        mean: norm.repairedMean,
        variance: norm.repairedVariance,
      })
      expect(layer.shiftRatio).toBeLessThan(1 + tolerance)
    }
    const session = await createSession(encodeModel(toMode(repaired.model, 'eval')))
    for await (const batch of data.batches.batches({ limit: recorded.logitsAfter.length })) {
      const [logits] = [...(await session.run(batch.inputs)).values()]
      const expected = recorded.logitsAfter.flat()
      expect(logits!.toNumbers().length).toBe(expected.length)
      const error = largestRelativeError(logits!.toNumbers(), expected, largest(expected.map(Math.abs)))
      expect(error).toBeLessThan(tolerance)
    }
    await session.release()
  })

  test('the file set to eval mode computes what the network computes in eval mode, as it stands', async () => {
    const { file, data } = await open()
    const facts = factsOf(file.model)
    const edits = evalMode.plan({ model: file.model, facts, statistics: new Map(), choices: {} })
    const session = await createSession(concat(file.write(edits)))
    for await (const batch of data.batches.batches({ limit: recorded.logitsBefore.length })) {
      const [logits] = [...(await session.run(batch.inputs)).values()]
      const expected = recorded.logitsBefore.flat()
      expect(logits!.toNumbers().length).toBe(expected.length)
      const error = largestRelativeError(logits!.toNumbers(), expected, largest(expected.map(Math.abs)))
      expect(error).toBeLessThan(tolerance)
    }
    await session.release()
  })
})

test('passes in eval mode reach the same statistics from unequal batches', async () => {
  const recorded = expectedOf('vgg-bn')
  const file = await openModel(pathOf('vgg-bn', 'model.onnx'), nodeFiles)
  const { batches } = await dataFor(
    file.model,
    { data: pathOf('vgg-bn', 'data.npz'), batchSize: 64 },
    nodeFiles,
  )
  const { edits, passes } = await recalibrated(
    file.model,
    { batches, trainingBatches: batches, largeBatches: batches },
    { passes: 20, tolerance: 1 + 1e-6, modeSamples: 0 },
  )
  expect(passes).toBeGreaterThan(1)
  edits.forEach(({ mean, variance }, i) => {
    const norm = recorded.norms[i]!
    expectMoments(mean, variance, { mean: norm.repairedMean, variance: norm.repairedVariance })
  })
})
