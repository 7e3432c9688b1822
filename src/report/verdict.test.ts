import { describe, expect, it } from 'vitest'
import { results } from '../../test/golden/results.ts'
import type { Result } from '../result/result.ts'
import { nextSteps } from './advice.ts'
import { sideNames, verdictOf } from './verdict.ts'

const { check, measure, fix, compare } = results
const measurement = measure.measurement!

function measured(
  change: (layer: (typeof measurement.layers)[number], i: number) => object,
  partial = false,
): Result {
  const layers = measurement.layers.map((layer, i) => ({ ...layer, ...change(layer, i) }))
  return { ...measure, measurement: { ...measurement, layers, partial } }
}

describe('verdictOf', () => {
  it('tells what check found', () => {
    expect(verdictOf(check)).toMatchObject({
      tone: 'bad',
      sentence: expect.stringContaining('Noise exposes 7 of 15'),
    })
    expect(verdictOf({ ...check, findings: [], suppressed: 0 })).toEqual({
      tone: 'good',
      sentence: 'Nothing found: 15 batch normalizations and 7 noises looked at.',
    })
    expect(verdictOf({ ...check, findings: [] }).sentence).toContain('Nothing new found')
    const unexposed = check.norms.map((norm) => ({ ...norm, exposures: [] }))
    expect(verdictOf({ ...check, norms: unexposed }).sentence).toContain('no noise reaches')
    const unpredicted = check.norms.map(({ prediction: _, ...norm }) => norm)
    expect(verdictOf({ ...check, norms: unpredicted }).sentence).toContain('cannot be predicted')
  })

  it('tells shift, no shift and not knowing apart', () => {
    expect(verdictOf(measure).sentence).toMatch(/^14 of 15 layers shift: at inference /)
    const quantiles = (value: number) => ({ min: value, q10: value, median: value, q90: value, max: value })
    const steady = {
      shiftRatio: 1.01,
      realOverStored: 1.01,
      enoughSamples: true,
      channelRatio: quantiles(1),
      meanShift: quantiles(0),
    }
    expect(
      verdictOf(measured((_, i) => ({ ...steady, ...(i === 2 ? { meanShift: quantiles(-0.5) } : {}) }))),
    ).toMatchObject({
      tone: 'warning',
      sentence: expect.stringMatching(
        /^Variances agree layer by layer, but in 1 of 15 layers, .+ first, channels see other means/,
      ),
    })
    const calm = measured(() => steady)
    const missing = { ...calm.measurement!, unmeasured: [{ label: 'bn', reason: 'not finite' }] }
    expect(verdictOf({ ...calm, measurement: missing })).toMatchObject({
      tone: 'warning',
      sentence: 'No variance shift in the 15 layers that could be measured; 1 could not.',
    })
    expect(verdictOf(calm)).toMatchObject({
      tone: 'good',
      sentence: expect.stringContaining('No variance shift'),
    })
    expect(verdictOf(measured((_, i) => ({ ...steady, enoughSamples: i > 3 }), true)).sentence).toBe(
      'Stopped after 4,000 samples: too few samples to tell for 4 of 15 layers; the others do not shift.',
    )
    expect(verdictOf({ ...measure, measurement: { ...measurement, layers: [] } }).sentence).toContain(
      'No batch normalization',
    )
  })

  it('tells every outcome of a repair', () => {
    const repair = fix.repair!
    expect(verdictOf(fix).sentence).toMatch(
      /^Repaired: largest shift ratio .* → .*, accuracy 72\.1 % → 77\.7 %\.$/,
    )
    expect(verdictOf({ ...fix, repair: { ...repair, outcome: 'forced' } }).tone).toBe('warning')
    for (const [outcome, words] of [
      ['nothing-to-repair', 'Nothing to repair: because'],
      ['refused', 'Refused: because'],
      ['rejected', 'Repair not kept: because'],
    ] as const)
      expect(verdictOf({ ...fix, repair: { ...repair, outcome, reason: 'because' } }).sentence).toBe(words)
  })

  it('compares by name', () => {
    expect(verdictOf(compare).sentence).toMatch(
      /^demo-fixed\.onnx shifts less: largest ratio 1\.\d\d against 2\.\d\d; accuracy/,
    )
    expect(sideNames(compare)).toEqual(['demo.onnx', 'demo-fixed.onnx'])
    const same = {
      ...compare,
      model: { ...compare.model, path: 'a/m.onnx' },
      other: { ...compare.other!, path: 'b/m.onnx' },
    }
    expect(sideNames(same)).toEqual(['a/m.onnx', 'b/m.onnx'])
    expect(sideNames(fix)).toEqual(['before', 'after'])
  })
})

describe('nextSteps', () => {
  it('quotes paths for a shell', () => {
    const odd = { ...measure, model: { ...measure.model, path: "it's here.onnx" } }
    expect(nextSteps(odd)[0]!.command).toBe("varshift fix 'it'\\''s here.onnx' --data DATA -o FIXED")
  })

  it('asks for more samples when they were too few', () => {
    const few = measured(() => ({ shiftRatio: 1.01, enoughSamples: false, samplesNeeded: 2048 }))
    expect(nextSteps(few)[0]!.why).toBe('again, with more samples (about 2,048)')
  })

  it('has nothing to say where nothing is left to do', () => {
    expect(nextSteps(compare)).toEqual([])
    expect(nextSteps(measured(() => ({ shiftRatio: 1, enoughSamples: true })))).toEqual([])
  })
})
