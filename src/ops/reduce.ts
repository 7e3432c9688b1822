import { intAttribute } from '../ir/model.ts'
import { elementCount } from '../ir/tensor.ts'
import { defineOp, type Known, type TypeContext } from './define-op.ts'
import {
  asNumber,
  asTypeContext,
  type GradientContext,
  sharedByExtremes,
  signOf,
  zerosLike,
} from './gradient.ts'
import { renamed } from './moments/layout.ts'
import { type Assume, collapsed, type Spread } from './moments/spread.ts'
import { perEntry } from './moments/sums.ts'
import { axesOf, axisOf, intsFrom, productOf, type Shape, unknownShape } from './shapes.ts'

/** Axes that a reduction takes away: all of them, none, or those given; undefined if that is not known. */
function reducedAxes(context: TypeContext, rank: number): readonly number[] | undefined {
  const { given, values } = intsFrom(context, 'axes', 1)
  const all = Array.from({ length: rank }, (_, axis) => axis)
  const none = intAttribute(context.node, 'noop_with_empty_axes') === 1 ? [] : all
  if (!given) return none
  if (!values) return undefined
  return values.length === 0 ? none : axesOf(values, rank)
}

function inferReduce(context: TypeContext): readonly Known[] {
  const { node, inputs } = context
  const { dataType, shape } = inputs[0] ?? {}
  const keep = intAttribute(node, 'keepdims') !== 0
  if (!shape) return [{ dataType }]
  const axes = reducedAxes(context, shape.length)
  if (!axes) {
    const length = inputs[1]?.shape?.[0]
    if (keep) return [{ dataType, shape: unknownShape(shape.length) }]
    return [{ dataType, shape: typeof length === 'number' ? unknownShape(shape.length - length) : undefined }]
  }
  const kept: Shape = keep
    ? shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim))
    : shape.filter((_, axis) => !axes.includes(axis))
  const contents = inputs[0]?.contents
  const numbers = contents?.every((dim) => typeof dim === 'number') ? (contents as number[]) : undefined
  const whole = axes.length === shape.length && numbers
  const value = !whole
    ? undefined
    : node.opType === 'ReduceProd'
      ? numbers.reduce((a, b) => a * b, 1)
      : node.opType === 'ReduceSum'
        ? numbers.reduce((a, b) => a + b, 0)
        : undefined
  return [{ dataType, shape: kept, contents: value === undefined ? undefined : [value] }]
}

/** The axes that a node reduces. */
function axesReduced(g: GradientContext): readonly number[] {
  const axes = reducedAxes(asTypeContext(g), g.inputs[0]!.shape.length)
  return axes ?? g.refuse('its axes are computed while the model runs')
}

/** A value in the shape of the output with the axes that were reduced put back, of size 1. */
function withKeptAxes(g: GradientContext, value: string): string {
  if (intAttribute(g.node, 'keepdims') !== 0) return value
  const axes = axesReduced(g)
  return g.build.reshape(
    value,
    g.inputs[0]!.shape.map((size, axis) => (axes.includes(axis) ? 1 : size)),
  )
}

/** The mean (or sum) of a spread over `axes` of a value of shape `shape`. */
export function reduced(
  spread: Spread,
  shape: Shape | undefined,
  axes: readonly number[],
  { keep, sum, assume }: { keep: boolean; sum: boolean; assume: Assume },
): Spread | undefined {
  const positions = productOf(axes.map((axis) => shape?.[axis]))
  if (typeof positions !== 'number') return undefined
  const template = spread.dims.map((dim, axis) => (axes.includes(axis) ? 1 : dim))
  const coarse = collapsed(spread, template)
  const [first, second] = sum ? [positions, positions] : ([1, 1 / positions] as const)
  const total = perEntry(coarse, first, second, assume)
  return (
    total &&
    (keep
      ? total
      : renamed(
          total,
          template.filter((_, axis) => !axes.includes(axis)),
        ))
  )
}

/** Mean or sum over axes, which are an attribute before opset 18 (sum: 13) and an input since. */
export const reduceLinear = defineOp({
  opType: ['ReduceMean', 'ReduceSum'],
  inputs: ['x', 'axes'],
  flow: { x: 'linear', axes: 'none' },
  inferTypes: inferReduce,
  moments: (context) => {
    const [x] = context.spreads
    const shape = context.inputs[0]?.shape
    const axes = shape && reducedAxes(context, shape.length)
    if (!x || !axes) return []
    const keep = intAttribute(context.node, 'keepdims') !== 0
    return [
      reduced(x, shape, axes, { keep, sum: context.node.opType === 'ReduceSum', assume: context.assume }),
    ]
  },
  gradient: {
    x: (g) => {
      const { shape } = g.inputs[0]!
      const dy = withKeptAxes(g, g.dy())
      if (g.node.opType === 'ReduceSum') return dy
      const count = elementCount(shape) / elementCount(g.outputs[0]!.shape)
      return g.build.mul(dy, g.scalar(1 / count))
    },
    axes: null,
  },
  samples: [
    `g (float32[N, 3, 4, 5] x) => () <int64[2] axes = {2, -1}> { a = ReduceMean <axes = [2, 3]> (x) b = ReduceMean <axes = [-1], keepdims = 0> (x) c = ReduceSum(x, axes) d = ReduceSum <keepdims = 0> (x, axes) e = ReduceMean(x) f = ReduceSum <noop_with_empty_axes = 1> (x) }`,
    `<opset_import: ["": 18]> g (float32[N, 3, 4, 5] x) => () <int64[2] axes = {2, -1}> { a = ReduceMean(x, axes) }`,
    `<opset_import: ["": 11]> g (float32[N, 3, 4, 5] x) => () { a = ReduceSum <axes = [1]> (x) }`,
  ],
})

/** For every element the product of the others that ReduceProd multiplies it with. */
function productOfOthers(g: GradientContext): string {
  const { build } = g
  const { div, sub } = build
  const axes = axesReduced(g)
  const isZero = build.op('Equal', [g.x(), g.scalar(0)])
  const zero = asNumber(g, isZero)
  const otherZeros = sub(build.reduceSum(zero, axes), zero)
  const nonZero = build.op('Where', [isZero, g.scalar(1), g.x()])
  const others = div(build.reduce('ReduceProd', nonZero, axes), nonZero)
  return build.op('Where', [build.op('Equal', [otherZeros, g.scalar(0)]), others, g.scalar(0)])
}

/** Other reductions over axes. */
export const reduce = defineOp({
  opType: [
    'ReduceMax',
    'ReduceMin',
    'ReduceProd',
    'ReduceL1',
    'ReduceL2',
    'ReduceLogSum',
    'ReduceLogSumExp',
    'ReduceSumSquare',
  ],
  inputs: ['x', 'axes'],
  flow: { x: 'nonlinear', axes: 'none' },
  inferTypes: inferReduce,
  gradient: {
    x: (g) => {
      const { build } = g
      const { mul, div, sub } = build
      const x = g.x()
      const dy = withKeptAxes(g, g.dy())
      const y = () => withKeptAxes(g, g.y())
      switch (g.node.opType) {
        case 'ReduceMax':
        case 'ReduceMin':
          return sharedByExtremes(g, { value: dy, extreme: y(), axes: axesReduced(g) })
        case 'ReduceL1':
          return mul(dy, signOf(g, x))
        case 'ReduceL2':
          // A norm of 0 is that of zeros, to which nothing flows back.
          return mul(x, div(dy, build.op('Max', [y(), g.scalar(1e-37)])))
        case 'ReduceSumSquare':
          return mul(x, mul(dy, g.scalar(2)))
        case 'ReduceLogSum':
          return div(dy, build.op('Exp', [y()]))
        case 'ReduceLogSumExp':
          return mul(dy, build.op('Exp', [sub(x, y())]))
        default:
          return mul(dy, productOfOthers(g))
      }
    },
    axes: null,
  },
  samples: [
    `g (float32[N, 3, 4, 5] x) => () { a = ReduceMax <axes = [2, 3]> (x) b = ReduceMin <axes = [1], keepdims = 0> (x) c = ReduceL2 <axes = [1]> (x) d = ReduceProd(x) e = ReduceLogSumExp <axes = [1]> (x) f = ReduceSumSquare <axes = [1]> (x) h = ReduceL1 <axes = [1]> (x) i = ReduceLogSum <axes = [1]> (x) }`,
    `<opset_import: ["": 18]> g (float32[N, 3, 4, 5] x) => () <int64[1] axes = {1}> { a = ReduceMax(x, axes) }`,
  ],
  gradientSamples: [
    `g (float32[N, 3, 4] x, float32[2, 2] v) => () <float32[3, 2] z = {1, 2, 0, 3, 0, 0}> { a = ReduceMax <axes = [2, 1]> (x) b = ReduceMin <axes = [1], keepdims = 0> (x) c = ReduceL2 <axes = [1]> (x) d = ReduceProd <keepdims = 0> (v) e = ReduceLogSumExp <axes = [1]> (x) f = ReduceSumSquare <axes = [1]> (x) h = ReduceL1 <axes = [-1], keepdims = 0> (x) p = Exp(x) i = ReduceLogSum <axes = [1]> (p) j = ReduceProd <axes = [1]> (z) }`,
    `<opset_import: ["": 18]> g (float32[N, 3, 4, 5] x) => () <int64[1] axes = {1}> { a = ReduceMax(x, axes) b = ReduceSumSquare(x, axes) }`,
  ],
})

/** Position of the largest or smallest element along an axis. */
export const argMax = defineOp({
  opType: ['ArgMax', 'ArgMin'],
  inputs: ['x'],
  flow: { x: 'nonlinear' },
  inferTypes: ({ node, inputs: [x] }) => {
    const shape = x?.shape
    const axis = shape && axisOf(intAttribute(node, 'axis') ?? 0, shape.length)
    const keep = intAttribute(node, 'keepdims') !== 0
    if (!shape || axis === undefined) return [{ dataType: 'int64' }]
    return [{ dataType: 'int64', shape: keep ? shape.with(axis, 1) : shape.toSpliced(axis, 1) }]
  },
  gradient: { x: null },
  samples: [
    `g (float32[N, 3, 4] x) => () { a = ArgMax <axis = 1> (x) b = ArgMin <axis = -1, keepdims = 0> (x) }`,
  ],
})

/** The k largest or smallest elements along an axis and their positions. */
export const topK = defineOp({
  opType: 'TopK',
  inputs: ['x', 'k'],
  flow: { x: 'nonlinear', k: 'none' },
  inferTypes: (context) => {
    const { node, inputs } = context
    const { dataType, shape } = inputs[0] ?? {}
    const axis = shape && axisOf(intAttribute(node, 'axis') ?? -1, shape.length)
    const k = intsFrom(context, 'k', 1).values?.[0]
    const out = shape && axis !== undefined ? shape.with(axis, k) : undefined
    return [
      { dataType, shape: out },
      { dataType: 'int64', shape: out },
    ]
  },
  gradient: {
    x: (g) =>
      g.build.op('ScatterElements', [zerosLike(g, 0), g.y(1), g.dy()], {
        axis: intAttribute(g.node, 'axis') ?? -1,
      }),
    k: null,
  },
  samples: [`g (float32[N, 5] x) => () <int64[1] k = {2}> { a, i = TopK(x, k) }`],
})

/** Running sums along an axis. */
export const cumSum = defineOp({
  opType: 'CumSum',
  inputs: ['x', 'axis'],
  flow: { x: 'linear', axis: 'none' },
  inferTypes: ({ inputs: [x] }) => [{ dataType: x?.dataType, shape: x?.shape }],
  gradient: {
    // Sums that run the other way.
    x: (g) =>
      g.build.op('CumSum', [g.dy(), g.x(1)], {
        exclusive: intAttribute(g.node, 'exclusive') ?? 0,
        reverse: intAttribute(g.node, 'reverse') === 1 ? 0 : 1,
      }),
    axis: null,
  },
  samples: [`g (float32[N, 5] x) => () <int64 axis = {1}> { a = CumSum(x, axis) }`],
})
