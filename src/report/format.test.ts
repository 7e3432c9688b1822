import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as format from './format.ts'

describe('figures', () => {
  it.each([
    [format.significant, 0, '0.00'],
    [format.significant, 0.012345, '0.0123'],
    [format.significant, 12.345, '12.3'],
    [format.significant, 123456, '123,456'],
    [format.significant, 1.234e-7, '1.23e-7'],
    [format.significant, -4.5e9, '-4.50e9'],
    [format.ratio, 1, '1.00'],
    [format.ratio, 12.34, '12.3'],
    [format.ratio, 9.999, '10.0'],
    [format.ratio, 456.7, '457'],
    [format.ratio, 2.5e7, '2.5e7'],
    [format.times, 2.2, '2.20×'],
    [format.times, 0.46, '0.46×'],
    [format.times, 0.0995, '0.10×'],
    [format.times, 0.0031, '0.0031×'],
    [format.times, 0, '0.00×'],
    [format.signed, -0.3, '−0.30'],
    [format.signed, 0.3, '+0.30'],
    [format.signed, -0.001, '0.00'],
    [format.percent, 0.7214, '72.1 %'],
    [format.integer, 1234567, '1,234,567'],
    [format.integer, -0.4, '0'],
    [format.bytes, 421_884, '421.9 kB'],
    [format.bytes, 999_999, '1.0 MB'],
    [format.bytes, 12, '12 B'],
  ])('%o of %d is %s', (write, value, text) => {
    expect(write(value)).toBe(text)
  })

  it('says that a number is not finite instead of hiding it', () => {
    for (const value of [null, undefined, Number.NaN, Number.POSITIVE_INFINITY])
      for (const write of [
        format.significant,
        format.ratio,
        format.times,
        format.signed,
        format.percent,
        format.integer,
        format.bytes,
      ])
        expect(write(value)).toBe(format.nonFinite)
    expect(format.ratioInterval([1, Number.NaN])).toBe(format.nonFinite)
    expect(format.percentInterval([Number.NaN, 1])).toBe(format.nonFinite)
  })

  it('writes intervals and counts', () => {
    expect(format.ratioInterval([2.15, 2.26])).toBe('2.15–2.26')
    expect(format.percentInterval([0.712, 0.735])).toBe('71.2–73.5 %')
    expect(format.counted(1, 'layer')).toBe('1 layer')
    expect(format.counted(1200, 'pass', 'passes')).toBe('1,200 passes')
  })
})

describe('names', () => {
  it('shows control characters instead of obeying them', () => {
    expect(format.printable('a\u001b[31mb\n\u007f\u0085')).toBe('a␛[31mb␊␡\ufffd')
    expect(format.printable('\u202egnp')).toBe('\ufffdgnp')
  })

  it('never lets a control, bidirectional or lone surrogate character through', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(format.printable(text)).not.toMatch(/[\p{Cc}\p{Cs}\p{Bidi_Control}\u2028\u2029]/u)
      }),
    )
    expect(format.printable('\ud800')).toBe('\ufffd')
  })

  it('names the unnamed, and files by their last part', () => {
    expect(format.layerName('  ')).toBe('(unnamed)')
    expect(format.fileName('a/b\\c.onnx')).toBe('c.onnx')
    expect(format.fileName('a/')).toBe('a')
  })
})

it('tells durations', () => {
  const texts = [0, 812, 9940, 45_400, 59_700, 200_000, 7_500_000, Number.NaN].map(format.duration)
  expect(texts).toEqual(['0.0 s', '0.8 s', '9.9 s', '45 s', '1 min 0 s', '3 min 20 s', '2 h 5 min', '∞/NaN'])
})
