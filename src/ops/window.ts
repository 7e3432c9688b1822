import { type Dim, intAttribute, intsAttribute, type Node, stringAttribute } from '../ir/model.ts'
import type { Shape } from './shapes.ts'

/** A kernel that slides over the positions of a value of shape N x C x D1 x D2 ... */
export interface Window {
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  /** Padding before and after each axis; undefined where it depends on a size that is not known. */
  readonly before: readonly (number | undefined)[]
  readonly after: readonly (number | undefined)[]
  readonly ceil: boolean
}

/** Largest number of taps of a kernel: far more than any network has. */
const maxTaps = 1 << 20

/** The window of a convolution or pool with kernel sizes `kernel` over positions `sizes`. Throws for nonsense. */
export function windowOf(node: Node, kernel: readonly number[], sizes: readonly Dim[]): Window {
  const rank = kernel.length
  const ones = new Array<number>(rank).fill(1)
  const strides = intsAttribute(node, 'strides') ?? ones
  const dilations = intsAttribute(node, 'dilations') ?? ones
  const pads = intsAttribute(node, 'pads')
  const auto = stringAttribute(node, 'auto_pad') ?? 'NOTSET'
  const isPossible =
    [kernel, strides, dilations].every((list) => list.length === rank && list.every((n) => n >= 1)) &&
    kernel.reduce((n, k) => n * k, 1) <= maxTaps
  if (!isPossible) throw new RangeError('a kernel has sizes, strides and dilations of at least 1')
  const common = { kernel, strides, dilations, ceil: intAttribute(node, 'ceil_mode') === 1 }
  if (auto !== 'SAME_UPPER' && auto !== 'SAME_LOWER') {
    const none = auto === 'VALID' || !pads
    return {
      ...common,
      before: kernel.map((_, i) => (none ? 0 : pads[i]!)),
      after: kernel.map((_, i) => (none ? 0 : pads[i + rank]!)),
    }
  }
  const total = kernel.map((k, i) => {
    const size = sizes[i]
    if (typeof size !== 'number') return undefined
    const out = Math.ceil(size / strides[i]!)
    return Math.max(0, (out - 1) * strides[i]! + (k - 1) * dilations[i]! + 1 - size)
  })
  const [small, large] = [total.map((p) => p && Math.floor(p / 2)), total.map((p) => p && Math.ceil(p / 2))]
  return auto === 'SAME_UPPER'
    ? { ...common, before: small, after: large }
    : { ...common, before: large, after: small }
}

/** Number of places where the window fits, for each axis. */
export function outputSizes(window: Window, sizes: readonly Dim[], auto?: string): readonly Dim[] {
  return sizes.map((size, i) => {
    const stride = window.strides[i]!
    if (auto === 'SAME_UPPER' || auto === 'SAME_LOWER') {
      if (stride === 1) return size
      return typeof size === 'number' ? Math.ceil(size / stride) : undefined
    }
    const [before, after] = [window.before[i], window.after[i]]
    if (before === undefined || after === undefined) return undefined
    const reach = (window.kernel[i]! - 1) * window.dilations[i]! + 1
    if (before + after + 1 === reach && stride === 1) return size
    if (typeof size !== 'number') return undefined
    const steps = (size + before + after - reach) / stride
    if (!window.ceil) return Math.floor(steps) + 1
    // A last window that would start in the padding behind is left out.
    const count = Math.ceil(steps) + 1
    return (count - 1) * stride >= size + before ? count - 1 : count
  })
}

/** For one axis: the share of output positions at which each tap of the kernel lies inside the value. */
export function insideShares(window: Window, axis: number, size: Dim): readonly number[] {
  const kernel = window.kernel[axis]!
  const before = window.before[axis]
  const out = outputSizes(
    window,
    window.kernel.map((_, i) => (i === axis ? size : undefined)),
  )[axis]
  if (typeof size !== 'number' || typeof out !== 'number' || before === undefined || out <= 0)
    return new Array<number>(kernel).fill(1)
  return Array.from({ length: kernel }, (_, tap) => {
    // The window at o sees this tap at o stride + offset.
    const offset = tap * window.dilations[axis]! - before
    const first = Math.max(0, Math.ceil(-offset / window.strides[axis]!))
    const last = Math.min(out - 1, Math.floor((size - 1 - offset) / window.strides[axis]!))
    return Math.max(0, last - first + 1) / out
  })
}

/** Kernel sizes that the node states or, for a convolution, that its weight has. */
export function kernelOf(node: Node, weight?: Shape): readonly number[] | undefined {
  const stated = intsAttribute(node, 'kernel_shape')
  if (stated) return stated
  const dims = weight?.slice(2)
  return dims?.every((dim) => typeof dim === 'number') ? (dims as number[]) : undefined
}
