import { describe, expect, it } from 'vitest'
import { results } from '../../test/golden/results.ts'
import type { Result } from '../result/result.ts'
import { channelMean, layerRows, levelOf, worstLayer } from './layers.ts'

const measurement = results.measure.measurement!

describe('layerRows', () => {
  it('has a row for every norm, measured or not, in graph order', () => {
    expect(layerRows(results.check).map(({ index }) => index)).toEqual(
      results.check.norms.map(({ index }) => index),
    )
    expect(layerRows(results.check).every(({ before, after }) => !before && !after)).toBe(true)
    expect(layerRows(results.fix).every(({ before, after }) => before && after)).toBe(true)
  })

  it('takes the nearest way that noise comes', () => {
    const rows = layerRows(results.check)
    expect(rows.map(({ reach }) => reach).slice(0, 3)).toEqual(['none', 'direct', 'nonlinear'])
    expect(rows[1]!.predicted).toBeGreaterThan(2)
  })

  it('matches the layers of a second model by key, then by label, and keeps what has no partner', () => {
    const [first, second, third] = measurement.layers
    const renamed = { ...second!, key: 'other key' }
    const stranger = { ...third!, key: 'stranger', label: 'stranger' }
    const result: Result = {
      ...results.measure,
      norms: [],
      measurement: { ...measurement, layers: [first!, second!] },
      after: { ...measurement, layers: [stranger, renamed, first!] },
    }
    expect(layerRows(result).map(({ label, before, after }) => [label, before?.key, after?.key])).toEqual([
      [first!.label, first!.key, first!.key],
      [second!.label, second!.key, 'other key'],
      ['stranger', undefined, 'stranger'],
    ])
  })
})

describe('levels', () => {
  const layer = measurement.layers[0]!

  it('calls a layer by its ratio if the samples tell', () => {
    expect(levelOf({ ...layer, shiftRatio: 1.09, enoughSamples: true })).toBe('steady')
    expect(levelOf({ ...layer, shiftRatio: 1.1, enoughSamples: true })).toBe('shifted')
    expect(levelOf({ ...layer, shiftRatio: 1.5, enoughSamples: true })).toBe('strong')
    expect(levelOf({ ...layer, shiftRatio: 1.5, enoughSamples: false })).toBe('unclear')
    expect(levelOf({ ...layer, shiftRatio: Number.NaN, enoughSamples: false })).toBe('strong')
  })

  it('finds the worst layer, one without a finite ratio first', () => {
    expect(worstLayer([])).toBeUndefined()
    const broken = { ...layer, shiftRatio: Number.NaN }
    expect(worstLayer([layer, broken, { ...layer, shiftRatio: 99 }])).toBe(broken)
  })
})

it('means over what is finite', () => {
  expect(channelMean([1, null, 3, Number.NaN])).toBe(2)
  expect(channelMean([null])).toBeNull()
})
