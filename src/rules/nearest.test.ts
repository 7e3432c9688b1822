import { expect, test } from 'vitest'
import { didYouMean, nearest } from './nearest.ts'

const words = ['failOn', 'format', 'batchSize', 'dropout-before-batch-norm', 'dropout-upstream-of-batch-norm']

test('finds slips, swaps and parts, the nearest first', () => {
  expect(nearest('fialOn', words)).toEqual(['failOn'])
  expect(nearest('dropout-befor-batchnorm', words)[0]).toBe('dropout-before-batch-norm')
  expect(nearest('upstream', words)).toEqual(['dropout-upstream-of-batch-norm'])
  expect(nearest('dropoutBefore', words)).toEqual(['dropout-before-batch-norm'])
  expect(nearest('colour', words)).toEqual([])
})

test('asks in words', () => {
  expect(didYouMean('formt', words)).toBe("; did you mean 'format'?")
  expect(didYouMean('zzz', words)).toBe('')
})
