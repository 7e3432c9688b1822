import { dataTypes } from '../../../ir/tensor.ts'
import { range } from '../layer-builder.ts'
import { defineLayer, type LayerCall, type LayerDefinition } from './define-layer.ts'
import { channelsLast, fromPositions, positionsOf, windowOf } from './window.ts'

const rankOf = (className: string): number => Number(/([123])D/.exec(className)?.[1])

const classes = (name: string) => [1, 2, 3].map((rank) => `${name}${rank}D`)

/** What lies in the padding of a `same` pool does not count, neither as a maximum nor in a mean. */
const pooled = (opType: string) => (call: LayerCall) => {
  const { build, config, layer, inputs } = call
  const rank = rankOf(layer.className)
  const last = channelsLast(config)
  const x = positionsOf(build, inputs[0]!, rank, last)
  const kernel = config.sizes('pool_size', rank, 2)
  const strides = config.sizes('strides', rank, kernel)
  const padding = config.choice('padding', ['valid', 'same'], 'valid')
  const window = windowOf(
    x.sizes,
    kernel,
    strides,
    range(0, rank).map(() => 1),
    padding,
  )
  const name = build.op(opType, [x.name], { kernel_shape: kernel, strides, ...window.attributes })
  return fromPositions({ ...x, name, sizes: window.sizes }, last)
}

/** One value for a channel: N x C, or with positions of size 1. */
const pooledOverAll = (opType: string) => (call: LayerCall) => {
  const { build, config, layer, inputs } = call
  const rank = rankOf(layer.className)
  const last = channelsLast(config)
  const x = positionsOf(build, inputs[0]!, rank, last)
  const mask = rank === 1 ? inputs[0]!.mask : undefined
  const name =
    mask !== undefined && opType === 'GlobalAveragePool'
      ? meanOfCounted(call, x.name, mask)
      : build.op(opType, [x.name])
  if (config.flag('keepdims', false)) return fromPositions({ ...x, name, sizes: x.sizes.map(() => 1) }, last)
  return {
    name: build.op('Flatten', [name], { axis: 1 }),
    shape: [x.batch, x.channels],
    dataType: 'float32' as const,
    channelsSecond: false,
  }
}

/** The mean over the steps of N x C x T that the N x T mask counts. */
function meanOfCounted({ build }: LayerCall, x: string, mask: string): string {
  const counted = build.op('Cast', [build.op('Unsqueeze', [mask, build.integers([1])])], {
    to: dataTypes.float32.onnx,
  })
  const sum = (value: string) => build.op('ReduceSum', [value, build.integers([2])], { keepdims: 1 })
  return build.op('Div', [sum(build.op('Mul', [x, counted])), sum(counted)])
}

export const poolLayers: readonly LayerDefinition[] = [
  defineLayer({ classNames: [...classes('MaxPooling'), ...classes('MaxPool')], emit: pooled('MaxPool') }),
  defineLayer({
    classNames: [...classes('AveragePooling'), ...classes('AvgPool')],
    emit: pooled('AveragePool'),
  }),
  defineLayer({
    classNames: [...classes('GlobalAveragePooling'), ...classes('GlobalAvgPool')],
    emit: pooledOverAll('GlobalAveragePool'),
  }),
  defineLayer({
    classNames: [...classes('GlobalMaxPooling'), ...classes('GlobalMaxPool')],
    emit: pooledOverAll('GlobalMaxPool'),
  }),
]
