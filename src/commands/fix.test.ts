import { describe, expect, test } from 'vitest'
import { factsOf } from '../analysis/index.ts'
import { encodeNpz } from '../data/npz-write.ts'
import { concat, encodeModel } from '../formats/onnx/index.ts'
import { readModelBytes } from '../formats/open-model.ts'
import type { Edit } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { uniform } from '../ir/random.ts'
import { Tensor } from '../ir/tensor.ts'
import { parseModel } from '../ir/text.ts'
import { memoryFiles } from '../platform/web.ts'
import { type Result, resultSchema } from '../result/result.ts'
import { toMode } from '../rewrite/modes/mode.ts'
import { createSession } from '../runtime/session.ts'
import { check } from './check.ts'
import { compare } from './compare.ts'
import { fix } from './fix.ts'
import { measure } from './measure.ts'

const statisticsIn = (edits: readonly Edit[]) =>
  edits.filter((edit) => edit.kind === 'set-running-statistics')

/** x is uniform on -1..3: mean 1, variance 4/3. */
const xMean = 1
const xVariance = 4 / 3
/** What training with a Dropout of 0.5 in front stores: E[x^2] / keep - E[x]^2. */
const noisy = (xVariance + xMean ** 2) / 0.5 - xMean ** 2

const netText = (mean: number[], variance: number[]) => `
  <ir_version: 8, opset_import: ["": 17]>
  net (float32[N, 3] x) => (float32[N, 2] y)
  <float32[3] one = fill(1), float32[3] zero = fill(0), float32[3] mean = {${mean}}, float32[3] variance = {${variance}},
   float32[3, 2] w = {1, -1, 2, 0.5, -1, 1.5}, float32 half = {0.5}, bool on = {1}>
  {
    [drop] d = Dropout (x, half, on)
    [bn] n = BatchNormalization (d, one, zero, mean, variance)
    r = Relu (n)
    y = MatMul (r, w)
  }`
const shifted = netText([1, 1, 1], [noisy, noisy, noisy])
const count = 400
const x = Tensor.float32([count, 3], uniform(count * 3, -1, 3, 1))
const files = memoryFiles(
  new Map([
    ['x.npz', encodeNpz(new Map([['x', x]]))],
    ['other.npz', encodeNpz(new Map([['x', Tensor.float32([count, 3], uniform(count * 3, 4, 9, 2))]]))],
  ]),
)
const open = (text: string) => readModelBytes(encodeModel(parseModel(text)), 'net.onnx', files)
const options = { data: 'x.npz', modeSamples: 0 }

/** Mean and biased variance of the samples themselves. */
const columns = [0, 1, 2].map((c) => {
  const own = [...x.toNumbers()].filter((_, i) => i % 3 === c)
  const mean = own.reduce((sum, v) => sum + v, 0) / count
  return { mean, variance: own.reduce((sum, v) => sum + (v - mean) ** 2, 0) / count }
})

/** The result survives a file: it is what its schema says, and JSON changes nothing. */
function throughJson(result: Result): Result {
  const again = resultSchema.parse(JSON.parse(JSON.stringify(result)))
  expect(again).toEqual(JSON.parse(JSON.stringify(result)))
  return again
}

describe('fix', () => {
  test('keeps a repair that closes the gap', async () => {
    const file = await open(shifted)
    const { result, edits, chunks } = await fix(file, options, files)
    throughJson(result)
    expect(result.repair).toMatchObject({ id: 'recalibrate', outcome: 'kept', samples: count, output: null })
    expect(result.repair?.reason).toMatch(/largest layer shift ratio 2\.\d\d before, 1\.00 after/)
    expect(result.repair?.largestRatioByPass[0]).toBeGreaterThan(2)
    expect(result.repair?.largestRatioByPass.at(-1)).toBeLessThan(1.01)
    expect(result.repair?.changes).toMatchObject([{ label: 'bn', key: 'n' }])
    const [edit] = statisticsIn(edits)
    columns.forEach(({ mean, variance }, c) => {
      expect(edit!.mean[c]!).toBeCloseTo(mean, 5)
      expect(edit!.variance[c]! / variance).toBeCloseTo(1, 5)
    })
    const repaired = await readModelBytes(concat(chunks!), 'fixed.onnx', files)
    const after = await measure(repaired, options, files)
    expect(after.measurement?.layers[0]?.shiftRatio).toBeLessThan(1.0001)
    // And what was repaired needs no repair.
    const again = await fix(repaired, options, files)
    expect(again.result.repair?.outcome).toBe('nothing-to-repair')
    expect(again.chunks).toBeUndefined()
    expect(again.edits).toEqual([])
  })

  test('finds nothing to repair where nothing is shifted', async () => {
    const file = await open(
      netText(
        columns.map((c) => c.mean),
        columns.map((c) => c.variance),
      ),
    )
    const { result, chunks } = await fix(file, options, files)
    throughJson(result)
    expect(result.repair).toMatchObject({ outcome: 'nothing-to-repair', samples: count, changes: [] })
    expect(result.repair?.reason).toMatch(/no variance shift found/)
    expect(chunks).toBeUndefined()
    const forced = await fix(file, { ...options, force: true }, files)
    expect(forced.result.repair?.outcome).toMatch(/forced|kept/)
    expect(forced.chunks).toBeDefined()
  })

  test('rejects a repair that costs accuracy, unless forced', async () => {
    // Labels are what the unrepaired net says, so that any repair can only lose.
    const text = shifted.replace(/mean = \{[^}]*\}/, 'mean = {3, -2, 2.5}')
    const file = await open(text)
    const outputs = (v: number[]) => {
      const n = v.map((value, c) => Math.max(0, (value - [3, -2, 2.5][c]!) / Math.sqrt(noisy + 1e-5)))
      const y = [n[0]! * 1 + n[1]! * 2 - n[2]!, -n[0]! + n[1]! * 0.5 + n[2]! * 1.5]
      return y[1]! > y[0]! ? 1 : 0
    }
    const values = x.toNumbers()
    const labels = Tensor.int64(
      [count],
      Array.from({ length: count }, (_, i) => outputs([...values.subarray(3 * i, 3 * i + 3)])),
    )
    const labelled = memoryFiles(
      new Map([
        [
          'xy.npz',
          encodeNpz(
            new Map([
              ['x', x],
              ['labels', labels],
            ]),
          ),
        ],
      ]),
    )
    const given = { data: 'xy.npz', modeSamples: 0 }
    const { result, edits, chunks } = await fix(file, given, labelled)
    throughJson(result)
    expect(result.measurement?.modes.eval.accuracy).toBe(1)
    expect(result.repair?.outcome).toBe('rejected')
    expect(result.repair?.reason).toMatch(
      /accuracy 100\.0 % before, \d+\.\d % after: it fell beyond its confidence/,
    )
    expect(chunks).toBeUndefined()
    expect(edits).toEqual([])
    const forced = await fix(file, { ...given, force: true }, labelled)
    expect(forced.result.repair?.outcome).toBe('forced')
    expect(forced.result.repair?.reason).toMatch(/it fell beyond its confidence/)
    expect(forced.chunks).toBeDefined()
  })

  test('mends statistics that are none', async () => {
    for (const variance of [
      [0, 0, 0],
      [1, Number.NaN, 1],
      [1, -3, 1],
    ]) {
      const model = parseModel(netText([1, 1, 1], [1, 1, 1]))
      const initializers = new Map(model.graph.initializers).set('variance', Tensor.float32([3], variance))
      const bytes = encodeModel({ ...model, graph: { ...model.graph, initializers } })
      const { result, edits } = await fix(await readModelBytes(bytes, 'net.onnx', files), options, files)
      throughJson(result)
      expect(result.repair?.outcome).toBe('kept')
      expect(statisticsIn(edits)[0]!.variance[1]! / columns[1]!.variance).toBeCloseTo(1, 5)
    }
  })

  test('layers that cannot be measured are left alone', async () => {
    const file = await open(
      shifted
        .replace('float32 half', 'float32 huge = {3e38}, float32 half')
        .replace(
          'y = MatMul (r, w)',
          'y = MatMul (r, w)  h = Mul (x, huge)  z = BatchNormalization (h, one, zero, zero, one)',
        )
        .replace('(float32[N, 2] y)', '(float32[N, 2] y, z)'),
    )
    const { result, edits } = await fix(file, options, files)
    throughJson(result)
    expect(result.repair?.outcome).toBe('kept')
    expect(statisticsIn(edits).map(({ node }) => node)).toEqual(['n'])
  })

  test('one layer that is applied twice stores the moments of both inputs together', async () => {
    const file = await open(`
      <ir_version: 8, opset_import: ["": 17]>
      net (float32[N, 3] x) => (float32[N, 3] y)
      <float32[3] gamma = {1, 2, 3}, float32[3] beta = {0, 0.5, 1}, float32[3] mean = {1, 2, 3}, float32[3] variance = {5, 6, 7},
       float32 two = {2}>
      {
        a = BatchNormalization (x, gamma, beta, mean, variance)
        t = Mul (x, two)
        b = BatchNormalization (t, gamma, beta, mean, variance)
        y = Add (a, b)
      }`)
    const { result, edits, chunks } = await fix(file, options, files)
    throughJson(result)
    expect(statisticsIn(edits).map(({ node }) => node)).toEqual(['a', 'b'])
    expect(statisticsIn(edits)[0]!.mean).toEqual(statisticsIn(edits)[1]!.mean)
    columns.forEach(({ mean, variance }, c) => {
      expect(statisticsIn(edits)[0]!.mean[c]!).toBeCloseTo((mean + 2 * mean) / 2, 4)
      // Variance within, and between the two means.
      const pooled = (variance + 4 * variance) / 2 + (mean / 2) ** 2
      expect(statisticsIn(edits)[0]!.variance[c]! / pooled).toBeCloseTo(1, 4)
    })
    // Both still read the one tensor of the file.
    const { model } = await readModelBytes(concat(chunks!), 'net.onnx', files)
    expect(model.graph.initializers.size).toBe(file.model.graph.initializers.size)
  })

  test('stops when told to, and writes nothing', async () => {
    const file = await open(shifted)
    for (const phase of ['measuring', 're-estimating the running statistics', 'checking pass 1']) {
      const controller = new AbortController()
      const work = fix(
        file,
        {
          ...options,
          batchSize: 20,
          signal: controller.signal,
          onProgress: (progress) => progress.phase === phase && controller.abort(),
        },
        files,
      )
      // A pass that is one single large batch is over by the time it can be stopped.
      await expect(work).rejects.toThrow(UserError)
      await expect(work).rejects.toThrow(/stopped/)
    }
  })

  test('keeps nothing from data that cannot tell, or is not like the training data', async () => {
    const feed = (rows: number, value: (i: number) => number) =>
      memoryFiles(
        new Map([
          [
            'x.npz',
            encodeNpz(
              new Map([
                [
                  'x',
                  Tensor.float32(
                    [rows, 3],
                    Float32Array.from({ length: rows * 3 }, (_, i) => value(i)),
                  ),
                ],
              ]),
            ),
          ],
        ]),
      )
    const like = x.toNumbers()
    const few = await fix(
      await open(shifted),
      options,
      feed(3, (i) => like[i]!),
    )
    expect(few.result.repair).toMatchObject({
      outcome: 'rejected',
      reason: expect.stringMatching(/^3 samples are too few/),
    })
    const constant = feed(64, () => 1)
    await expect(fix(await open(shifted), options, constant)).rejects.toThrow(
      /no batch normalization could be measured \(what it sees on this data is constant\)/,
    )
    // The same network without the noise, on data of another scale.
    const quiet = netText([1, 1, 1], [xVariance, xVariance, xVariance]).replace(
      '[drop] d = Dropout (x, half, on)',
      'd = Identity (x)',
    )
    const scaled = await fix(
      await open(quiet),
      options,
      feed(400, (i) => 255 * like[i]!),
    )
    expect(scaled.result.repair).toMatchObject({
      outcome: 'rejected',
      reason: expect.stringMatching(
        /no noise reaches 'bn', and yet it shifts by 6\.\d+e\+4: the data is not like/,
      ),
    })
    for (const { chunks } of [few, scaled]) expect(chunks).toBeUndefined()
    await expect(
      fix(
        await open(shifted),
        options,
        feed(64, () => 1e30),
      ),
    ).rejects.toThrow(/no batch normalization could be measured/)
  })

  test('refuses what it cannot do', async () => {
    const file = await open(shifted)
    await expect(fix(file, { ...options, repair: 'magic' }, files)).rejects.toThrow(
      /no repair is called 'magic'; there is: recalibrate/,
    )
    await expect(fix(file, { repair: 'recalibrate' }, files)).rejects.toThrow(/needs samples.*--data.*--from/)
    await expect(fix(file, { repair: 'distill', from: check(file) }, files)).rejects.toThrow(
      /leave out --from/,
    )
  })
})

describe('fix from statistics', () => {
  const measured = async () => {
    const file = await open(shifted)
    return { file, from: throughJson(await measure(file, { ...options, statistics: true }, files)) }
  }

  test('does what fix with the data does', async () => {
    const { file, from } = await measured()
    const direct = await fix(file, options, files)
    const { result, edits, chunks } = await fix(file, { from }, files)
    throughJson(result)
    expect(edits).toEqual(direct.edits)
    expect(concat(chunks!)).toEqual(concat(direct.chunks!))
    expect(result.repair).toMatchObject({ outcome: 'kept', samples: count })
    expect(result.repair?.reason).toMatch(/as measured elsewhere/)
    expect(result.repair?.changes).toEqual(direct.result.repair?.changes)
  })

  test('refuses statistics of another file, or that do not fit', async () => {
    const { file, from } = await measured()
    const named = { ...file, sha256: 'a'.repeat(64) }
    const other = { ...from, model: { ...from.model, sha256: 'b'.repeat(64) } }
    await expect(fix(named, { from: other }, files)).rejects.toThrow(
      /measured on another file \(sha256 b{12}\.\.\., this one is a{12}\.\.\.\); measure this one/,
    )
    const [first] = from.statistics!
    const wrong = (change: Partial<typeof first>) =>
      fix(file, { from: { ...from, statistics: [{ ...first!, ...change }] } }, files)
    await expect(wrong({ mean: [1, 2] })).rejects.toThrow(/'bn' has 3 channels here and 2 in the statistics/)
    await expect(wrong({ key: 'nowhere' })).rejects.toThrow(/'bn' has no channels here/)
    await expect(wrong({ variance: [1, -1, 1] })).rejects.toThrow(/negative variance/)
    const { statistics: _, ...without } = from
    await expect(fix(file, { from: without }, files)).rejects.toThrow(/holds no statistics.*-o shift\.json/)
  })

  test('rejects what was worse when measured, unless forced', async () => {
    const { file, from } = await measured()
    const worse = { ...from, measurement: from.after!, after: from.measurement! }
    const rejected = await fix(file, { from: worse }, files)
    expect(rejected.result.repair?.outcome).toBe('rejected')
    expect(rejected.chunks).toBeUndefined()
    const forced = await fix(file, { from: worse, force: true }, files)
    expect(forced.result.repair?.outcome).toBe('forced')
    expect(forced.chunks).toBeDefined()
  })
})

describe('measure', () => {
  test('stopped before its end is partial, and holds no statistics', async () => {
    const controller = new AbortController()
    const result = await measure(
      await open(shifted),
      {
        ...options,
        batchSize: 50,
        statistics: true,
        signal: controller.signal,
        onProgress: ({ done }) => done >= 100 && controller.abort(),
      },
      files,
    )
    throughJson(result)
    expect(result.measurement).toMatchObject({ partial: true, data: { samples: 100, available: count } })
    expect(result.measurement?.layers).toHaveLength(1)
    expect(result.statistics).toBeUndefined()
  })

  test('on as many samples as asked for', async () => {
    const result = await measure(await open(shifted), { ...options, samples: 37 }, files)
    expect(result.measurement).toMatchObject({ partial: false, data: { samples: 37, available: count } })
  })
})

describe('compare', () => {
  test('a model with itself, and with its repair', async () => {
    const file = await open(shifted)
    const same = await compare(file, file, options, files)
    throughJson(same)
    expect(same.comparison?.agreement).toMatchObject({
      top1: 1,
      divergence: 0,
      meanAbsoluteDifference: 0,
      samples: count,
    })
    const { chunks } = await fix(file, options, files)
    const repaired = await readModelBytes(concat(chunks!), 'fixed.onnx', files)
    const result = await compare(file, repaired, options, files)
    throughJson(result)
    expect(result.measurement?.layers[0]?.shiftRatio).toBeGreaterThan(2)
    expect(result.after?.layers[0]?.shiftRatio).toBeLessThan(1.001)
    expect(result.comparison?.agreement.meanAbsoluteDifference).toBeGreaterThan(0)
    expect(result.other?.path).toBe('fixed.onnx')
  })

  test('models of other layers and names, and of batches of one size', async () => {
    const file = await open(shifted)
    const other = await open(
      shifted
        .replace('float32[N, 3] x', 'float32[20, 3] picture')
        .replace('Dropout (x', 'Dropout (picture')
        .replace('r = Relu (n)', 'r = Identity (n)'),
    )
    for (const [a, b] of [
      [file, other],
      [other, file],
    ] as const) {
      const result = await compare(a, b, options, files)
      expect(result.comparison?.agreement.samples).toBe(count)
      expect(result.comparison?.agreement.top1).toBeGreaterThan(0)
    }
  })

  test('models of other outputs are refused', async () => {
    const other = await open(shifted.replace('y = MatMul (r, w)', 'y = Identity (r)'))
    await expect(compare(await open(shifted), other, options, files)).rejects.toThrow(
      /cannot be compared: net\.onnx gives outputs of shape \[\d+, 2\], net\.onnx of \[\d+, 3\]/,
    )
  })
})

test('a file sorted by class is measured in batches from all over it', async () => {
  // The classes are at -1 and 1; statistics of a batch of one class would take that away.
  const half = 320
  const noise = uniform(2 * half, -0.5, 0.5, 7)
  const values = [...noise].flatMap((e, i) => (i < half ? [-1 + e, 1 - e] : [1 + e, -1 - e]))
  const labels = Float64Array.from({ length: 2 * half }, (_, i) => (i < half ? 1 : 0))
  const sorted = memoryFiles(
    new Map([
      [
        'sorted.npz',
        encodeNpz(
          new Map([
            ['x', Tensor.float32([2 * half, 2], values)],
            ['labels', Tensor.of('int64', [2 * half], labels)],
          ]),
        ),
      ],
    ]),
  )
  const model = parseModel(`
    net (float32[N, 2] x) => (float32[N, 2] y)
    <float32[2] one = fill(1), float32[2] zero = fill(0), float32[2] variance = fill(1.083)>
    { y = BatchNormalization(x, one, zero, zero, variance) }`)
  const { measurement } = await measure(
    await readModelBytes(encodeModel(model), 'net.onnx', sorted),
    { data: 'sorted.npz', modeSamples: 2 * half },
    sorted,
  )
  expect(measurement!.modes.eval.accuracy).toBe(1)
  expect(measurement!.modes.train!.accuracy).toBe(1)
})

test('no job leaves a file of the data open', async () => {
  let opened = 0
  const counting = {
    ...files,
    async open(path: string) {
      const file = await files.open(path)
      opened++
      return {
        ...file,
        close: async () => {
          opened--
          await file.close()
        },
      }
    },
  }
  const file = await open(shifted)
  const some = { data: 'x.npz', samples: 100 }
  for (const job of [
    () => measure(file, some, counting),
    () => fix(file, some, counting),
    () => compare(file, file, some, counting),
  ]) {
    await job()
    expect(opened).toBe(0)
  }
})

describe('repairs that change the noise', () => {
  test('without data the changed network is written, and what it still needs is said', async () => {
    const file = await open(shifted)
    const { result, chunks } = await fix(
      file,
      { repair: 'move-dropout-after-last-norm', choices: { parameter: 0.3 } },
      files,
    )
    throughJson(result)
    expect(result.repair).toMatchObject({ outcome: 'kept', preserves: 'inference', changes: [] })
    expect(result.repair?.noises).toEqual([
      { label: 'drop', from: 'dropout, ratio 0.5', to: null },
      { label: 'dropout_before_y', from: null, to: 'dropout, ratio 0.3' },
    ])
    const { model } = await readModelBytes(concat(chunks!), 'moved.onnx', files)
    expect(factsOf(model).paths).toEqual([])
  })

  test('with data the statistics are re-estimated in one go', async () => {
    const file = await open(shifted)
    const { result, edits, chunks } = await fix(file, { ...options, repair: 'uout' }, files)
    throughJson(result)
    expect(result.repair).toMatchObject({ id: 'uout', outcome: 'kept', preserves: 'neither' })
    expect(edits.map(({ kind }) => kind)).toEqual(['replace-noise', 'set-running-statistics'])
    const repaired = await readModelBytes(concat(chunks!), 'mild.onnx', files)
    expect(factsOf(repaired.model).noises.map(({ kind }) => kind)).toEqual(['uout'])
    const after = await measure(repaired, options, files)
    expect(after.measurement?.layers[0]?.shiftRatio).toBeLessThan(1.0001)
  })

  test('a network without exposed noise needs none', async () => {
    const file = await open(shifted.replace('Dropout (x, half, on)', 'Identity (x)'))
    const { result, chunks } = await fix(file, { repair: 'uout' }, files)
    expect(result.repair?.outcome).toBe('nothing-to-repair')
    expect(chunks).toBeUndefined()
  })
})

const xs = (key: 'mean' | 'variance') => columns.map((column) => column[key])

/** The class that the model answers for each sample, in eval mode. */
async function measureOutputs(model: Model): Promise<Int32Array> {
  const session = await createSession(encodeModel(toMode(model, 'eval')), { threads: 1 })
  const y = (await session.run(new Map([['x', x]]))).get('y')!.toNumbers()
  await session.release()
  return Int32Array.from({ length: count }, (_, i) => (y[2 * i + 1]! > y[2 * i]! ? 1 : 0))
}

describe('repairs that train', () => {
  /** Which of two columns is larger: a few epochs are enough to learn it. */
  const labels = Int32Array.from({ length: count }, (_, i) =>
    x.toNumbers()[3 * i + 2]! > x.toNumbers()[3 * i]! ? 1 : 0,
  )
  const labelled = memoryFiles(
    new Map([
      [
        'xy.npz',
        encodeNpz(
          new Map([
            ['x', x],
            ['labels', Tensor.of('int32', [count], labels)],
          ]),
        ),
      ],
      ['x.npz', encodeNpz(new Map([['x', x]]))],
    ]),
  )
  const training = { epochs: 4, learningRate: 0.05 }
  const trained = { data: 'xy.npz', repair: 'uout', training, batchSize: 32, threads: 1 }

  test('noise, weights and statistics change in one go, judged on samples held out', async () => {
    const file = await open(shifted)
    const { result, edits, chunks } = await fix(file, trained, labelled)
    throughJson(result)
    expect(result.repair).toMatchObject({
      id: 'uout',
      outcome: 'kept',
      preserves: 'neither',
      samples: 80,
      training: { start: 'file', epochs: 4, steps: 40, samples: 320, heldOut: 80 },
    })
    expect(result.repair?.training?.curve).toHaveLength(4)
    expect(new Set(edits.map(({ kind }) => kind))).toEqual(
      new Set(['replace-noise', 'set-tensor', 'set-running-statistics']),
    )
    const accuracy = [result.measurement, result.after].map((side) => side?.modes.eval.accuracy)
    expect(accuracy[1]!).toBeGreaterThan(0.8)
    expect(accuracy[1]!).toBeGreaterThan(accuracy[0]!)
    const repaired = await readModelBytes(concat(chunks!), 'mild.onnx', files)
    expect(factsOf(repaired.model).noises.map(({ kind }) => kind)).toEqual(['uout'])
    const after = await measure(repaired, { data: 'xy.npz', modeSamples: 0 }, labelled)
    expect(after.measurement?.modes.eval.accuracy).toBeGreaterThan(0.8)
  })

  test('with new weights it begins anew, the same way for the same seed', async () => {
    const file = await open(shifted)
    const fresh = { ...trained, training: { ...training, epochs: 8, fresh: true } }
    const [first, again] = [await fix(file, fresh, labelled), await fix(file, fresh, labelled)]
    expect(first.result.repair?.training?.start).toBe('fresh')
    expect(first.result.after?.modes.eval.accuracy).toBeGreaterThan(0.8)
    expect(concat(again.chunks!)).toEqual(concat(first.chunks!))
    const other = await fix(file, trained, labelled)
    expect(concat(other.chunks!)).not.toEqual(concat(first.chunks!))
  })

  test('the statistics alone may be what is repaired', async () => {
    const { result, edits } = await fix(await open(shifted), { ...trained, repair: 'recalibrate' }, labelled)
    expect(result.repair).toMatchObject({ id: 'recalibrate', outcome: 'kept' })
    expect(result.repair?.noises).toBeUndefined()
    expect(edits.some(({ kind }) => kind === 'set-tensor')).toBe(true)
  })

  test('auto keeps the cheapest that closes the gap, and tells what it tried', async () => {
    const auto = { data: 'xy.npz', repair: 'auto', threads: 1 }
    const { result, edits } = await fix(await open(shifted), auto, labelled)
    throughJson(result)
    expect(result.repair).toMatchObject({ id: 'recalibrate', outcome: 'kept' })
    expect(result.repair?.tried?.map(({ id, why }) => `${id}: ${why}`)).toEqual([
      'nothing: 1 of 1 layers shift by more than 1.05',
      'recalibrate: closes the gap',
    ])
    expect(edits.map(({ kind }) => kind)).toEqual(['set-running-statistics'])
    const [nothing, first] = result.repair!.tried!
    expect(nothing!.largestRatio).toBeGreaterThan(2)
    expect(first!.largestRatio).toBe(Math.max(...result.after!.layers.map(({ shiftRatio }) => shiftRatio)))
    expect(first!.accuracy).toBe(result.after!.modes.eval.accuracy)

    const healthy = await open(netText(xs('mean'), xs('variance')))
    const done = await fix(healthy, auto, labelled)
    expect(done.result.repair).toMatchObject({ id: 'auto', outcome: 'nothing-to-repair' })
    expect(done.result.repair?.tried).toHaveLength(1)
    expect(done.chunks).toBeUndefined()
  })

  test('auto goes on to train where the statistics alone cost accuracy', async () => {
    // What is right is what the net answers now, so that other statistics make it worse.
    const skewed = await open(netText([3, -2, 1], [9, 0.1, 4]))
    const outputs = await measureOutputs(skewed.model)
    const own = memoryFiles(
      new Map([
        [
          'own.npz',
          encodeNpz(
            new Map([
              ['x', x],
              ['labels', Tensor.of('int32', [count], outputs)],
            ]),
          ),
        ],
      ]),
    )
    const auto = { data: 'own.npz', repair: 'auto', training: { epochs: 12, learningRate: 0.1 }, threads: 1 }
    const { result } = await fix(skewed, { ...auto, batchSize: 32 }, own)
    const tried = result.repair!.tried!
    expect(tried.map(({ id }) => id).slice(0, 3)).toEqual(['nothing', 'recalibrate', 'uout'])
    expect(tried[1]!.why).toMatch(/accuracy fell beyond its confidence interval/)
    expect(tried[2]!.accuracy!).toBeGreaterThan(tried[1]!.accuracy!)

    const short = await fix(skewed, { ...auto, budgetMinutes: 1e-9 }, own)
    expect(short.result.repair).toMatchObject({ id: 'auto', outcome: 'rejected' })
    expect(short.result.repair?.tried?.at(-1)?.why).toMatch(/budget is used up/)
    expect(short.chunks).toBeUndefined()
  })

  test('what cannot be trained is refused, and a stopped run writes nothing', async () => {
    const file = await open(shifted)
    await expect(fix(file, { ...trained, data: 'x.npz' }, labelled)).rejects.toThrow(
      /x\.npz has no labels, which training needs/,
    )
    const { data: _, ...without } = trained
    await expect(fix(file, without, labelled)).rejects.toThrow(/need labelled samples/)
    await expect(
      fix(file, { ...trained, training: { ...training, heldOut: 0.001 } }, labelled),
    ).rejects.toThrow(/leaves samples on both sides/)
    const stop = new AbortController()
    const stopped = fix(
      file,
      {
        ...trained,
        signal: stop.signal,
        onProgress: ({ phase }) => phase.startsWith('training') && stop.abort(),
      },
      labelled,
    )
    await expect(stopped).rejects.toThrow(/stopped before the repair was done; nothing was written/)
  })
})
