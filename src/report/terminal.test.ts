import { describe, expect, it } from 'vitest'
import { longResult, results, rules } from '../../test/golden/results.ts'
import type { Result } from '../result/result.ts'
import { textWidth } from './terminal/text.ts'
import { renderTerminal } from './terminal.ts'

const cases: [string, Result][] = [
  ...Object.entries(results),
  ['long check', longResult('check')],
  ['long measure', longResult('measure')],
  ['long fix', longResult('fix')],
  // As it comes out of a file: what was not finite is null.
  ['hostile from JSON', JSON.parse(JSON.stringify(results.hostile)) as Result],
]

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is looked for
const styles = /\u001b\[\d+m/g

describe.each(cases)('%s', (_, result) => {
  it.each([40, 60, 80, 96, 120, 200])('fits %d columns', (width) => {
    for (const verbose of [false, true]) {
      const lines = renderTerminal(result, { color: false, width, verbose, rules }).split('\n')
      // Commands are never broken: they are there to be copied.
      for (const line of lines.filter(
        (text) => !text.trimStart().startsWith('varshift ') || text.startsWith('varshift'),
      ))
        expect(textWidth(line), line).toBeLessThanOrEqual(width)
    }
  })

  it('says the same with colour as without, and nothing that a terminal would obey', () => {
    const plain = renderTerminal(result, { color: false, width: 80, rules })
    const coloured = renderTerminal(result, { color: true, width: 80, rules })
    expect(coloured).not.toBe(plain)
    expect(coloured.replaceAll(styles, '')).toBe(plain)
    expect(plain).not.toMatch(/[\p{Bidi_Control}]/u)
    expect(plain.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
    expect(plain).not.toMatch(/undefined|\[object|NaN(?<!∞\/NaN)/)
    expect(plain.endsWith('\n')).toBe(true)
    expect(plain).not.toMatch(/ \n|\n\n\n/)
  })
})

describe('long nets', () => {
  it('shows the worst layers and sums up the others, unless verbose', () => {
    const result = longResult('measure')
    const short = renderTerminal(result, { color: false, width: 80 })
    expect(short.split('\n').length).toBeLessThan(60)
    expect(short).toMatch(/⋮ \d+ layers, ratio/)
    const full = renderTerminal(result, { color: false, width: 80, verbose: true })
    for (const { label } of result.norms) expect(full).toContain(label)
    expect(full).not.toContain('⋮')
  })

  it('does the same with findings', () => {
    const result = longResult('check')
    expect(renderTerminal(result, { color: false, width: 80 })).toContain('… and 49 more')
    expect(renderTerminal(result, { color: false, width: 80, verbose: true })).not.toContain(' more ')
  })
})

it('leaves out what there is not', () => {
  const { measure } = results
  const { outline: _, ...bare } = { ...measure, norms: [], findings: [] }
  const modes = { eval: { samples: 10 }, agreements: [] }
  const text = renderTerminal(
    { ...bare, measurement: { ...measure.measurement!, layers: [], modes, notes: [] } },
    { color: false, width: 80 },
  )
  expect(text).not.toContain('Modes')
  expect(text).not.toContain('Shift by layer')
  expect(text).toContain('No batch normalization could be measured.')
})
