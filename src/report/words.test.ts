import { expect, it } from 'vitest'
import { results } from '../../test/golden/results.ts'
import { notesOf } from './words.ts'

it('names the side that a note is about unless both have it', () => {
  const { fix } = results
  const measurement = { ...fix.measurement!, notes: ['shared', 'few samples'] }
  const after = {
    ...fix.after!,
    notes: ['shared'],
    partial: true,
    unmeasured: [{ label: 'bn', reason: 'nested' }],
  }
  expect(notesOf({ ...fix, measurement, after })).toEqual([
    'shared',
    'before: few samples',
    'after: Stopped early: the figures cover only what had been measured.',
    'after: bn was not measured: nested',
  ])
  expect(notesOf(results.measure)).toEqual(results.measure.measurement!.notes)
})
