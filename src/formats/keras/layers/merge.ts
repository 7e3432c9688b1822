import type { Dim } from '../../../ir/model.ts'
import { type LayerBuilder, type LayerValue, range } from '../layer-builder.ts'
import { defineLayer, type LayerDefinition } from './define-layer.ts'
import { divideByLength } from './normalization.ts'

interface Together {
  readonly names: readonly string[]
  readonly shape: readonly Dim[]
  readonly channelsSecond: boolean
}

/** Values of one rank and with their axes in one order: what has fewer axes gets new ones behind the samples. */
export function together(build: LayerBuilder, inputs: readonly LayerValue[]): Together {
  const rank = Math.max(...inputs.map(({ shape }) => shape.length))
  const channelsSecond = inputs.some((x) => x.channelsSecond && x.shape.length === rank)
  const values = inputs.map((x) => {
    const missing = rank - x.shape.length
    if (missing === 0) return x
    const name = build.op('Unsqueeze', [build.inKerasOrder(x), build.integers(range(1, 1 + missing))])
    const shape = [x.shape[0], ...range(0, missing).map(() => 1), ...x.shape.slice(1)]
    return { ...x, name, shape, channelsSecond: false }
  })
  return {
    names: values.map((x) => build.ordered(x, channelsSecond)),
    shape: range(0, rank).map((axis) => broadcast(values.map(({ shape }) => shape[axis]))),
    channelsSecond,
  }
}

const broadcast = (dims: readonly Dim[]): Dim =>
  dims.find((dim) => dim !== 1 && dim !== undefined) ?? dims.find((dim) => dim !== 1) ?? dims[0]

/** Combines elements two by two. */
function elementwise(
  className: string,
  opType: string,
  last?: (build: LayerBuilder, sum: string, n: number) => string,
) {
  return defineLayer({
    classNames: [className],
    keepsMask: true,
    emit({ build, inputs }) {
      const { names, shape, channelsSecond } = together(build, inputs)
      const [first = '', ...others] = names
      const result = others.reduce((a, b) => build.op(opType, [a, b]), first)
      const name = last ? last(build, result, names.length) : result
      return { name, shape, channelsSecond, dataType: inputs[0]!.dataType }
    },
  })
}

const concatenate = defineLayer({
  classNames: ['Concatenate'],
  keepsMask: true,
  emit({ build, config, inputs }) {
    const first = inputs[0]!
    const rank = first.shape.length
    if (inputs.some(({ shape }) => shape.length !== rank))
      build.refuse('its inputs differ in their number of axes')
    const stated = config.number('axis', -1)
    const axis = stated < 0 ? stated + rank : stated
    if (!Number.isInteger(axis) || axis < 0 || axis >= rank)
      build.refuse(`it joins axis ${stated} of ${rank}`)
    const channelsSecond = inputs.some((x) => x.channelsSecond)
    const names = inputs.map((x) => build.ordered(x, channelsSecond))
    const shape = first.shape.map((size, i) => (i === axis ? sumOf(inputs.map((x) => x.shape[axis])) : size))
    const result = { ...first, shape, channelsSecond }
    return { ...result, name: build.op('Concat', names, { axis: build.axisOf(result, axis) }) }
  },
})

const sumOf = (dims: readonly Dim[]): Dim =>
  dims.every((dim) => typeof dim === 'number') ? dims.reduce((sum, dim) => sum + dim, 0) : undefined

/** The product of two values along one axis of each, sample by sample. */
const dot = defineLayer({
  classNames: ['Dot'],
  emit(call) {
    const { build, config, inputs, opaque } = call
    const [x, y] = inputs
    if (!x || !y || inputs.length !== 2) return build.refuse(`it takes 2 inputs, got ${inputs.length}`)
    const ranks = [x.shape.length, y.shape.length]
    if (ranks.some((rank) => rank < 2 || rank > 3))
      return opaque(`products of values of ${ranks} axes are not supported`)
    const stated = config.integers('axes')
    const pair = stated.length === 1 ? [stated[0]!, stated[0]!] : stated
    const axes = pair.map((axis, i) => (axis < 0 ? axis + ranks[i]! : axis))
    if (axes.length !== 2 || axes.some((axis, i) => axis < 1 || axis >= ranks[i]!))
      build.refuse(`its axes are ${JSON.stringify(config.raw('axes'))}`)
    const values = [x, y].map((value, i) => {
      const name = build.inKerasOrder(value)
      return config.flag('normalize', false) ? divideByLength(build, name, [axes[i]!]) : name
    })
    // N x A x K times N x K x B; an axis of size 1 stands for the one that a matrix lacks.
    const a = matrixOf(build, values[0]!, ranks[0]!, axes[0] === 1 && ranks[0] === 3, 1)
    const b = matrixOf(build, values[1]!, ranks[1]!, axes[1] === 2, 2)
    const product = build.op('MatMul', [a, b])
    const free = (value: LayerValue, axis: number) => value.shape.filter((_, i) => i > 0 && i !== axis)
    const rest = [...free(x, axes[0]!), ...free(y, axes[1]!)]
    const squeezed = [...(ranks[0] === 2 ? [1] : []), ...(ranks[1] === 2 ? [2] : [])]
    const shape = rest.length === 0 ? [x.shape[0], 1] : [x.shape[0], ...rest]
    // Of two vectors one axis of size 1 remains.
    const dropped = rest.length === 0 ? [1] : squeezed
    const name = dropped.length === 0 ? product : build.op('Squeeze', [product, build.integers(dropped)])
    return { name, shape, dataType: 'float32', channelsSecond: false }
  },
})

/** As N x rows x columns: transposed, or with a new axis `axis` for a value of two axes. */
function matrixOf(build: LayerBuilder, name: string, rank: number, transpose: boolean, axis: number): string {
  if (rank === 2) return build.op('Unsqueeze', [name, build.integers([axis])])
  return transpose ? build.op('Transpose', [name], { perm: [0, 2, 1] }) : name
}

export const mergeLayers: readonly LayerDefinition[] = [
  elementwise('Add', 'Add'),
  elementwise('Subtract', 'Sub'),
  elementwise('Multiply', 'Mul'),
  elementwise('Maximum', 'Max'),
  elementwise('Minimum', 'Min'),
  elementwise('Average', 'Add', (build, sum, n) => build.op('Div', [sum, build.scalar(n)])),
  concatenate,
  dot,
]
