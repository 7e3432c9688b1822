import { float } from '../../../ir/builder.ts'
import type { Dim } from '../../../ir/model.ts'
import { elementCount, Tensor } from '../../../ir/tensor.ts'
import type { Config } from '../config.ts'
import { type LayerBuilder, type LayerValue, range } from '../layer-builder.ts'
import { defineLayer, type LayerDefinition } from './define-layer.ts'
import { channelsLast, fromPositions, positionsOf } from './window.ts'

const rankOf = (className: string): number => Number(/([123])D/.exec(className)?.[1])
const classes = (name: string) => [1, 2, 3].map((rank) => `${name}${rank}D`)

const product = (dims: readonly Dim[]): Dim =>
  dims.every((dim) => typeof dim === 'number') ? elementCount(dims) : undefined

/** All axes but the samples' become one; channels come last, whatever the data format. */
const flatten = defineLayer({
  classNames: ['Flatten'],
  emit({ build, config, inputs }) {
    const x = inputs[0]!
    const rank = x.shape.length
    if (rank === 2) return { ...x, name: build.op('Identity', [x.name]) }
    const shape: Dim[] = [x.shape[0], product(x.shape.slice(1))]
    const isFirst = config.raw('data_format') === 'channels_first' && rank > 2
    const positions = x.shape.slice(1, -1)
    // Where there is but one position the order does not matter.
    let name = positions.every((size) => size === 1) ? x.name : build.inKerasOrder(x)
    if (isFirst) name = build.op('Transpose', [build.inKerasOrder(x)], { perm: [0, ...range(2, rank), 1] })
    return { ...x, name: reshape(build, name, [0, -1]), shape, channelsSecond: false }
  },
})

const reshape = (build: LayerBuilder, x: string, dims: readonly number[]) =>
  build.op('Reshape', [x, build.integers(dims)])

const reshapeLayer = defineLayer({
  classNames: ['Reshape'],
  emit({ build, config, inputs }) {
    const x = inputs[0]!
    const target = config.integers('target_shape')
    const total = product(x.shape.slice(1))
    const rest = target.filter((size) => size !== -1)
    const open = typeof total === 'number' ? total / elementCount(rest) : undefined
    if (target.some((size) => size < -1) || target.length - rest.length > 1)
      build.refuse(`its target shape is [${target.join(', ')}]`)
    const shape: Dim[] = [x.shape[0], ...target.map((size) => (size === -1 ? open : size))]
    // Zero copies the number of samples; an open size is found from the rest.
    const name = reshape(build, build.inKerasOrder(x), [0, ...target])
    return { ...x, name, shape, channelsSecond: false }
  },
})

const permute = defineLayer({
  classNames: ['Permute'],
  emit({ build, config, inputs }) {
    const x = inputs[0]!
    const dims = config.integers('dims')
    const rank = x.shape.length
    if (dims.length !== rank - 1 || [...dims].sort((a, b) => a - b).some((dim, i) => dim !== i + 1))
      build.refuse(`its dims are [${dims.join(', ')}], expected 1 to ${rank - 1} in some order`)
    const perm = [0, ...dims.map((dim) => build.axisOf(x, dim))]
    const name = build.op('Transpose', [x.name], { perm })
    return { ...x, name, shape: [x.shape[0], ...dims.map((dim) => x.shape[dim])], channelsSecond: false }
  },
})

const repeatVector = defineLayer({
  classNames: ['RepeatVector'],
  emit({ build, config, inputs }) {
    const x = inputs[0]!
    const n = config.integer('n')
    const longer = build.op('Unsqueeze', [build.inKerasOrder(x), build.integers([1])])
    const name = build.op('Expand', [longer, build.integers([1, n, 1])])
    return { ...x, name, shape: [x.shape[0], n, ...x.shape.slice(1)], channelsSecond: false }
  },
})

/** How much to add or cut before and after each axis of positions; given as one number, one a pair, or pairs. */
function margins(config: Config, key: string, rank: number): [number, number][] {
  const stated = config.raw(key) ?? 1
  const isSize = (n: unknown): n is number =>
    typeof n === 'number' && Number.isSafeInteger(n) && n >= 0 && n < 2 ** 20
  if (isSize(stated)) return range(0, rank).map(() => [stated, stated])
  const list = Array.isArray(stated) ? stated : []
  if (rank === 1 && list.length === 2 && list.every(isSize)) return [[list[0] as number, list[1] as number]]
  const pairs = list.map((item): [number, number] | undefined => {
    if (isSize(item)) return [item, item]
    return Array.isArray(item) && item.length === 2 && item.every(isSize)
      ? [item[0] as number, item[1] as number]
      : undefined
  })
  if (pairs.length !== rank || !pairs.every((pair) => pair !== undefined))
    throw config.wrong(key, `${rank} pairs of whole numbers`)
  return pairs
}

/** The axes of positions as Keras counts them. */
const positionAxes = (rank: number, last: boolean) => range(last ? 1 : 2, rank + (last ? 1 : 2))

const resized = (
  x: LayerValue,
  axes: readonly number[],
  sizeOf: (size: number, i: number) => number,
): Dim[] =>
  x.shape.map((size, axis) => {
    const i = axes.indexOf(axis)
    return i >= 0 && typeof size === 'number' ? sizeOf(size, i) : size
  })

const zeroPadding = defineLayer({
  classNames: classes('ZeroPadding'),
  emit({ build, config, layer, inputs }) {
    const x = inputs[0]!
    const rank = rankOf(layer.className)
    const axes = positionAxes(rank, rank === 1 || channelsLast(config))
    checkRank(build, x, rank)
    const sides = margins(config, 'padding', rank)
    const pads = new Array<number>(2 * x.shape.length).fill(0)
    axes.forEach((axis, i) => {
      pads[build.axisOf(x, axis)] = sides[i]![0]
      pads[build.axisOf(x, axis) + x.shape.length] = sides[i]![1]
    })
    const name = build.op('Pad', [x.name, build.integers(pads, 'pads'), build.scalar(0)])
    return { ...x, name, shape: resized(x, axes, (size, i) => size + sides[i]![0] + sides[i]![1]) }
  },
})

const cropping = defineLayer({
  classNames: classes('Cropping'),
  emit({ build, config, layer, inputs }) {
    const x = inputs[0]!
    const rank = rankOf(layer.className)
    const axes = positionAxes(rank, rank === 1 || channelsLast(config))
    checkRank(build, x, rank)
    const sides = margins(config, 'cropping', rank)
    // Behind the end lies whatever is larger than any size.
    const ends = sides.map(([, after]) => (after === 0 ? 2 ** 31 - 1 : -after))
    const name = build.op('Slice', [
      x.name,
      build.integers(sides.map(([before]) => before)),
      build.integers(ends),
      build.integers(axes.map((axis) => build.axisOf(x, axis))),
    ])
    return {
      ...x,
      name,
      shape: resized(x, axes, (size, i) => Math.max(0, size - sides[i]![0] - sides[i]![1])),
    }
  },
})

function checkRank(build: LayerBuilder, x: LayerValue, rank: number): void {
  if (x.shape.length !== rank + 2)
    build.refuse(`it takes values of ${rank + 2} axes, got ${x.shape.length}; the file may be damaged`)
}

const upSampling = defineLayer({
  classNames: classes('UpSampling'),
  emit({ build, config, layer, inputs, opaque }) {
    const rank = rankOf(layer.className)
    const last = rank === 1 || channelsLast(config)
    const x = positionsOf(build, inputs[0]!, rank, last)
    const size = config.sizes('size', rank, 2)
    const interpolation = rank === 2 ? config.text('interpolation', 'nearest') : 'nearest'
    const sizes = x.sizes.map((n, i): Dim => (typeof n === 'number' ? n * size[i]! : undefined))
    const attributes = interpolations[interpolation]
    const shape = fromPositions({ ...x, sizes }, last).shape
    if (!attributes) return opaque(`interpolation '${interpolation}' is not supported`, shape)
    const scales = build.constant(Tensor.float32([rank + 2], [1, 1, ...size]), 'scales')
    return fromPositions({ ...x, name: build.op('Resize', [x.name, '', scales], attributes), sizes }, last)
  },
})

/** As TensorFlow resizes: pixels are areas whose centres lie at halves. */
export const interpolations: Readonly<Record<string, Parameters<LayerBuilder['op']>[2]>> = {
  nearest: { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' },
  bilinear: { mode: 'linear', coordinate_transformation_mode: 'half_pixel' },
  bicubic: {
    mode: 'cubic',
    coordinate_transformation_mode: 'half_pixel',
    cubic_coeff_a: float(-0.5),
    exclude_outside: 1,
  },
}

/** Holds Python code, which is never run. */
const lambda = defineLayer({
  classNames: ['Lambda'],
  emit: ({ opaque }) => opaque('a Lambda holds Python code, which is never run'),
})

export const shapeLayers: readonly LayerDefinition[] = [
  flatten,
  reshapeLayer,
  permute,
  repeatVector,
  zeroPadding,
  cropping,
  upSampling,
  lambda,
]
