import { expect, test } from 'vitest'
import { Tensor } from '../ir/tensor.ts'
import { AgreementBoard, probabilitiesOf, ScoreBoard } from './outputs.ts'

const table = (dims: number[], values: number[]) => Tensor.of('float64', dims, values)
const labels = (...values: number[]) => Int32Array.from(values)

test('logits become probabilities, probabilities stay', () => {
  const logits = probabilitiesOf(table([2, 3], [0, Math.log(2), Math.log(5), 1000, 1000, -1000]))!
  expect(logits).toMatchObject({ rows: 2, classes: 3 })
  expect([...logits.values].map((v) => Number(v.toFixed(12)))).toEqual([0.125, 0.25, 0.625, 0.5, 0.5, 0])
  const given = [0.2, 0.3, 0.5, 1, 0, 0]
  const kept = probabilitiesOf(table([2, 3], given))!
  for (const [i, value] of kept.values.entries()) expect(value).toBeCloseTo(given[i]!, 12)
})

test('a single score is the second of two classes', () => {
  const probabilities = probabilitiesOf(table([3, 1], [0.25, 0.5, 1]))!
  expect(probabilities).toMatchObject({ rows: 3, classes: 2 })
  expect([...probabilities.values]).toEqual([0.75, 0.25, 0.5, 0.5, 0, 1])
  const logit = probabilitiesOf(table([2, 1], [0, 3]))!
  expect(logit.values[1]).toBeCloseTo(0.5, 12)
  expect(logit.values[3]).toBeCloseTo(1 / (1 + Math.exp(-3)), 12)
})

test('every position is a row of its own', () => {
  // N x K x positions = 1 x 2 x 3.
  const { rows, classes, values } = probabilitiesOf(table([1, 2, 3], [0.1, 0.5, 0.9, 0.9, 0.5, 0.1]))!
  expect([rows, classes]).toEqual([3, 2])
  expect([...values].map((v) => Number(v.toFixed(12)))).toEqual([0.1, 0.9, 0.5, 0.5, 0.9, 0.1])
})

test('other outputs are no table', () => {
  expect(probabilitiesOf(table([3], [1, 2, 3]))).toBeUndefined()
  expect(probabilitiesOf(table([0, 3], []))).toBeUndefined()
  expect(probabilitiesOf(table([2, 3, 0], []))).toBeUndefined()
})

test('accuracy and cross entropy over several batches', () => {
  const board = new ScoreBoard()
  board.add(table([2, 2], [0.9, 0.1, 0.4, 0.6]), 2, labels(0, 0))
  board.add(table([1, 2], [0, Math.log(3)]), 1, labels(1))
  const score = board.score()
  expect(score.samples).toBe(3)
  expect(score.accuracy).toBeCloseTo(2 / 3, 12)
  expect(score.loss).toBeCloseTo(-(Math.log(0.9) + Math.log(0.4) + Math.log(0.75)) / 3, 12)
  expect(score.accuracyInterval![0]).toBeLessThan(2 / 3)
  expect(score.accuracyInterval![1]).toBeGreaterThan(2 / 3)
  expect(score.lossInterval![0]).toBeLessThan(score.loss!)
})

test('without labels, or with a row for every position, only samples are counted', () => {
  const board = new ScoreBoard()
  board.add(table([2, 2], [1, 2, 3, 4]), 2, undefined)
  board.add(table([2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8]), 2, labels(0, 1))
  expect(board.score()).toEqual({ samples: 4 })
})

test('a row that is no number is a miss, and the figures stay numbers', () => {
  const board = new ScoreBoard()
  board.add(table([2, 2], [Number.NaN, 0, 5, 0]), 2, labels(0, 0))
  board.add(table([1, 1], [Number.NaN]), 1, labels(0))
  board.add(table([1, 2], [Number.POSITIVE_INFINITY, 0]), 1, labels(1))
  const score = board.score()
  expect(score.accuracy).toBeCloseTo(1 / 4, 12)
  expect(Number.isFinite(score.loss)).toBe(true)
  expect(score.loss).toBeGreaterThan(20)
})

test('agreement, divergence and difference of two outputs', () => {
  const board = new AgreementBoard()
  const [p, q] = [
    [0.9, 0.1, 0.4, 0.6],
    [0.8, 0.2, 0.7, 0.3],
  ] as const
  board.add(table([2, 2], [...p]), table([2, 2], [...q]), 2)
  const found = board.agreement('a', 'b')
  expect(found).toMatchObject({ a: 'a', b: 'b', samples: 2, top1: 0.5 })
  const divergence = [0, 1, 2, 3].reduce((sum, i) => sum + p[i]! * Math.log(p[i]! / q[i]!), 0) / 2
  expect(found.divergence).toBeCloseTo(divergence, 12)
  expect(found.meanAbsoluteDifference).toBeCloseTo((0.1 + 0.1 + 0.3 + 0.3) / 4, 12)
  const same = new AgreementBoard()
  same.add(table([2, 2], [...p]), table([2, 2], [...p]), 2)
  expect(same.agreement('a', 'a')).toMatchObject({ top1: 1, divergence: 0, meanAbsoluteDifference: 0 })
})

test('agreement by positions is as sure as its samples are many', () => {
  const board = new AgreementBoard()
  const values = Array.from({ length: 2 * 2 * 50 }, (_, i) => i % 7)
  board.add(table([2, 2, 50], values), table([2, 2, 50], values), 2)
  const { top1, top1Interval, samples } = board.agreement('a', 'b')
  expect([top1, samples]).toEqual([1, 2])
  // Two samples all alike leave a wide interval, however many positions they have.
  expect(top1Interval![0]).toBeLessThan(0.4)
})

test('rows that are no numbers agree with none', () => {
  const board = new AgreementBoard()
  const nan = Number.NaN
  board.add(table([3, 2], [nan, nan, 1, 0, 2, 1]), table([3, 2], [nan, nan, 1, 0, nan, 1]), 3)
  const found = board.agreement('a', 'b')
  expect(found.top1).toBeCloseTo(1 / 3, 12)
  expect(found.divergence).toBe(0)
  expect(found.meanAbsoluteDifference).toBe(0)
  const none = new AgreementBoard()
  none.add(table([1, 2], [nan, nan]), table([1, 2], [nan, nan]), 1)
  expect(none.agreement('a', 'b')).toMatchObject({ top1: 0, divergence: null, meanAbsoluteDifference: 0 })
})

test('outputs that are no table are compared by their difference alone', () => {
  const board = new AgreementBoard()
  board.add(table([4], [1, 2, 3, 4]), table([4], [1, 2, 3, 6]), 4)
  expect(board.agreement('a', 'b')).toMatchObject({
    top1: null,
    top1Interval: null,
    divergence: null,
    meanAbsoluteDifference: 0.5,
  })
})
