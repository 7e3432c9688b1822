import { dataTypes, isFloat, Tensor } from '../../../ir/tensor.ts'
import type { Config } from '../config.ts'
import type { LayerBuilder, LayerValue } from '../layer-builder.ts'
import { defineLayer, expectDims, type LayerDefinition } from './define-layer.ts'
import { interpolations } from './shape.ts'

/** Layers that bring data into shape: words to vectors, pixels to numbers, padding to a mask. */

const asFloat = (build: LayerBuilder, name: string, { dataType }: LayerValue) =>
  isFloat(dataType) ? name : build.op('Cast', [name], { to: dataTypes.float32.onnx })

/** Row i of the table for every whole number i. With mask_zero, zeros are padding. */
const embedding = defineLayer({
  classNames: ['Embedding'],
  weights: () => [{ name: 'embeddings' }],
  emit(call) {
    const { build, config, inputs, weight } = call
    const x = inputs[0]!
    const table = expectDims(call, weight('embeddings'), [undefined, config.integer('output_dim')])
    const value = build.inKerasOrder(x)
    const indices =
      x.dataType === 'int32' || x.dataType === 'int64'
        ? value
        : build.op('Cast', [value], { to: dataTypes.int32.onnx })
    const name = build.op('Gather', [build.weight(table), indices], { axis: 0 })
    const zero = build.scalar(0, x.dataType === 'int64' ? 'int64' : 'int32')
    const mask = config.flag('mask_zero', false)
      ? build.op('Not', [build.op('Equal', [indices, zero])])
      : undefined
    const shape = [...x.shape, table.dims[1]]
    return { name, shape, dataType: 'float32', channelsSecond: false, mask }
  },
})

/** Steps all of whose features have the value are set to zero and count no more. */
const masking = defineLayer({
  classNames: ['Masking'],
  emit({ build, config, inputs }) {
    const x = inputs[0]!
    const value = build.inKerasOrder(x)
    const other = build.op('Not', [build.op('Equal', [value, build.scalar(config.number('mask_value', 0))])])
    const numbers = build.op('Cast', [other], { to: dataTypes.float32.onnx })
    const kept = build.op('ReduceMax', [numbers], { axes: [-1], keepdims: 1 })
    const flat = build.op('Squeeze', [kept, build.integers([-1])])
    return {
      ...x,
      name: build.op('Mul', [value, kept]),
      channelsSecond: false,
      mask: x.shape.length === 3 ? build.op('Cast', [flat], { to: dataTypes.bool.onnx }) : undefined,
    }
  },
})

/** What Keras 3 writes out where it passes the mask of an Embedding or Masking on: which elements differ from a number. */
const notEqual = defineLayer({
  classNames: [],
  emit({ build, inputs, args, opaque }) {
    const x = inputs[0]!
    const other = args.find((arg) => typeof arg === 'number')
    if (inputs.length !== 1 || typeof other !== 'number') return opaque('it compares two tensors', x.shape)
    const equal = build.op('Equal', [x.name, build.scalar(other, x.dataType)])
    return { ...x, name: build.op('Not', [equal]), dataType: 'bool' }
  },
})

/** Whether any element along an axis is true. */
const any = defineLayer({
  classNames: [],
  emit({ build, config, inputs, opaque }) {
    const x = inputs[0]!
    if (config.raw('axis') === undefined || config.flag('keepdims', false) || x.dataType !== 'bool')
      return opaque('it does not look along one axis for what is true')
    const axis = config.number('axis') + (config.number('axis') < 0 ? x.shape.length : 0)
    const numbers = build.op('Cast', [build.inKerasOrder(x)], { to: dataTypes.float32.onnx })
    const some = build.op('ReduceMax', [numbers], { axes: [axis], keepdims: 0 })
    const shape = x.shape.filter((_, i) => i !== axis)
    return { ...x, name: build.op('Cast', [some], { to: dataTypes.bool.onnx }), shape, channelsSecond: false }
  },
})

/** One number, or one for each channel, as a constant that broadcasts along the last axis. */
function numbers(build: LayerBuilder, config: Config, key: string, missing: number): string {
  const stated = config.raw(key)
  if (!Array.isArray(stated)) return build.scalar(config.number(key, missing))
  if (!stated.every((n) => typeof n === 'number')) throw config.wrong(key, 'numbers')
  return build.constant(Tensor.float32([stated.length], stated as number[]), key)
}

/** y = scale x + offset. */
const rescaling = defineLayer({
  classNames: ['Rescaling'],
  keepsMask: true,
  emit({ build, config, inputs }) {
    const x = inputs[0]!
    const isList = Array.isArray(config.raw('scale')) || Array.isArray(config.raw('offset'))
    const value = asFloat(build, isList ? build.inKerasOrder(x) : x.name, x)
    const scaled = build.op('Mul', [value, numbers(build, config, 'scale', 1)])
    return {
      ...x,
      name: build.op('Add', [scaled, numbers(build, config, 'offset', 0)]),
      dataType: 'float32',
      channelsSecond: isList ? false : x.channelsSecond,
    }
  },
})

/** Keras' epsilon, the least standard deviation. */
const leastDeviation = 1e-7

const isStated = (config: Config) => config.raw('mean') !== undefined

/** y = (x - mean) / max(sqrt(variance), 1e-7) with moments of the training data, along `axis`; or back again. */
const normalization = defineLayer({
  classNames: ['Normalization'],
  keepsMask: true,
  weights: (config) =>
    isStated(config)
      ? []
      : [
          { name: 'mean', trainable: false },
          { name: 'variance', trainable: false },
          { name: 'count', trainable: false, isCount: true },
        ],
  emit(call) {
    const { build, config, inputs, weight } = call
    const x = inputs[0]!
    const rank = x.shape.length
    const stated = 'axis' in config.values ? config.raw('axis') : -1
    const axes = (stated === undefined ? [] : config.integers('axis')).map(
      (axis) => axis + (axis < 0 ? rank : 0),
    )
    const dims = x.shape.map((size, axis) => (axes.includes(axis) && typeof size === 'number' ? size : 1))
    const moment = (name: string): string => {
      if (!isStated(config)) return build.weight(weight(name), { dims: fitting(name) })
      const value = config.raw(name)
      const list = (Array.isArray(value) ? value.flat(8) : [value]) as unknown[]
      if (!list.every((n) => typeof n === 'number')) throw config.wrong(name, 'numbers')
      return build.constant(Tensor.float32([list.length], list as number[]), name)
    }
    const fitting = (name: string): number[] => {
      const { dims: held } = weight(name)
      const size = held.reduce((n, dim) => n * dim, 1)
      if (size !== dims.reduce((n, dim) => n * dim, 1)) expectDims(call, weight(name), dims)
      return dims
    }
    const deviation = build.op('Max', [build.op('Sqrt', [moment('variance')]), build.scalar(leastDeviation)])
    const value = asFloat(build, build.inKerasOrder(x), x)
    const name = config.flag('invert', false)
      ? build.op('Add', [build.op('Mul', [value, deviation]), moment('mean')])
      : build.op('Div', [build.op('Sub', [value, moment('mean')]), deviation])
    return { ...x, name, dataType: 'float32', channelsSecond: false }
  },
})

/** Pictures of another size. */
const resizing = defineLayer({
  classNames: ['Resizing'],
  emit({ build, config, inputs, opaque }) {
    const x = inputs[0]!
    const rank = x.shape.length
    const isLast = config.raw('data_format') !== 'channels_first'
    const [height, width] = [config.integer('height'), config.integer('width')]
    const shape = isLast ? [x.shape[0], height, width, x.shape[3]] : [...x.shape.slice(0, 2), height, width]
    const interpolation = config.text('interpolation', 'bilinear')
    const how = interpolations[interpolation]
    if (interpolation === 'bicubic')
      build.note(
        'TensorFlow rounds the coefficients of bicubic interpolation, which changes values by up to 0.2 %',
      )
    const keepsAspect = ['crop_to_aspect_ratio', 'pad_to_aspect_ratio'].find((key) => config.flag(key, false))
    if (rank !== 4) return opaque(`it takes pictures of 4 axes, got ${rank}`)
    if (!how) return opaque(`interpolation '${interpolation}' is not supported`, shape)
    if (keepsAspect) return opaque(`'${keepsAspect}' is not supported`, shape)
    const value = asFloat(build, isLast ? build.withChannelsSecond(x) : build.inKerasOrder(x), x)
    const leading = build.op('Slice', [build.op('Shape', [value]), build.integers([0]), build.integers([2])])
    const sizes = build.op('Concat', [leading, build.integers([height, width])], { axis: 0 })
    const attributes =
      interpolation === 'nearest'
        ? { mode: 'nearest', coordinate_transformation_mode: 'half_pixel', nearest_mode: 'round_prefer_ceil' }
        : how
    const name = build.op('Resize', [value, '', '', sizes], attributes)
    return { ...x, name, shape, dataType: 'float32', channelsSecond: isLast }
  },
})

/** Operators that Keras 3 writes out where it passes a mask on, by their class. */
export const maskOperators: ReadonlyMap<string, LayerDefinition> = new Map([
  ['NotEqual', notEqual],
  ['Any', any],
])

export const preprocessingLayers: readonly LayerDefinition[] = [
  embedding,
  masking,
  rescaling,
  normalization,
  resizing,
]
