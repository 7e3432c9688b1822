import { type LayerValue, range } from '../layer-builder.ts'
import { activated } from './activation.ts'
import { defineLayer, expectDims, type LayerCall, type LayerDefinition, withBias } from './define-layer.ts'
import { channelsLast, fromPositions, type Padding, positionsOf, windowOf } from './window.ts'

/** Axes of positions: 2 for `Conv2D`. */
const rankOf = (className: string): number => Number(/([123])D/.exec(className)?.[1])

const paddings = ['valid', 'same', 'causal'] as const

interface Settings {
  readonly rank: number
  readonly last: boolean
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  readonly padding: Padding
}

function settingsOf({ config, layer }: LayerCall): Settings {
  const rank = rankOf(layer.className)
  return {
    rank,
    last: channelsLast(config),
    strides: config.sizes('strides', rank, 1),
    dilations: config.sizes('dilation_rate', rank, 1),
    padding: config.choice('padding', paddings, 'valid'),
  }
}

/** The last axis, the one before, then the positions: what ONNX wants of kernels that Keras stores the other way round. */
const kernelOrder = (rank: number) => [rank + 1, rank, ...range(0, rank)]

/** Kernels of k1 x k2 x ... x C / groups x filters. */
const conv = defineLayer({
  classNames: ['Conv1D', 'Conv2D', 'Conv3D'],
  keepsMask: true,
  weights: withBias('kernel'),
  emit(call) {
    const { build, config, weight, inputs } = call
    const { rank, last, strides, dilations, padding } = settingsOf(call)
    const x = positionsOf(build, inputs[0]!, rank, last)
    const groups = config.integer('groups', 1)
    const kernel = config.sizes('kernel_size', rank)
    const filters = config.integer('filters')
    const inside = typeof x.channels === 'number' ? x.channels / groups : undefined
    expectDims(call, weight('kernel'), [...kernel, inside, filters])
    const bias = config.flag('use_bias', true)
      ? [build.weight(expectDims(call, weight('bias'), [filters]))]
      : []
    const window = windowOf(x.sizes, kernel, strides, dilations, padding)
    const name = build.op(
      'Conv',
      [x.name, build.weight(weight('kernel'), { axes: kernelOrder(rank) }), ...bias],
      {
        kernel_shape: kernel,
        strides,
        dilations,
        group: groups,
        ...window.attributes,
      },
    )
    const result = fromPositions({ ...x, name, channels: filters, sizes: window.sizes }, last)
    return activated(call, result, config.raw('activation'))
  },
})

/** The part that depthwise and separable convolutions share: kernels of k1 x ... x C x multiplier, one for a channel. */
function depthwise(call: LayerCall, name: string, bias: readonly string[]) {
  const { build, config, weight, inputs } = call
  const { rank, last, strides, dilations, padding } = settingsOf(call)
  const x = positionsOf(build, inputs[0]!, rank, last)
  const kernel = config.sizes('kernel_size', rank)
  const stored = expectDims(call, weight(name), [
    ...kernel,
    x.channels,
    config.integer('depth_multiplier', 1),
  ])
  const channels = stored.dims[rank]!
  const made = channels * stored.dims[rank + 1]!
  // Keras counts the filters of a channel before those of the next, as ONNX does.
  const weights = build.weight(stored, {
    axes: [rank, rank + 1, ...range(0, rank)],
    dims: [made, 1, ...kernel],
  })
  const window = windowOf(x.sizes, kernel, strides, dilations, padding)
  const output = build.op('Conv', [x.name, weights, ...bias], {
    kernel_shape: kernel,
    strides,
    dilations,
    group: channels,
    ...window.attributes,
  })
  return { rank, last, x: { ...x, name: output, channels: made, sizes: window.sizes } }
}

const depthwiseConv = defineLayer({
  classNames: ['DepthwiseConv1D', 'DepthwiseConv2D'],
  weights: withBias('depthwise_kernel'),
  emit(call) {
    const { build, config, weight } = call
    const bias = config.flag('use_bias', true) ? [build.weight(weight('bias'))] : []
    const { x, last } = depthwise(call, 'depthwise_kernel', bias)
    return activated(call, fromPositions(x, last), config.raw('activation'))
  },
})

const separableConv = defineLayer({
  classNames: ['SeparableConv1D', 'SeparableConv2D'],
  weights: withBias('depthwise_kernel', 'pointwise_kernel'),
  emit(call) {
    const { build, config, weight } = call
    const { x, last, rank } = depthwise(call, 'depthwise_kernel', [])
    const filters = config.integer('filters')
    const ones = range(0, rank).map(() => 1)
    const pointwise = expectDims(call, weight('pointwise_kernel'), [...ones, x.channels, filters])
    const bias = config.flag('use_bias', true)
      ? [build.weight(expectDims(call, weight('bias'), [filters]))]
      : []
    const name = build.op('Conv', [x.name, build.weight(pointwise, { axes: kernelOrder(rank) }), ...bias], {
      kernel_shape: ones,
    })
    return activated(call, fromPositions({ ...x, name, channels: filters }, last), config.raw('activation'))
  },
})

/** Kernels of k1 x k2 x ... x filters x C; the gradient of a convolution with regard to its input. */
const convTranspose = defineLayer({
  classNames: ['Conv1DTranspose', 'Conv2DTranspose', 'Conv3DTranspose'],
  weights: withBias('kernel'),
  emit(call): LayerValue {
    const { build, config, weight, inputs, opaque } = call
    const { rank, last, strides, dilations, padding } = settingsOf(call)
    const x = positionsOf(build, inputs[0]!, rank, last)
    const kernel = config.sizes('kernel_size', rank)
    const filters = config.integer('filters')
    expectDims(call, weight('kernel'), [...kernel, filters, x.channels])
    const stated = config.raw('output_padding')
    if (stated !== undefined && dilations.some((d) => d > 1))
      return opaque('output_padding together with dilation is not supported')
    const reach = kernel.map((k, i) => (k - 1) * dilations[i]! + 1)
    const extra = stated === undefined ? undefined : config.sizes('output_padding', rank, undefined, 0)
    // Totals of padding that is cut off, and what is missing at the end: as TensorFlow counts them.
    const cut = kernel.map((_, i) => {
      if (padding !== 'same') return 0
      return extra ? 2 * Math.floor(reach[i]! / 2) : Math.max(0, reach[i]! - strides[i]!)
    })
    const missing = kernel.map((_, i) => extra?.[i] ?? Math.max(0, strides[i]! - reach[i]!))
    const before = cut.map((total) => Math.floor(total / 2))
    const bias = config.flag('use_bias', true)
      ? [build.weight(expectDims(call, weight('bias'), [filters]))]
      : []
    const name = build.op(
      'ConvTranspose',
      [x.name, build.weight(weight('kernel'), { axes: kernelOrder(rank) }), ...bias],
      {
        kernel_shape: kernel,
        strides,
        dilations,
        pads: [...before, ...cut.map((total, i) => total - before[i]!)],
        output_padding: missing,
      },
    )
    const sizes = x.sizes.map((size, i) =>
      typeof size === 'number' ? (size - 1) * strides[i]! + reach[i]! - cut[i]! + missing[i]! : undefined,
    )
    const result = fromPositions({ ...x, name, channels: filters, sizes }, last)
    return activated(call, result, config.raw('activation'))
  },
})

export const convLayers: readonly LayerDefinition[] = [conv, depthwiseConv, separableConv, convTranspose]
