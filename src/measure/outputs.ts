import type { Tensor } from '../ir/tensor.ts'
import type { Agreement, Score } from '../result/result.ts'
import { meanInterval, wilson } from './interval.ts'

/**
 * Class probabilities of every row: R x K. Accepts logits or probabilities, N x K or N x K x positions (each position
 * a row), and a single score N x 1, read as the second of two classes. Undefined if the output is nothing of the kind.
 */
export function probabilitiesOf(
  output: Tensor,
): { rows: number; classes: number; values: Float64Array } | undefined {
  const size = tableSizeOf(output)
  if (!size) return undefined
  const { rows, classes } = size
  const [n = 0, k = 0] = output.dims
  const positions = rows / n
  const raw = output.toNumbers()
  const values = new Float64Array(rows * classes)
  const alreadyProbabilities = areProbabilities(raw, n, k, positions)
  for (let i = 0; i < n; i++)
    for (let p = 0; p < positions; p++) {
      const row = (i * positions + p) * classes
      const at = (c: number) => raw[(i * k + c) * positions + p]!
      if (k === 1) {
        const one = alreadyProbabilities ? at(0) : 1 / (1 + Math.exp(-at(0)))
        values[row] = 1 - one
        values[row + 1] = one
        continue
      }
      let largest = Number.NEGATIVE_INFINITY
      for (let c = 0; c < k; c++) largest = Math.max(largest, at(c))
      let sum = 0
      for (let c = 0; c < k; c++) {
        const value = alreadyProbabilities ? at(c) : Math.exp(at(c) - largest)
        values[row + c] = value
        sum += value
      }
      for (let c = 0; c < k; c++) values[row + c]! /= sum
    }
  return { rows, classes, values }
}

/** Rows and classes of an output as `probabilitiesOf` reads it. */
export function tableSizeOf({ dims }: Tensor): { rows: number; classes: number } | undefined {
  const [n = 0, k = 0, ...rest] = dims
  if (dims.length < 2 || dims.includes(0)) return undefined
  return { rows: rest.reduce((product, d) => product * d, n), classes: k === 1 ? 2 : k }
}

function areProbabilities(raw: Float64Array, n: number, k: number, positions: number): boolean {
  for (let i = 0; i < n; i++)
    for (let p = 0; p < positions; p++) {
      let sum = 0
      for (let c = 0; c < k; c++) {
        const value = raw[(i * k + c) * positions + p]!
        if (!(value >= 0 && value <= 1)) return false
        sum += value
      }
      if (k > 1 && Math.abs(sum - 1) > 1e-3) return false
    }
  return true
}

/** Probabilities below this count as this, so that one confident miss leaves the mean cross entropy finite. */
const smallestProbability = 1e-12

/** Accuracy and cross entropy, gathered batch by batch. */
export class ScoreBoard {
  #samples = 0
  #labelled = 0
  #hits = 0
  #loss = 0
  #lossSquares = 0

  /** `labels`: one for each sample, used only where each sample is one row. */
  add(output: Tensor, size: number, labels: Int32Array | undefined): void {
    this.#samples += size
    const table = labels && probabilitiesOf(output)
    if (!labels || !table || table.rows !== size) return
    for (let row = 0; row < size; row++) {
      const label = labels[row]!
      if (label < 0 || label >= table.classes) continue
      const value = table.values[row * table.classes + label]!
      // What is not a number is a miss, and as far off as a miss can be.
      const isMiss = Number.isNaN(value) || argmax(table.values, row, table.classes) !== label
      const loss = -Math.log(Math.max(smallestProbability, Number.isNaN(value) ? 0 : value))
      this.#labelled++
      this.#loss += loss
      this.#lossSquares += loss * loss
      if (!isMiss) this.#hits++
    }
  }

  score(): Score {
    const n = this.#labelled
    if (n === 0) return { samples: this.#samples }
    return {
      samples: this.#samples,
      accuracy: this.#hits / n,
      accuracyInterval: wilson(this.#hits, n),
      loss: this.#loss / n,
      lossInterval: meanInterval(n, this.#loss, this.#lossSquares),
    }
  }
}

function argmax(values: Float64Array, row: number, classes: number): number {
  let best = 0
  for (let c = 1; c < classes; c++) if (values[row * classes + c]! > values[row * classes + best]!) best = c
  return best
}

/** How far two outputs for the same inputs agree, gathered batch by batch. */
export class AgreementBoard {
  #samples = 0
  #rows = 0
  #finiteRows = 0
  #same = 0
  #divergence = 0
  #difference = 0
  #elements = 0

  add(a: Tensor, b: Tensor, size: number): void {
    this.#samples += size
    const x = a.toNumbers()
    const y = b.toNumbers()
    for (let i = 0; i < x.length; i++) {
      const difference = Math.abs(x[i]! - y[i]!)
      if (!Number.isFinite(difference)) continue
      this.#difference += difference
      this.#elements++
    }
    const p = probabilitiesOf(a)
    const q = probabilitiesOf(b)
    if (!p || !q || p.classes !== q.classes || p.rows !== q.rows) return
    for (let row = 0; row < p.rows; row++) {
      this.#rows++
      // A row that is not finite agrees with none, and diverges beyond measure.
      const finite = p.values[row * p.classes]! >= 0 && q.values[row * q.classes]! >= 0
      if (!finite) continue
      this.#finiteRows++
      if (argmax(p.values, row, p.classes) === argmax(q.values, row, p.classes)) this.#same++
      for (let c = 0; c < p.classes; c++) {
        const from = Math.max(smallestProbability, p.values[row * p.classes + c]!)
        const to = Math.max(smallestProbability, q.values[row * p.classes + c]!)
        this.#divergence += from * Math.log(from / to)
      }
    }
  }

  agreement(a: string, b: string): Agreement {
    const rows = this.#rows
    return {
      a,
      b,
      samples: this.#samples,
      top1: rows > 0 ? this.#same / rows : null,
      top1Interval: rows > 0 ? wilson((this.#same / rows) * this.#samples, this.#samples) : null,
      divergence: this.#finiteRows > 0 ? Math.max(0, this.#divergence / this.#finiteRows) : null,
      meanAbsoluteDifference: this.#difference / Math.max(1, this.#elements),
    }
  }
}
