import { expect, test } from 'vitest'
import type { Measurement } from '../result/result.ts'
import { judge } from './fixed.ts'

const measured = (shiftRatio: number, loss: number): Measurement =>
  ({
    layers: [{ shiftRatio, meanShift: { q10: 0, q90: 0 } }],
    modes: {
      eval: { accuracy: 0.7, accuracyInterval: [0.65, 0.75], loss, lossInterval: [0.9 * loss, 1.1 * loss] },
    },
  }) as unknown as Measurement

test('a repair whose cross entropy rises beyond its interval is kept, and that is told', () => {
  const risen = judge(measured(2, 1), measured(1, 1.2))
  expect(risen.better).toBe(true)
  expect(risen.reason).toMatch(/but cross entropy rose beyond its interval, 1\.00 before, 1\.20 after/)
  expect(judge(measured(2, 1), measured(1, 1.05)).reason).not.toMatch(/cross entropy/)
})

test('statistics that are no variance are not kept', () => {
  const [two, one] = [measured(2, 1), measured(1, 1)].map(({ layers, modes }, i) => ({
    layers: ['a', 'b'].slice(i).map((key) => ({ ...layers[0]!, key, label: key })),
    modes,
  })) as [Measurement, Measurement]
  expect(judge(two, one)).toMatchObject({
    better: false,
    reason: expect.stringMatching(/^what 'a' would store is no variance/),
  })
  expect(judge(one, two).better).toBe(true)
})
