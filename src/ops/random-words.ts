import type { GraphBuilder } from '../ir/builder.ts'
import { randomBits } from '../ir/random.ts'
import { dataTypes, elementCount, Tensor } from '../ir/tensor.ts'
import { normalBelow } from './moments/normal.ts'

/** Below this many elements every one has a word of its own. */
const fewElements = 2048

/** Entries of the table that normal variables are looked up in. */
const normalEntries = 2 ** 14

/**
 * Random numbers that a graph is fed rather than draws: an int32 vector, filled anew for every run, of which each draw
 * takes a part. So noise is a function of what is fed, whatever the session did before, and a run can be repeated.
 *
 * A draw of many elements spreads few words: element (i, j) of a table of rows and columns gets
 *
 *   h = (a_i xor b_j) * d_i  mod 2^32,   d_i odd,
 *
 * where a, b and d are words. Any two elements are independent and uniform, so sums of them have the right mean and
 * variance; dependence begins with four at the corners of a rectangle, and is slight there.
 */
export class RandomWords {
  /** Name of the graph's input. */
  readonly input: string
  #size = 0
  #normal: string | undefined

  constructor(input: string) {
    this.input = input
  }

  /** Words that all draws so far take together. */
  get size(): number {
    return this.#size
  }

  /** A value of shape `dims`: random whole numbers from -2^31 to 2^31, all equally likely, as float32. */
  draw(build: GraphBuilder, dims: readonly number[]): string {
    const toFloat = (words: string) => build.op('Cast', [words], { to: dataTypes.float32.onnx })
    if (elementCount(dims) <= fewElements) return toFloat(this.#take(build, dims))
    const [rows, columns] = tableOf(dims)
    const mixed = build.op(build.opset >= bitwise ? 'BitwiseXor' : 'Add', [
      this.#take(build, [rows, 1]),
      this.#take(build, [1, columns]),
    ])
    const two = build.scalar(2, 'int32')
    const odd = build.add(build.mul(this.#take(build, [rows, 1]), two), build.scalar(1, 'int32'))
    return toFloat(build.reshape(build.mul(mixed, odd), dims))
  }

  /** A value of shape `dims`: normal variables of mean 0 and variance 1, as float32. */
  normal(build: GraphBuilder, dims: readonly number[]): string {
    this.#normal ??= build.constant(Tensor.float32([normalEntries], normalTable()), 'normal')
    const scale = build.scalar(normalEntries / 2 ** 32)
    const entry = build.add(build.mul(this.draw(build, dims), scale), build.scalar(normalEntries / 2))
    const last = build.op('Min', [entry, build.scalar(normalEntries - 1)])
    return build.op('Gather', [this.#normal, build.op('Cast', [last], { to: dataTypes.int32.onnx })])
  }

  #take(build: GraphBuilder, dims: readonly number[]): string {
    const [from, to] = [this.#size, this.#size + elementCount(dims)]
    this.#size = to
    const index = (value: number) => build.constant(Tensor.int64([1], [value]), 'index')
    return build.reshape(build.op('Slice', [this.input, index(from), index(to), index(0)]), dims)
  }
}

/** From this opset on there is BitwiseXor; before, Add in its place mixes a little less well. */
const bitwise = 18

/** The axes split in two, so that the words of both together are fewest. */
function tableOf(dims: readonly number[]): [rows: number, columns: number] {
  let best: [number, number] = [1, elementCount(dims)]
  for (let axis = 1; axis < dims.length; axis++) {
    const [rows, columns] = [elementCount(dims.slice(0, axis)), elementCount(dims.slice(axis))]
    if (2 * rows + columns < 2 * best[0] + best[1]) best = [rows, columns]
  }
  return best
}

/** Equally likely values that together have mean 0, variance 1 and the shape of the normal distribution. */
function normalTable(): Float64Array {
  const values = new Float64Array(normalEntries)
  for (let i = 0; i < normalEntries / 2; i++) {
    const below = (i + 0.5) / normalEntries
    let [low, high] = [-6, 0]
    while (high - low > 1e-7) {
      const middle = (low + high) / 2
      if (normalBelow(middle) < below) low = middle
      else high = middle
    }
    values[i] = low
    values[normalEntries - 1 - i] = -low
  }
  const deviation = Math.sqrt(values.reduce((sum, z) => sum + z * z, 0) / normalEntries)
  return values.map((z) => z / deviation)
}

/** Fills `words` with random numbers that depend on `seed` and `step` only. */
export function fillWords(words: Int32Array, seed: number, step: number): void {
  const draw = randomBits(seed, step, 0)
  for (let i = 0; i < words.length; i++) words[i] = draw()
}
