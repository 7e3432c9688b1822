import { Tensor } from '../../../ir/tensor.ts'
import { spread } from './conv.ts'
import { type Call, defineAten, type Emitter, Untranslatable } from './define-aten.ts'

const spatialRank = (call: Call): number => {
  const digit = /([123])d/.exec(call.op)?.[1]
  return Number(digit)
}

/** Works on N x C x spatial; an input without batch axis gets one for as long. */
function batched(build: Emitter, x: string, rank: number, pool: (x: string) => string): string {
  if (build.rank(x) !== rank + 1) return pool(x)
  return build.op('Squeeze', [pool(build.unsqueeze(x, [0])), build.ints([0])])
}

function windowOf(call: Call, rank: number) {
  const kernel = spread(call.ints('kernel_size'), rank)
  const stride = call.has('stride') ? call.ints('stride') : []
  const pads = spread(call.ints('padding', [0]), rank)
  return {
    kernel_shape: kernel,
    strides: stride.length === 0 ? kernel : spread(stride, rank),
    pads: [...pads, ...pads],
    ceil_mode: call.bool('ceil_mode', false) ? 1 : 0,
  }
}

export const maxPool = defineAten({
  target: ['max_pool1d', 'max_pool2d', 'max_pool3d', 'max_pool2d_with_indices', 'max_pool3d_with_indices'],
  emit(call, build) {
    const rank = spatialRank(call)
    const attributes = { ...windowOf(call, rank), dilations: spread(call.ints('dilation', [1]), rank) }
    return [batched(build, call.tensor('self'), rank, (x) => build.op('MaxPool', [x], attributes))]
  },
})

export const averagePool = defineAten({
  target: ['avg_pool1d', 'avg_pool2d', 'avg_pool3d'],
  emit(call, build) {
    const rank = spatialRank(call)
    if (call.has('divisor_override')) throw new Untranslatable('it overrides the divisor')
    const attributes = {
      ...windowOf(call, rank),
      count_include_pad: call.bool('count_include_pad', true) ? 1 : 0,
    }
    return batched(build, call.tensor('self'), rank, (x) => build.op('AveragePool', [x], attributes))
  },
})

const axesOf = (build: Emitter, x: string, rank: number) =>
  Array.from({ length: rank }, (_, i) => build.rank(x) - rank + i)

/** Sizes that are asked for: those that are `null` stay. */
function wantedOf(call: Call, build: Emitter, x: string, rank: number): number[] {
  const wanted = spread(call.ints('output_size'), rank)
  return wanted.map((size, i) => (size < 0 ? build.size(x, i - rank) : size))
}

export const adaptiveAveragePool = defineAten({
  target: [
    'adaptive_avg_pool1d',
    'adaptive_avg_pool2d',
    'adaptive_avg_pool3d',
    '_adaptive_avg_pool2d',
    '_adaptive_avg_pool3d',
  ],
  emit(call, build) {
    const rank = spatialRank(call)
    const x = call.tensor('self')
    const wanted = wantedOf(call, build, x, rank)
    const axes = axesOf(build, x, rank)
    if (wanted.every((size) => size === 1))
      return build.rank(x) === rank + 2 ? build.op('GlobalAveragePool', [x]) : build.reduceMean(x, axes)
    const sizes = axes.map((axis) => build.size(x, axis))
    if (wanted.every((size, i) => size === sizes[i])) return x
    if (wanted.every((size, i) => sizes[i]! % size === 0)) {
      const kernel = wanted.map((size, i) => sizes[i]! / size)
      return batched(build, x, rank, (y) =>
        build.op('AveragePool', [y], { kernel_shape: kernel, strides: kernel }),
      )
    }
    // Windows of different sizes: every axis is multiplied by a matrix of averages.
    return axes.reduce((y, axis, i) => {
      const last = build.rank(x) - 1
      const swap = Array.from({ length: last + 1 }, (_, a) => (a === axis ? last : a === last ? axis : a))
      const matrix = build.constant(averages(sizes[i]!, wanted[i]!, build.dataType(x)), 'averages')
      return build.transpose(build.op('MatMul', [build.transpose(y, swap), matrix]), swap)
    }, x)
  },
})

/** Window o of `to` covers floor(o from / to) to ceil((o + 1) from / to). */
const windows = (from: number, to: number): readonly (readonly [start: number, end: number])[] =>
  Array.from({ length: to }, (_, o) => [Math.floor((o * from) / to), Math.ceil(((o + 1) * from) / to)])

function averages(from: number, to: number, type: Tensor['dataType']): Tensor {
  const matrix = new Float64Array(from * to)
  for (const [o, [start, end]] of windows(from, to).entries())
    for (let i = start; i < end; i++) matrix[i * to + o] = 1 / (end - start)
  return Tensor.of(type, [from, to], matrix)
}

export const adaptiveMaxPool = defineAten({
  target: ['adaptive_max_pool1d', 'adaptive_max_pool2d', 'adaptive_max_pool3d'],
  emit(call, build) {
    const rank = spatialRank(call)
    const x = call.tensor('self')
    const wanted = wantedOf(call, build, x, rank)
    const axes = axesOf(build, x, rank)
    if (wanted.every((size) => size === 1)) return [build.reduce('ReduceMax', x, axes, true)]
    const sizes = axes.map((axis) => build.size(x, axis))
    const kernel = wanted.map((size, i) => sizes[i]! / size)
    if (kernel.every(Number.isInteger))
      return [
        batched(build, x, rank, (y) => build.op('MaxPool', [y], { kernel_shape: kernel, strides: kernel })),
      ]
    // Windows of different sizes: the largest of each along one axis after the other.
    const largest = axes.reduce((y, axis, i) => {
      const parts = windows(sizes[i]!, wanted[i]!).map(([start, end]) =>
        build.reduce('ReduceMax', build.slice(y, axis, start, end), [axis]),
      )
      return build.op('Concat', parts, { axis })
    }, x)
    return [largest]
  },
})
