import { intAttribute } from '../ir/model.ts'
import { elementCount, Tensor } from '../ir/tensor.ts'
import { type GradientContext, sharedByExtremes, zerosLike } from './gradient.ts'
import { kernelOf, type Window, windowOf } from './window.ts'

/** The window of a pool whose sizes are known. */
function poolWindow({ node, inputs }: GradientContext): Window {
  const { shape } = inputs[0]!
  return windowOf(node, kernelOf(node)!, shape.slice(2))
}

/** MaxPool: every element of dy goes to the position that the node took it from. */
export function maxPoolGradient(g: GradientContext): string {
  const { build, node } = g
  if (intAttribute(node, 'storage_order') === 1) g.refuse('its indices are stored column by column')
  const { dataType, shape } = g.inputs[0]!
  const { kernel, strides, dilations } = poolWindow(g)
  const overlaps = kernel.some((k, i) => (k - 1) * dilations[i]! + 1 > strides[i]!)
  // Its kernel and strides only say what size to expect, which the third input tells.
  if (!overlaps && dataType === 'float32')
    return build.op('MaxUnpool', [g.dy(), g.y(1), build.ints(shape)], { kernel_shape: kernel, strides })
  const scattered = build.op(
    'ScatterElements',
    [build.reshape(zerosLike(g, 0), [-1]), build.reshape(g.y(1), [-1]), build.reshape(g.dy(), [-1])],
    { axis: 0, ...(overlaps ? { reduction: 'add' } : {}) },
  )
  return build.reshape(scattered, shape)
}

/** AveragePool: every element of dy is shared by the elements of its window. */
export function averagePoolGradient(g: GradientContext): string {
  const { build } = g
  const { dataType, shape } = g.inputs[0]!
  const out = g.outputs[0]!.shape
  const window = poolWindow(g)
  const { kernel, strides, dilations } = window
  const [before, after] = [window.before as number[], window.after as number[]]
  const sizes = shape.slice(2)
  const [samples, channels] = shape as [number, number]

  // Windows side by side: every element of dy stands where its window was.
  const tiles = kernel.every(
    (k, i) =>
      k === strides[i] &&
      before[i] === 0 &&
      after[i] === 0 &&
      out[i + 2]! * k === sizes[i] &&
      dilations[i] === 1,
  )
  if (tiles) {
    const share = build.mul(g.dy(), g.scalar(1 / elementCount(kernel)))
    const split = build.reshape(share, [samples, channels, ...kernel.flatMap((_, i) => [out[i + 2]!, 1])])
    const whole = [samples, channels, ...kernel.flatMap((k, i) => [out[i + 2]!, k])]
    return build.reshape(build.op('Expand', [split, build.ints(whole)]), shape)
  }

  const padded = intAttribute(g.node, 'count_include_pad') === 1
  const counts = kernel.map((k, axis) =>
    Array.from({ length: out[axis + 2]! }, (_, o) => {
      const taps = Array.from(
        { length: k },
        (_, tap) => o * strides[axis]! - before[axis]! + tap * dilations[axis]!,
      )
      const [low, high] = padded ? [-before[axis]!, sizes[axis]! + after[axis]!] : [0, sizes[axis]!]
      return taps.filter((at) => at >= low && at < high).length
    }),
  )
  const perWindow = counts.reduce((all, along) => all.flatMap((n) => along.map((m) => n * m)), [1])
  const shares = Tensor.of(
    dataType,
    [1, 1, ...out.slice(2)],
    perWindow.map((n) => 1 / n),
  )
  const share = build.mul(g.dy(), build.constant(shares, 'shares'))
  const ones = Tensor.of(dataType, [1, 1, ...kernel], new Float64Array(elementCount(kernel)).fill(1))
  // Positions behind the last window are part of x too; windows that reach beyond the padding behind are cut.
  const left = kernel.map(
    (k, i) => sizes[i]! + before[i]! - (out[i + 2]! - 1) * strides[i]! - (k - 1) * dilations[i]! - 1,
  )
  const spread = build.op(
    'ConvTranspose',
    [build.reshape(share, [samples * channels, 1, ...out.slice(2)]), build.constant(ones, 'ones')],
    {
      kernel_shape: kernel,
      strides,
      dilations,
      pads: [...before, ...left.map((size) => Math.max(0, -size))],
      output_padding: left.map((size) => Math.max(0, size)),
    },
  )
  return build.reshape(spread, shape)
}

/** GlobalMaxPool: to the largest element of every channel, in equal shares where several are. */
export const globalMaxPoolGradient = (g: GradientContext): string =>
  sharedByExtremes(g, {
    value: g.dy(),
    extreme: g.y(),
    axes: [...g.inputs[0]!.shape.keys()].slice(2),
  })
