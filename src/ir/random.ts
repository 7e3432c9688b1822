/**
 * Random numbers that depend on their seed alone, the same on every machine: whole numbers mixed by multiplications
 * and shifts, and floating-point arithmetic of which IEEE 754 fixes every bit (no `Math.log`, which engines round
 * differently).
 */

/** A bijection of 32-bit numbers that mixes well. Constants: Chris Wellons, "lowbias32", public domain. */
function scramble(value: number): number {
  let bits = value | 0
  bits = Math.imul(bits ^ (bits >>> 16), 0x7feb352d)
  bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b)
  return (bits ^ (bits >>> 16)) >>> 0
}

/** A stream of whole numbers in [0, 2^32) that depends on (seed, index, stream) only. */
export function randomBits(seed: number, index: number, stream: number): () => number {
  const first = scramble(scramble(seed) + index)
  const second = scramble(scramble(first ^ 0x9e3779b9) + stream)
  let counter = 0
  return () => scramble(scramble(first + counter++) ^ second)
}

/** The numbers 0 to `count` - 1 in an order that depends on `seed` and `epoch` only (Fisher and Yates). */
export function permutation(count: number, seed: number, epoch = 0): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i)
  const draw = randomBits(seed, epoch, 0)
  for (let i = count - 1; i > 0; i--) {
    const other = Math.floor((draw() / 2 ** 32) * (i + 1))
    const held = order[i]!
    order[i] = order[other]!
    order[other] = held
  }
  return order
}

/** `count` numbers in [low, high). */
export function uniform(count: number, low: number, high: number, seed: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => {
    const bits = scramble(Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b))
    return low + (high - low) * (bits / 2 ** 32)
  })
}

/** `count` normal numbers. Source: Marsaglia's polar method (SIAM Review 6, 1964). */
export function normal(count: number, mean: number, deviation: number, seed: number): Float64Array {
  const draw = randomBits(seed, 0, 0)
  const values = new Float64Array(count)
  for (let i = 0; i < count; ) {
    const [u, v] = [draw() / 2 ** 31 - 1, draw() / 2 ** 31 - 1]
    const square = u * u + v * v
    if (square >= 1 || square === 0) continue
    const scale = deviation * Math.sqrt((-2 * logarithm(square)) / square)
    values[i++] = mean + u * scale
    if (i < count) values[i++] = mean + v * scale
  }
  return values
}

/** The natural logarithm of x in (0, 1], to 1e-15: x = 2^-k m, and ln m by the series of artanh. */
function logarithm(x: number): number {
  let [m, k] = [x, 0]
  for (; m < Math.SQRT1_2; m *= 2) k++
  const s = (m - 1) / (m + 1)
  let [sum, power] = [0, s]
  for (let n = 1; n < 40 && power !== 0; n += 2, power *= s * s) sum += power / n
  return 2 * sum - k * Math.LN2
}

/** A seed of its own for everything that has a name (FNV-1a of the name, mixed with the seed). */
export function seedOf(seed: number, name: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
  return scramble(scramble(seed) ^ hash)
}
