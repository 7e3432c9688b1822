import { type Dim, intAttribute, intsAttribute, stringAttribute } from '../ir/model.ts'
import { Tensor } from '../ir/tensor.ts'
import { defineOp, type Known, type TypeContext } from './define-op.ts'
import { asTypeContext, type GradientContext, passed, zerosLike } from './gradient.ts'
import { picked } from './moments/layout.ts'
import type { Spread } from './moments/spread.ts'
import { concatenated } from './moments/sums.ts'
import { axisOf, intsFrom, maxContents, type Shape, unknownShape } from './shapes.ts'
import { type Border, bordered, pickedFrom, type SourceMap, throughMap } from './source-map.ts'

function totalOf(sizes: Shape): Dim {
  let total = 0
  let name: Dim
  for (const size of sizes) {
    if (typeof size === 'number') total += size
    else if (size === undefined || name !== undefined) return undefined
    else name = size
  }
  return name === undefined ? total : total === 0 ? name : undefined
}

/** Values one after another along an axis. */
export const concat = defineOp({
  opType: 'Concat',
  role: 'merge',
  inputs: ['...x'],
  flow: { '...x': 'layout' },
  inferTypes: ({ node, inputs }): readonly Known[] => {
    const dataType = inputs.find((input) => input.dataType)?.dataType
    const known = inputs.find((input) => input.shape)?.shape
    const axis = known && axisOf(intAttribute(node, 'axis') ?? 1, known.length)
    if (!known || axis === undefined) return [{ dataType }]
    const shape = known.map((_, i): Dim => {
      const dims = inputs.map((input) => input.shape?.[i])
      if (i === axis) return totalOf(dims)
      // All inputs agree in this dimension, so any that is known tells.
      return dims.find((dim) => typeof dim === 'number') ?? dims.find((dim) => dim !== undefined)
    })
    // A vector of unknown length may still be known in its first part, but nothing needs that.
    const contents =
      known.length === 1 && typeof shape[0] === 'number' && shape[0] <= maxContents
        ? inputs.flatMap((input): Shape => input.contents ?? unknownShape(input.shape?.[0] as number))
        : undefined
    return [{ dataType, shape, contents }]
  },
  moments: ({ node, inputs, spreads, outputs }) => {
    const rank = outputs[0]?.shape?.length
    const axis = rank === undefined ? undefined : axisOf(intAttribute(node, 'axis') ?? 1, rank)
    if (axis === undefined || spreads.some((spread) => !spread)) return []
    const sizes = inputs.map((input) => {
      const size = input.shape?.[axis]
      return typeof size === 'number' ? size : undefined
    })
    return [concatenated(spreads as Spread[], axis, sizes)]
  },
  gradient: {
    '...x': (g, i) => {
      const axis = intAttribute(g.node, 'axis') ?? 1
      const parts = g.once('parts', () =>
        g.build.several(
          'Split',
          [g.dy(), g.build.ints(g.inputs.map((input) => input.shape.at(axis)!))],
          g.inputs.length,
          { axis },
        ),
      )
      return parts[i]!
    },
  },
  samples: [
    `g (float32[N, 3, 4] x, float32[N, 2, 4] y) => () { a = Concat <axis = 1> (x, y, x) b = Concat <axis = -1> (x, x) }`,
  ],
})

/** A value cut into parts along an axis: of the sizes given, or equal ones. */
export const split = defineOp({
  opType: 'Split',
  inputs: ['x', 'sizes'],
  flow: { x: 'layout', sizes: 'none' },
  inferTypes: (context) => {
    const { node, inputs } = context
    const { dataType, shape, contents } = inputs[0] ?? {}
    const axis = shape && axisOf(intAttribute(node, 'axis') ?? 0, shape.length)
    if (!shape || axis === undefined) return node.outputs.map(() => ({ dataType }))
    const sizes = partSizes(context.node.outputs.length, shape[axis], intsFrom(context, 'split', 1))
    let start = 0
    return node.outputs.map((_, i) => {
      const size = sizes[i]
      const part =
        shape.length === 1 && typeof size === 'number' && contents
          ? contents.slice(start, start + size)
          : undefined
      start += typeof size === 'number' ? size : Number.NaN
      return { dataType, shape: shape.with(axis, size), contents: part }
    })
  },
  moments: (context) => {
    const { node, inputs, spreads, outputs } = context
    const [x] = spreads
    const rank = inputs[0]?.shape?.length
    const axis = rank === undefined ? undefined : axisOf(intAttribute(node, 'axis') ?? 0, rank)
    if (!x || axis === undefined) return []
    let start = 0
    return node.outputs.map((_, i) => {
      const size = outputs[i]?.shape?.[axis]
      if (typeof size !== 'number' || Number.isNaN(start)) {
        start = Number.NaN
        return x.dims[axis] === 1 ? x : undefined
      }
      const from = start
      start += size
      if (x.dims[axis] === 1) return x
      return picked(
        x,
        axis,
        Array.from({ length: size }, (_, k) => from + k),
      )
    })
  },
  gradient: {
    x: (g) => {
      const axis = intAttribute(g.node, 'axis') ?? 0
      return g.build.op(
        'Concat',
        g.node.outputs.map((_, i) => g.dy(i)),
        { axis },
      )
    },
    sizes: null,
  },
  samples: [
    `g (float32[N, 6] x) => () <int64[2] s = {2, 4}> { a, b = Split <axis = 1> (x, s) c, d, e = Split <axis = -1> (x) }`,
    `<opset_import: ["": 11]> g (float32[N, 6] x) => () { a, b = Split <axis = 1, split = [1, 5]> (x) }`,
    `<opset_import: ["": 18]> g (float32[N, 7] x) => () { a, b, c = Split <axis = 1, num_outputs = 3> (x) }`,
  ],
})

function partSizes(
  count: number,
  size: Dim,
  { given, values }: { given: boolean; values: readonly number[] | undefined },
): readonly Dim[] {
  if (values) return values
  if (given || typeof size !== 'number') return new Array<Dim>(count).fill(undefined)
  const part = Math.ceil(size / count)
  return Array.from({ length: count }, (_, i) => Math.max(0, Math.min(part, size - i * part)))
}

/** Elements from start to before end in steps, along axes; arguments are attributes before opset 10. */
export const slice = defineOp({
  opType: 'Slice',
  inputs: ['x', 'starts', 'ends', 'axes', 'steps'],
  flow: { x: 'layout', starts: 'none', ends: 'none', axes: 'none', steps: 'none' },
  inferTypes: (context) => {
    const { dataType, shape, contents } = context.inputs[0] ?? {}
    if (!shape) return [{ dataType }]
    const ranges = slices(context, shape)
    if (!ranges) return [{ dataType, shape: shape.map(() => undefined) }]
    const dims = shape.map((dim, axis) => {
      const range = ranges.get(axis)
      if (!range) return dim
      if (range.whole) return dim
      return range.count
    })
    const range = ranges.get(0)
    const part =
      shape.length === 1 && contents && range
        ? range.whole
          ? contents
          : range.picks?.map((i) => contents[i])
        : undefined
    return [{ dataType, shape: dims, contents: part }]
  },
  moments: (context) => {
    const [x] = context.spreads
    const shape = context.inputs[0]?.shape
    const ranges = shape && slices(context, shape)
    if (!x || !ranges) return []
    let result: Spread | undefined = x
    for (const [axis, range] of ranges) if (!range.whole) result = result && picked(result, axis, range.picks)
    return [result]
  },
  gradient: {
    x: (g) => {
      const { shape, dataType } = g.inputs[0]!
      const ranges = slices(asTypeContext(g), shape)
      if (!ranges || [...ranges.values()].some(({ whole, picks }) => !whole && !picks))
        return g.refuse('what it cuts out is computed while the model runs')
      const borders = shape.map(() => ({ before: 0, after: 0 }))
      let result = { value: g.dy(), shape: g.outputs[0]!.shape }
      for (const [axis, { whole, picks = [] }] of ranges) {
        const size = shape[axis]!
        if (whole || size === picks.length) if (picks.every((at, i) => at === i)) continue
        if (picks.every((at, i) => at === picks[0]! + i))
          borders[axis] = { before: picks[0] ?? 0, after: size - picks.length - (picks[0] ?? 0) }
        else result = throughMap(g.build, result, pickedFrom(axis, size, picks), dataType)
      }
      return bordered(g.build, result.value, borders, g.scalar(0))
    },
    starts: null,
    ends: null,
    axes: null,
    steps: null,
  },
  samples: [
    `g (float32[N, 6, 8] x) => () <int64[2] s = {1, -3}, int64[2] e = {5, 9223372036854775807}, int64[2] axes = {1, 2}, int64[2] steps = {2, 1}, int64[1] one = {1}, int64[1] last = {-1}, int64[1] low = {-9223372036854775807}> { a = Slice(x, s, e, axes, steps) b = Slice(x, one, last, one) c = Slice(x, last, low, one, last) }`,
    `<opset_import: ["": 9]> g (float32[N, 6, 8] x) => () { a = Slice <starts = [1, 0], ends = [4, 1000], axes = [1, 2]> (x) }`,
  ],
  gradientSamples: [
    `g (float32[N, 6, 8] x, float32[2, 2000] y) => () <int64[2] s = {1, -3}, int64[2] e = {5, 9223372036854775807}, int64[2] axes = {1, 2}, int64[2] steps = {2, 1}, int64[1] one = {1}, int64[1] two = {2}, int64[1] last = {-1}, int64[1] back = {-2}, int64[1] low = {-9223372036854775807}> { a = Slice(x, s, e, axes, steps) b = Slice(x, one, last, one) c = Slice(x, last, low, one, last) d = Slice(y, last, low, one, back) f = Slice(x, one, last, two, two) }`,
  ],
})

interface Range {
  /** Everything is kept. */
  readonly whole: boolean
  /** Number of elements that are kept, if it is known. */
  readonly count?: number
  /** Which they are, unless there are too many to list. */
  readonly picks?: readonly number[]
}

/** Longer lists of elements are not made. */
const maxPicks = 1 << 17

/** What a Slice keeps of each axis that it touches; undefined if the axes are not known. */
function slices(
  context: Parameters<typeof intsFrom>[0],
  shape: Shape,
): ReadonlyMap<number, Range> | undefined {
  const starts = intsFrom(context, 'starts', 1)
  const ends = intsFrom(context, 'ends', 2)
  const axes = intsFrom(context, 'axes', 3)
  const steps = intsFrom(context, 'steps', 4)
  const count = starts.values?.length ?? ends.values?.length ?? axes.values?.length
  if (count === undefined || (axes.given && !axes.values)) return undefined
  const ranges = new Map<number, Range>()
  for (let i = 0; i < count; i++) {
    const axis = axisOf(axes.values?.[i] ?? i, shape.length)
    if (axis === undefined) return undefined
    ranges.set(
      axis,
      rangeOf(shape[axis], starts.values?.[i], ends.values?.[i], steps.given ? steps.values?.[i] : 1),
    )
  }
  return ranges
}

function rangeOf(
  size: Dim,
  start: number | undefined,
  end: number | undefined,
  step: number | undefined,
): Range {
  if (start === 0 && step === 1 && end !== undefined && end >= 2 ** 31 - 1) return { whole: true }
  if (start === undefined || end === undefined || !step || typeof size !== 'number') return { whole: false }
  const counted = (at: number, low: number, high: number) =>
    Math.min(high, Math.max(low, at < 0 ? at + size : at))
  const from = step > 0 ? counted(start, 0, size) : counted(start, -1, size - 1)
  const to = step > 0 ? counted(end, 0, size) : counted(end, -1, size - 1)
  const count = Math.max(0, Math.ceil((to - from) / step))
  if (count > maxPicks) return { whole: count === size && step === 1, count }
  return {
    whole: count === size && step === 1,
    count,
    picks: Array.from({ length: count }, (_, i) => from + i * step),
  }
}

/** Elements at `indices` along an axis. */
export const gather = defineOp({
  opType: 'Gather',
  inputs: ['x', 'indices'],
  flow: { x: 'layout', indices: 'none' },
  inferTypes: ({ node, inputs }) => {
    const [x, indices] = inputs
    const dataType = x?.dataType
    const shape = x?.shape
    const axis = shape && axisOf(intAttribute(node, 'axis') ?? 0, shape.length)
    if (!shape || axis === undefined || !indices?.shape) return [{ dataType }]
    const size = shape.length === 1 ? x?.contents?.length : undefined
    const contents =
      size === undefined
        ? undefined
        : indices.contents?.map((i) =>
            typeof i === 'number' ? x!.contents![i < 0 ? i + size : i] : undefined,
          )
    return [
      { dataType, shape: [...shape.slice(0, axis), ...indices.shape, ...shape.slice(axis + 1)], contents },
    ]
  },
  moments: ({ node, inputs, spreads: [x] }) => {
    const indices = inputs[1]
    if (!x || !indices?.shape || indices.shape.length > 1) return []
    const axis = axisOf(intAttribute(node, 'axis') ?? 0, x.dims.length)
    if (axis === undefined) return []
    const size = x.dims[axis]!
    const picks = indices.contents?.map((i) => (typeof i === 'number' ? (i < 0 ? i + size : i) : -1))
    const part = picked(x, axis, picks)
    if (!part || indices.shape.length === 1) return [part]
    return [{ ...part, dims: part.dims.toSpliced(axis, 1) }]
  },
  gradient: {
    x: (g) => {
      const { build } = g
      const { shape } = g.inputs[0]!
      const axis = axisOf(intAttribute(g.node, 'axis') ?? 0, shape.length)!
      const rest = shape.toSpliced(axis, 1)
      const indices = g.inputs[1]!.shape
      const count = indices.reduce((n, size) => n * size, 1)
      // Indices first, so that every one of them adds a slice of its own.
      const rank = shape.length - 1 + indices.length
      const own = Array.from({ length: indices.length }, (_, i) => axis + i)
      const others = Array.from({ length: rank }, (_, i) => i).filter((i) => !own.includes(i))
      const first = axis === 0 ? g.dy() : build.op('Transpose', [g.dy()], { perm: [...own, ...others] })
      const added = build.op(
        'ScatterND',
        [
          build.op('ConstantOfShape', [build.ints([shape[axis]!, ...rest])], {
            value: Tensor.of(g.inputs[0]!.dataType, [1], [0]),
          }),
          build.reshape(g.x(1), [count, 1]),
          build.reshape(first, [count, ...rest]),
        ],
        { reduction: 'add' },
      )
      if (axis === 0) return added
      const back = [...rest.keys()].map((i) => i + 1)
      return build.op('Transpose', [added], { perm: back.toSpliced(axis, 0, 0) })
    },
    indices: null,
  },
  samples: [
    `g (float32[N, 6, 8] x) => () <int64 i = {1}, int64[2] j = {0, -1}, int64[2, 2] k = {0, 1, 2, 3}> { a = Gather <axis = 1> (x, i) b = Gather <axis = 2> (x, j) c = Gather <axis = 1> (x, k) }`,
  ],
  gradientSamples: [
    `g (float32[N, 6, 8] x, int64[4] d) => () <int64 i = {1}, int64[2] j = {0, -1}, int64[2, 2] k = {0, 1, 1, 3}> { a = Gather <axis = 1> (x, i) b = Gather <axis = 2> (x, j) c = Gather <axis = 1> (x, k) e = Gather <axis = -2> (x, d) f = Gather(x, d) }`,
  ],
})

/** Elements picked by an index for each element of the result. */
export const gatherElements = defineOp({
  opType: 'GatherElements',
  inputs: ['x', 'indices'],
  flow: { x: 'layout', indices: 'none' },
  inferTypes: ({ inputs: [x, indices] }) => [{ dataType: x?.dataType, shape: indices?.shape }],
  gradient: {
    x: (g) =>
      g.build.op('ScatterElements', [zerosLike(g, 0), g.x(1), g.dy()], {
        axis: intAttribute(g.node, 'axis') ?? 0,
        reduction: 'add',
      }),
    indices: null,
  },
  samples: [
    `g (float32[3, 2] x) => () <int64[2, 2] i = {0, 1, 2, 0}> { a = GatherElements <axis = 0> (x, i) }`,
  ],
})

/** Slices picked by index tuples. */
export const gatherNd = defineOp({
  opType: 'GatherND',
  inputs: ['x', 'indices'],
  flow: { x: 'layout', indices: 'none' },
  inferTypes: ({ node, inputs: [x, indices] }) => {
    const batch = intAttribute(node, 'batch_dims') ?? 0
    const tuple = indices?.shape?.at(-1)
    if (!x?.shape || !indices?.shape || typeof tuple !== 'number') return [{ dataType: x?.dataType }]
    return [{ dataType: x.dataType, shape: [...indices.shape.slice(0, -1), ...x.shape.slice(batch + tuple)] }]
  },
  gradient: {
    x: (g) => {
      if (intAttribute(g.node, 'batch_dims')) return g.refuse('it has batch dimensions')
      return g.build.op('ScatterND', [zerosLike(g, 0), g.x(1), g.dy()], { reduction: 'add' })
    },
    indices: null,
  },
  samples: [`g (float32[3, 2, 4] x) => () <int64[5, 1, 2] i = fill(1)> { a = GatherND(x, i) }`],
  gradientSamples: [
    `g (float32[3, 2, 4] x) => () <int64[3, 1, 2] i = {0, 1, 2, 0, 0, 1}> { a = GatherND(x, i) }`,
  ],
})

const scatterAxis = ({ node }: GradientContext) =>
  node.opType === 'ScatterND' ? {} : { axis: intAttribute(node, 'axis') ?? 0 }

/** dy with `updates` in place of the elements that the node replaces. */
const scattered = (g: GradientContext, updates: string): string =>
  g.build.op(g.node.opType, [g.dy(), g.x(1), updates], scatterAxis(g))

/** Whether the node adds to elements rather than replaces them. */
function scatterAdds(g: GradientContext): boolean {
  const reduction = stringAttribute(g.node, 'reduction') ?? 'none'
  if (reduction !== 'none' && reduction !== 'add') g.refuse(`it combines elements by '${reduction}'`)
  return reduction === 'add'
}

/** A value with some of its elements replaced. */
export const scatter = defineOp({
  opType: ['ScatterND', 'ScatterElements', 'Scatter'],
  inputs: ['x', 'indices', 'updates'],
  flow: { x: 'layout', indices: 'none', updates: 'layout' },
  inferTypes: ({ inputs: [x] }) => [{ dataType: x?.dataType, shape: x?.shape }],
  gradient: ({ opType }) =>
    // Early models' Scatter is raised to ScatterElements.
    opType === 'Scatter'
      ? null
      : {
          x: (g) => (scatterAdds(g) ? g.dy() : scattered(g, zerosLike(g, 2))),
          indices: null,
          updates: (g) => {
            scatterAdds(g)
            const { axis } = scatterAxis(g)
            return g.node.opType === 'ScatterND'
              ? g.build.op('GatherND', [g.dy(), g.x(1)])
              : g.build.op('GatherElements', [g.dy(), g.x(1)], { axis })
          },
        },
  samples: [
    `g (float32[3, 2] x) => () <int64[1, 2] i = {0, 1}, float32[1, 2] u = {5, 6}, int64[1, 1] k = {1}> { a = ScatterElements <axis = 0> (x, i, u) b = ScatterND(x, k, u) }`,
    `<opset_import: ["": 9]> g (float32[3, 2] x) => () <int64[1, 2] i = {0, 1}, float32[1, 2] u = {5, 6}> { a = Scatter(x, i, u) }`,
  ],
  gradientSamples: [
    `g (float32[3, 2] x, float32[2, 2] u, float32[1, 2] v) => () <int64[2, 2] i = {0, 1, 2, 0}, int64[1, 1] k = {1}> { a = ScatterElements <axis = 0> (x, i, u) b = ScatterND(x, k, v) c = ScatterElements <axis = 0, reduction = "add"> (x, i, u) d = ScatterND <reduction = "add"> (x, k, v) }`,
  ],
})

/** Sequences of elements turned round, each up to its own length. */
export const reverseSequence = defineOp({
  opType: 'ReverseSequence',
  inputs: ['x', 'lengths'],
  flow: { x: 'layout', lengths: 'none' },
  inferTypes: ({ inputs: [x] }) => [{ dataType: x?.dataType, shape: x?.shape }],
  gradient: {
    // Turned round once more.
    x: (g) =>
      g.build.op('ReverseSequence', [g.dy(), g.x(1)], {
        time_axis: intAttribute(g.node, 'time_axis') ?? 0,
        batch_axis: intAttribute(g.node, 'batch_axis') ?? 1,
      }),
    lengths: null,
  },
  samples: [
    `g (float32[4, 2, 3] x) => () <int64[2] l = {4, 3}> { a = ReverseSequence <time_axis = 0, batch_axis = 1> (x, l) }`,
  ],
})

/** A value broadcast to a shape. */
export const expand = defineOp({
  opType: 'Expand',
  inputs: ['x', 'shape'],
  flow: { x: 'layout', shape: 'none' },
  inferTypes: ({ inputs: [x, wanted] }) => {
    const to = wanted?.contents
    if (!to || !x?.shape) {
      const rank = lengthOfVector(wanted)
      const known = rank !== undefined && x?.shape ? Math.max(rank, x.shape.length) : undefined
      return [
        {
          dataType: x?.dataType,
          shape: known === undefined ? undefined : unknownShape(known),
        },
      ]
    }
    const shape = broadcastOf(x.shape, to)
    const single = x.contents?.length === 1 ? x.contents[0] : undefined
    const count = shape.every((dim) => typeof dim === 'number')
      ? (shape as number[]).reduce((n, d) => n * d, 1)
      : undefined
    return [
      {
        dataType: x.dataType,
        shape,
        contents:
          single !== undefined && count !== undefined && count <= maxContents
            ? new Array<Dim>(count).fill(single)
            : undefined,
      },
    ]
  },
  moments: ({ spreads: [x], outputs }) => {
    const rank = outputs[0]?.shape?.length
    if (!x || rank === undefined || rank < x.dims.length) return []
    return [{ ...x, dims: [...new Array<number>(rank - x.dims.length).fill(1), ...x.dims] }]
  },
  gradient: { x: passed, shape: null },
  samples: [
    `g (float32[N, 1, 4] x) => () <int64[3] s = {1, 3, 1}, int64[4] t = {2, 1, 5, 4}> { a = Expand(x, s) b = Expand(x, t) }`,
  ],
})

const lengthOfVector = (known: Known | undefined): number | undefined => {
  const length = known?.shape?.[0]
  return typeof length === 'number' ? length : undefined
}

function broadcastOf(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, axis) => {
    const [x, y] = [a, b].map(
      (shape): Dim => (axis < rank - shape.length ? 1 : shape[axis - rank + shape.length]),
    )
    if (x === 1) return y
    if (y === 1 || x === y) return x
    return typeof x === 'number' ? x : typeof y === 'number' ? y : undefined
  })
}

/** A value repeated along its axes. */
export const tile = defineOp({
  opType: 'Tile',
  inputs: ['x', 'repeats'],
  flow: { x: 'layout', repeats: 'none' },
  inferTypes: ({ inputs: [x, repeats] }) => [
    {
      dataType: x?.dataType,
      shape: x?.shape?.map((dim, axis) => {
        const times = repeats?.contents?.[axis]
        if (times === 1) return dim
        if (dim === 1) return times
        return typeof dim === 'number' && typeof times === 'number' ? dim * times : undefined
      }),
    },
  ],
  moments: ({ inputs, spreads: [x] }) => {
    const repeats = inputs[1]?.contents
    return [x?.dims.every((dim, axis) => dim === 1 || repeats?.[axis] === 1) ? x : undefined]
  },
  gradient: {
    x: (g) => {
      const { shape } = g.inputs[0]!
      const split = shape.flatMap((size, axis) => [g.outputs[0]!.shape[axis]! / size, size])
      return g.build.reduceSum(
        g.build.reshape(g.dy(), split),
        [...shape.keys()].map((axis) => 2 * axis),
        false,
      )
    },
    repeats: null,
  },
  samples: [`g (float32[N, 3] x) => () <int64[2] r = {1, 2}> { a = Tile(x, r) }`],
})

/** A value with a border: constant, mirrored or repeated. */
export const pad = defineOp({
  opType: 'Pad',
  inputs: ['x', 'pads', 'value', 'axes'],
  flow: { x: 'layout', pads: 'none', value: 'none', axes: 'none' },
  inferTypes: (context) => {
    const { dataType, shape } = context.inputs[0] ?? {}
    const pads = borders(context, shape?.length)
    return [
      {
        dataType,
        shape: shape?.map((dim, axis) => {
          const border = pads?.[axis]
          if (border === 0) return dim
          return typeof dim === 'number' && border !== undefined ? dim + border : undefined
        }),
      },
    ]
  },
  moments: (context) => {
    const [x] = context.spreads
    const shape = context.inputs[0]?.shape
    const pads = borders(context, shape?.length)
    // A border along an axis whose entries differ would have to be entered one by one.
    if (!x || !shape || pads?.some((border, axis) => border !== 0 && x.dims[axis] !== 1)) return []
    return [x]
  },
  gradient: {
    x: (g) => {
      const { shape, dataType } = g.inputs[0]!
      const pads = padsOf(asTypeContext(g), shape.length)
      if (!pads) return g.refuse('its borders are computed while the model runs')
      const mode = stringAttribute(g.node, 'mode') ?? 'constant'
      const away = pads.map(({ before, after }) => ({ before: -before, after: -after }))
      if (mode === 'constant') return bordered(g.build, g.dy(), away, g.scalar(0))
      let result = { value: g.dy(), shape: g.outputs[0]!.shape }
      for (const [axis, { before, after }] of pads.entries()) {
        if (before === 0 && after === 0) continue
        const size = shape[axis]!
        const sources = Array.from({ length: before + size + after }, (_, i) =>
          paddedFrom(mode, i - before, size),
        )
        result = throughMap(g.build, result, pickedFrom(axis, size, sources), dataType)
      }
      return result.value
    },
    pads: null,
    value: null,
    axes: null,
  },
  samples: [
    `g (float32[N, 3, 4] x) => () <int64[6] p = {0, 1, 2, 0, 0, 3}> { a = Pad(x, p) }`,
    `<opset_import: ["": 9]> g (float32[N, 3, 4, 4] x) => () { a = Pad <pads = [0, 0, 1, 1, 0, 0, 1, 1], mode = "reflect"> (x) }`,
    `<opset_import: ["": 18]> g (float32[N, 3, 4] x) => () <int64[2] p = {1, 2}, int64[1] axes = {-1}> { a = Pad(x, p, _, axes) }`,
  ],
  gradientSamples: [
    `g (float32[N, 3, 4] x) => () <int64[6] p = {0, 1, 2, 0, 0, 3}, int64[6] m = {0, -1, 2, 0, 0, -3}, int64[6] c = {0, -1, 0, 0, 0, -2}, int64[6] w = {0, 2, 3, 0, 1, 2}> { a = Pad(x, p) b = Pad(x, m) h = Pad(x, c) d = Pad <mode = "reflect"> (x, w) e = Pad <mode = "edge"> (x, w) }`,
    `<ir_version: 9, opset_import: ["": 19]> g (float32[N, 3, 4] x) => () <int64[2] p = {3, 2}, int64[1] axes = {-1}> { a = Pad <mode = "wrap"> (x, p, _, axes) b = Pad(x, p, _, axes) }`,
  ],
})

/** What a Pad adds to each axis, before and after together. */
const borders = (context: TypeContext, rank: number | undefined): readonly number[] | undefined =>
  rank === undefined ? undefined : padsOf(context, rank)?.map(({ before, after }) => before + after)

/** What a Pad adds in front of and behind each axis. */
function padsOf(context: TypeContext, rank: number): readonly Border[] | undefined {
  const { values } = intsFrom(context, 'pads', 1)
  if (!values) return undefined
  const axes = intsFrom(context, 'axes', 3)
  if (axes.given && !axes.values) return undefined
  const padded = axes.values ?? Array.from({ length: rank }, (_, axis) => axis)
  const pads = new Array<Border>(rank).fill({ before: 0, after: 0 })
  padded.forEach((axis, i) => {
    pads[axis < 0 ? axis + rank : axis] = { before: values[i]!, after: values[i + padded.length]! }
  })
  return pads
}

/** Which element stands at `i`, counted from the first of `size` elements, in a border that repeats them. */
function paddedFrom(mode: string, i: number, size: number): number {
  if (mode === 'edge') return Math.min(size - 1, Math.max(0, i))
  if (mode === 'wrap') return ((i % size) + size) % size
  if (size === 1) return 0
  // Mirrored at the first and the last element, which are not repeated.
  const period = 2 * (size - 1)
  const at = ((i % period) + period) % period
  return at < size ? at : period - at
}

/** Elements moved between channels and positions. */
export const depthToSpace = defineOp({
  opType: ['DepthToSpace', 'SpaceToDepth'],
  inputs: ['x'],
  flow: { x: 'layout' },
  inferTypes: ({ node, inputs: [x] }) => {
    const block = intAttribute(node, 'blocksize') ?? 1
    const [n, c, h, w] = x?.shape ?? []
    const grown = (dim: Dim) => (typeof dim === 'number' ? dim * block : undefined)
    const shrunk = (dim: Dim, by: number) => (typeof dim === 'number' ? Math.floor(dim / by) : undefined)
    const shape =
      node.opType === 'DepthToSpace'
        ? [n, shrunk(c, block * block), grown(h), grown(w)]
        : [n, typeof c === 'number' ? c * block * block : undefined, shrunk(h, block), shrunk(w, block)]
    return [{ dataType: x?.dataType, shape: x?.shape && shape }]
  },
  gradient: {
    x: (g) => {
      const { build, node } = g
      const block = intAttribute(node, 'blocksize') ?? 1
      if (node.opType === 'SpaceToDepth') return build.op('DepthToSpace', [g.dy()], { blocksize: block })
      if (stringAttribute(node, 'mode') !== 'CRD')
        return build.op('SpaceToDepth', [g.dy()], { blocksize: block })
      const { shape } = g.inputs[0]!
      const [n, c, h, w] = shape as [number, number, number, number]
      const split = build.reshape(g.dy(), [n, c / (block * block), h, block, w, block])
      return build.reshape(build.op('Transpose', [split], { perm: [0, 1, 3, 5, 2, 4] }), shape)
    },
  },
  samples: [
    `g (float32[N, 8, 4, 6] x) => () { a = DepthToSpace <blocksize = 2> (x) b = SpaceToDepth <blocksize = 2> (x) c = DepthToSpace <blocksize = 2, mode = "CRD"> (x) }`,
  ],
  gradientSamples: [
    `g (float32[N, 8, 4, 6] x) => () { a = DepthToSpace <blocksize = 2> (x) b = SpaceToDepth <blocksize = 2> (x) c = DepthToSpace <blocksize = 2, mode = "CRD"> (x) }`,
  ],
})

/** What each axis that a Resize changes is made of. Coordinates as in the operator's description. */
function resizeMaps(g: GradientContext): readonly SourceMap[] {
  const { node, inputs } = g
  const mode = stringAttribute(node, 'mode') ?? 'nearest'
  const transformation = stringAttribute(node, 'coordinate_transformation_mode') ?? 'half_pixel'
  if ((mode !== 'nearest' && mode !== 'linear') || intAttribute(node, 'antialias') === 1)
    g.refuse(
      `its mode is ${mode}${mode === 'linear' ? ' with antialiasing' : ''}, expected nearest or linear`,
    )
  const { shape } = inputs[0]!
  const axes = intsAttribute(node, 'axes')?.map((axis) => (axis < 0 ? axis + shape.length : axis))
  const scales = nonEmpty(inputs[2]?.contents)
  return shape.flatMap((size, axis): SourceMap[] => {
    const out = g.outputs[0]!.shape[axis]!
    const stated = scales?.[axes ? axes.indexOf(axis) : axis]
    const scale = typeof stated === 'number' ? stated : out / size
    if (scale === 1 && out === size) return []
    const from: Readonly<Record<string, (i: number) => number>> = {
      half_pixel: (i) => (i + 0.5) / scale - 0.5,
      half_pixel_symmetric: (i) => {
        const adjusted = out / (scale * size)
        return (size / 2) * (1 - adjusted) + (i + 0.5) / scale - 0.5
      },
      pytorch_half_pixel: (i) => (out > 1 ? (i + 0.5) / scale - 0.5 : 0),
      align_corners: (i) => (out > 1 ? (i * (size - 1)) / (out - 1) : 0),
      asymmetric: (i) => i / scale,
    }
    const source =
      from[transformation] ?? g.refuse(`its coordinates are ${transformation}, which is not supported`)
    const inside = (at: number) => Math.min(size - 1, Math.max(0, at))
    const nearest = stringAttribute(node, 'nearest_mode') ?? 'round_prefer_floor'
    const sources = Array.from({ length: out }, (_, i) => {
      const at = source(i)
      if (mode === 'nearest') return [{ at: inside(roundedBy(nearest, at)), weight: 1 }]
      const low = Math.floor(inside(at))
      const share = inside(at) - low
      return [
        { at: low, weight: 1 - share },
        { at: inside(low + 1), weight: share },
      ]
    })
    return [{ axis, size, sources }]
  })
}

function roundedBy(mode: string, at: number): number {
  if (mode === 'floor') return Math.floor(at)
  if (mode === 'ceil') return Math.ceil(at)
  return mode === 'round_prefer_ceil' ? Math.floor(at + 0.5) : Math.ceil(at - 0.5)
}

/** Positions resampled: sizes grow or shrink by scales or to given sizes. */
export const resize = defineOp({
  opType: ['Resize', 'Upsample'],
  inputs: ['x', '...settings'],
  flow: { x: 'linear', '...settings': 'none' },
  inferTypes: ({ node, inputs, opset }) => {
    const { dataType, shape } = inputs[0] ?? {}
    if (!shape) return [{ dataType }]
    const old = node.opType === 'Upsample' || opset < 11
    const stated = node.attributes.get('scales')
    const scales = stated?.type === 'floats' ? stated.value : nonEmpty(inputs[old ? 1 : 2]?.contents)
    const sizes = old ? undefined : nonEmpty(inputs[3]?.contents)
    const axes = intsAttribute(node, 'axes')?.map((axis) => (axis < 0 ? axis + shape.length : axis))
    const policy = node.attributes.get('keep_aspect_ratio_policy')
    const stretched = !policy || (policy.type === 'string' && policy.value === 'stretch')
    return [
      {
        dataType,
        shape: shape.map((dim, axis) => {
          const i = axes ? axes.indexOf(axis) : axis
          if (i < 0) return dim
          if (sizes) return stretched ? sizes[i] : undefined
          const scale = scales?.[i]
          if (scale === 1) return dim
          // Scales are stored as float32, whose rounding must not cost a position.
          return typeof dim === 'number' && typeof scale === 'number'
            ? Math.floor(Math.fround(dim * Math.fround(scale)))
            : undefined
        }),
      },
    ]
  },
  moments: ({ node, spreads: [x] }) => {
    const mode = stringAttribute(node, 'mode') ?? 'nearest'
    // Copies of neighbours have the moments of what they copy; interpolation averages them.
    return [x && mode === 'nearest' && x.dims.every((dim, axis) => axis < 2 || dim === 1) ? x : undefined]
  },
  gradient: ({ opType }) =>
    // Early models' Upsample is raised to Resize.
    opType === 'Upsample'
      ? null
      : {
          x: (g) => {
            const { shape, dataType } = g.inputs[0]!
            let result = { value: g.dy(), shape: g.outputs[0]!.shape }
            for (const map of resizeMaps(g)) result = throughMap(g.build, result, map, dataType)
            if (result.shape.some((size, axis) => size !== shape[axis])) g.refuse('its sizes are not known')
            return result.value
          },
          '...settings': null,
        },
  samples: [
    `g (float32[N, 3, 4, 6] x) => () <float32[4] s = {1, 1, 2, 2}, int64[4] z = {1, 3, 8, 9}, float32[4] t = {1, 1, 0.5, 1.5}> { a = Resize <mode = "nearest"> (x, _, s) c = Resize <mode = "linear"> (x, _, t) }`,
    `<opset_import: ["": 9]> g (float32[N, 3, 4, 6] x) => () <float32[4] s = {1, 1, 2, 2}> { a = Upsample(x, s) }`,
    `<opset_import: ["": 18]> g (float32[N, 3, 4, 6] x) => () <int64[2] z = {8, 9}> { a = Resize <axes = [2, 3]> (x, _, _, z) }`,
  ],
  gradientSamples: [
    `g (float32[N, 3, 4, 6] x) => () <float32[4] s = {1, 1, 2, 2}, float32[4] t = {1, 1, 0.5, 1.5}, int64[4] z = {3, 3, 7, 9}> { a = Resize <mode = "nearest"> (x, _, s) b = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, _, t) c = Resize <mode = "linear"> (x, _, t) d = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, _, _, z) e = Resize <mode = "nearest", coordinate_transformation_mode = "pytorch_half_pixel", nearest_mode = "round_prefer_ceil"> (x, _, _, z) f = Resize <mode = "nearest", coordinate_transformation_mode = "align_corners", nearest_mode = "ceil"> (x, _, _, z) }`,
    `<ir_version: 9, opset_import: ["": 19]> g (float32[N, 3, 4, 6] x) => () <int64[2] z = {7, 9}> { a = Resize <axes = [2, 3], coordinate_transformation_mode = "half_pixel_symmetric"> (x, _, _, z) }`,
  ],
})

const nonEmpty = (contents: readonly Dim[] | undefined) =>
  contents && contents.length > 0 ? contents : undefined
