import { float } from '../../../ir/builder.ts'
import { Tensor } from '../../../ir/tensor.ts'
import type { Config } from '../config.ts'
import { type LayerBuilder, range } from '../layer-builder.ts'
import type { StoredWeight } from '../weights.ts'
import { defineLayer, expectDims, type LayerDefinition } from './define-layer.ts'

const affine = (config: Config) => [
  ...(config.flag('scale', true) ? [{ name: 'gamma' }] : []),
  ...(config.flag('center', true) ? [{ name: 'beta' }] : []),
]

/** Keras' epsilon where a file states none. */
const defaultEpsilon = 1e-3

/**
 * y = gamma (x - mean) / sqrt(variance + epsilon) + beta, per channel. The channel axis is brought second, where it
 * stays for the layers behind.
 */
const batchNormalization = defineLayer({
  classNames: ['BatchNormalization'],
  keepsMask: true,
  weights: (config) => [
    ...affine(config),
    { name: 'moving_mean', trainable: false },
    { name: 'moving_variance', trainable: false },
  ],
  emit(call) {
    const { build, config, weight, inputs } = call
    const x = inputs[0]!
    if (config.flag('renorm', false))
      build.refuse('it uses batch renormalization, which is not supported; train it with renorm=False')
    if (config.raw('virtual_batch_size'))
      build.refuse(
        'it normalises virtual batches, which is not supported; train it without virtual_batch_size',
      )
    if (config.raw('mode') === 1)
      build.refuse('it normalises each sample by itself (mode 1 of Keras 1), which is not supported')
    const axes = config.raw('axis') === undefined ? [-1] : config.integers('axis')
    const rank = x.shape.length
    const axis = axes.length === 1 ? axes[0]! + (axes[0]! < 0 ? rank : 0) : -1
    if (axis < 1 || axis >= rank)
      build.refuse(
        `it normalises axis ${JSON.stringify(config.raw('axis'))} of ${rank}, expected one axis behind the first`,
      )
    const mean = weight('moving_mean')
    const channels = [mean.dims[0] ?? 0]
    const size = x.shape[axis]
    if (typeof size === 'number') expectDims(call, mean, [size])
    expectDims(call, mean, channels)
    expectDims(call, weight('moving_variance'), channels)
    if (config.raw('trainable') === false)
      build.note('is frozen (trainable is false): Keras uses its running statistics in training as well')
    const vector = (name: string, on: boolean, fill: number) => {
      if (!on)
        return build.constant(Tensor.float32(channels, new Float32Array(channels[0]!).fill(fill)), name)
      expectDims(call, weight(name), channels)
      return build.weight(weight(name))
    }
    const parameters = [
      vector('gamma', config.flag('scale', true), 1),
      vector('beta', config.flag('center', true), 0),
      build.weight(mean),
      build.weight(weight('moving_variance')),
    ]
    const normalised = (value: string) =>
      build.op('BatchNormalization', [value, ...parameters], {
        epsilon: float(config.number('epsilon', defaultEpsilon)),
      })
    if (axis === rank - 1)
      return { ...x, name: normalised(build.withChannelsSecond(x)), channelsSecond: rank > 2 }
    if (axis === 1) return { ...x, name: normalised(build.inKerasOrder(x)), channelsSecond: false }
    const perm = [0, axis, ...range(1, rank).filter((other) => other !== axis)]
    const back = range(0, rank).map((other) => perm.indexOf(other))
    const moved = normalised(build.op('Transpose', [build.inKerasOrder(x)], { perm }))
    return { ...x, name: build.op('Transpose', [moved], { perm: back }), channelsSecond: false }
  },
})

/** y = gamma (x - mean) / sqrt(variance + epsilon) + beta with the moments of each sample along `axis`. */
const layerNormalization = defineLayer({
  classNames: ['LayerNormalization'],
  keepsMask: true,
  weights: affine,
  emit(call) {
    const { build, config, inputs, opaque } = call
    const x = inputs[0]!
    if (config.flag('rms_scaling', false)) return opaque('rms_scaling is not supported', x.shape)
    const rank = x.shape.length
    const axes = (config.raw('axis') === undefined ? [-1] : config.integers('axis'))
      .map((axis) => axis + (axis < 0 ? rank : 0))
      .sort((a, b) => a - b)
    if (axes.length === 0 || axes.some((axis) => axis < 1 || axis >= rank))
      build.refuse(`it normalises axes ${JSON.stringify(config.raw('axis'))} of ${rank}`)
    const epsilon = config.number('epsilon', defaultEpsilon)
    const isTrailing = axes.every((axis, i) => axis === rank - axes.length + i)
    const value = build.inKerasOrder(x)
    const weight = (name: string) =>
      expectDims(
        call,
        call.weight(name),
        axes.map((axis) => x.shape[axis]),
      )
    const [scale, center] = [config.flag('scale', true), config.flag('center', true)]
    const dims = axes.map((axis) => x.shape[axis])
    if (isTrailing && (scale || dims.every((dim) => typeof dim === 'number'))) {
      const gamma = scale ? build.weight(weight('gamma')) : build.constant(ones(dims as number[]), 'gamma')
      const inputs = [value, gamma, ...(center ? [build.weight(weight('beta'))] : [])]
      const name = build.op('LayerNormalization', inputs, { axis: axes[0]!, epsilon: float(epsilon) })
      return { ...x, name, channelsSecond: false }
    }
    const centred = build.op('Sub', [value, build.op('ReduceMean', [value], { axes, keepdims: 1 })])
    const spread = build.op('ReduceMean', [build.op('Mul', [centred, centred])], { axes, keepdims: 1 })
    const divisor = build.op('Sqrt', [build.op('Add', [spread, build.scalar(epsilon)])])
    let name = build.op('Div', [centred, divisor])
    const along = (array: StoredWeight) =>
      build.weight(array, {
        dims: range(1, rank).map((axis) => (axes.includes(axis) ? array.dims[axes.indexOf(axis)]! : 1)),
      })
    if (scale) name = build.op('Mul', [name, along(weight('gamma'))])
    if (center) name = build.op('Add', [name, along(weight('beta'))])
    return { ...x, name, channelsSecond: false }
  },
})

/** Normalises the moments of each sample over groups of channels. */
const groupNormalization = defineLayer({
  classNames: ['GroupNormalization'],
  keepsMask: true,
  weights: affine,
  emit(call) {
    const { build, config, inputs } = call
    const x = inputs[0]!
    const rank = x.shape.length
    const axis = config.integers('axis')[0]! + (config.integers('axis')[0]! < 0 ? rank : 0)
    const last = axis === rank - 1
    if (!last && axis !== 1)
      build.refuse(`it normalises axis ${axis} of ${rank}, expected the first or the last`)
    const channels = x.shape[axis]
    if (typeof channels !== 'number') return call.opaque('its number of channels is not known', x.shape)
    const stated = config.number('groups', 32)
    const groups = stated === -1 ? channels : stated
    if (!(groups >= 1) || channels % groups !== 0)
      build.refuse(`it divides ${channels} channels into ${groups} groups`)
    const value = last ? build.withChannelsSecond(x) : build.inKerasOrder(x)
    const grouped = build.op('Reshape', [value, build.integers([0, groups, -1])])
    const normalised = build.op(
      'InstanceNormalization',
      [grouped, build.constant(ones([groups]), 'one'), build.constant(zeros([groups]), 'zero')],
      { epsilon: float(config.number('epsilon', defaultEpsilon)) },
    )
    let name = build.op('Reshape', [normalised, build.op('Shape', [value])])
    const along = (weight: string) =>
      build.weight(expectDims(call, call.weight(weight), [channels]), {
        dims: [channels, ...range(2, rank).map(() => 1)],
      })
    if (config.flag('scale', true)) name = build.op('Mul', [name, along('gamma')])
    if (config.flag('center', true)) name = build.op('Add', [name, along('beta')])
    return { ...x, name, channelsSecond: last && rank > 2 }
  },
})

/** Divides each sample by its length (L2 norm) along `axis`. */
const unitNormalization = defineLayer({
  classNames: ['UnitNormalization'],
  emit({ build, config, inputs }) {
    const x = inputs[0]!
    const axes = (config.raw('axis') === undefined ? [-1] : config.integers('axis')).map((axis) =>
      build.axisOf(x, axis),
    )
    return { ...x, name: divideByLength(build, x.name, axes) }
  },
})

/** As Keras' l2_normalize: the squared length is at least 1e-12. */
export function divideByLength(build: LayerBuilder, x: string, axes: readonly number[]): string {
  const squares = build.op('ReduceSum', [build.op('Mul', [x, x]), build.integers(axes)], { keepdims: 1 })
  return build.op('Div', [x, build.op('Sqrt', [build.op('Max', [squares, build.scalar(1e-12)])])])
}

const ones = (dims: readonly number[]) => filled(dims, 1)
const zeros = (dims: readonly number[]) => filled(dims, 0)
const filled = (dims: readonly number[], value: number) =>
  Tensor.float32(dims, new Float32Array(dims.reduce((n, dim) => n * dim, 1)).fill(value))

export const normalizationLayers: readonly LayerDefinition[] = [
  batchNormalization,
  layerNormalization,
  groupNormalization,
  unitNormalization,
]
