import { type Dim, intAttribute, intsAttribute } from '../ir/model.ts'
import { dataTypes, elementCount, Tensor } from '../ir/tensor.ts'
import { defineOp, type Known } from './define-op.ts'
import { passed, reshaped as putBack } from './gradient.ts'
import { renamed, reshaped, transposed } from './moments/layout.ts'
import type { Spread } from './moments/spread.ts'
import { axesOf, intsFrom, lengthOf, productOf, quotientOf, type Shape, unknownShape } from './shapes.ts'

/** A stored tensor under another shape. */
function viewed(x: Known | undefined, shape: Shape | undefined): Tensor | undefined {
  if (!x?.tensor || x.tensor.strings || !shape?.every((dim) => typeof dim === 'number')) return undefined
  const { tensor } = x
  const dims = shape as readonly number[]
  return elementCount(dims) === tensor.size
    ? new Tensor(tensor.dataType, dims, () => tensor.bytes)
    : undefined
}

const withView = (x: Known | undefined, known: Known): Known => ({ ...known, tensor: viewed(x, known.shape) })

/** y = x, contents included. */
export const identity = defineOp({
  opType: 'Identity',
  inputs: ['x'],
  flow: { x: 'layout' },
  inferTypes: ({ inputs }) => [inputs[0] ?? {}],
  moments: ({ spreads }) => [spreads[0]],
  gradient: { x: passed },
  samples: [`g (float32[2, 3] x) => () { y = Identity(x) }`],
})

/** The same elements in row-major order under another shape: 0 copies a size, -1 takes what is left. */
export const reshape = defineOp({
  opType: 'Reshape',
  inputs: ['x', 'shape'],
  flow: { x: 'layout', shape: 'none' },
  inferTypes: ({ node, inputs }) => {
    const { dataType, shape, contents } = inputs[0] ?? {}
    const wanted: readonly Dim[] | undefined = intsAttribute(node, 'shape') ?? inputs[1]?.contents
    if (!wanted) {
      const rank = inputs[1]?.shape?.[0]
      return [{ dataType, shape: typeof rank === 'number' ? unknownShape(rank) : undefined }]
    }
    const copies = intAttribute(node, 'allowzero') !== 1
    const dims = wanted.map((dim, axis) => (dim === 0 && copies ? shape?.[axis] : dim))
    const rest = dims.indexOf(-1)
    if (rest >= 0) dims[rest] = shape && quotientOf(shape, dims.toSpliced(rest, 1))
    else if (dims.filter((dim) => dim === undefined).length === 1 && shape) {
      const unknown = dims.indexOf(undefined)
      dims[unknown] = quotientOf(shape, dims.toSpliced(unknown, 1))
    }
    return [withView(inputs[0], { dataType, shape: dims, contents })]
  },
  moments: ({ inputs, spreads: [x], outputs }) => [x && reshaped(x, inputs[0]?.shape, outputs[0]?.shape)],
  gradient: { x: putBack, shape: null },
  samples: [
    `g (float32[N, 3, 4, 5] x) => () <int64[2] s = {0, -1}, int64[3] t = {-1, 4, 15}, int64[1] u = {-1}> { a = Reshape(x, s) b = Reshape(x, t) c = Reshape(x, u) }`,
    `g (float32[N, 3, 4] x) => () <int64 zero = {0}, int64[1] axes = {0}, int64[1] rest = {-1}> { s = Shape(x) n = Gather(s, zero) u = Unsqueeze(n, axes) t = Concat <axis = 0> (u, rest) y = Reshape(x, t) }`,
  ],
})

/** Everything before `axis` in the first dimension, the rest in the second. */
export const flatten = defineOp({
  opType: 'Flatten',
  inputs: ['x'],
  flow: { x: 'layout' },
  inferTypes: ({ node, inputs: [x] }) => {
    const shape = x?.shape
    if (!shape) return [{ dataType: x?.dataType, shape: unknownShape(2) }]
    const axis = intAttribute(node, 'axis') ?? 1
    const split = axis < 0 ? axis + shape.length : axis
    const dims = [productOf(shape.slice(0, split)), productOf(shape.slice(split))]
    return [withView(x, { dataType: x?.dataType, shape: dims })]
  },
  moments: ({ inputs, spreads: [x], outputs }) => [x && reshaped(x, inputs[0]?.shape, outputs[0]?.shape)],
  gradient: { x: putBack },
  samples: [
    `g (float32[N, 3, 4, 5] x) => () { a = Flatten(x) }`,
    `g (float32[2, 3, 4] x) => () { a = Flatten <axis = 2> (x) b = Flatten <axis = -1> (x) c = Flatten <axis = 0> (x) d = Flatten <axis = 3> (x) }`,
  ],
})

/** Axes of size 1 taken away: those given, or all. */
export const squeeze = defineOp({
  opType: 'Squeeze',
  inputs: ['x', 'axes'],
  flow: { x: 'layout', axes: 'none' },
  inferTypes: (context) => {
    const { dataType, shape, contents } = context.inputs[0] ?? {}
    const { given, values } = intsFrom(context, 'axes', 1)
    if (!shape) return [{ dataType, contents }]
    if (given) {
      const axes = values && axesOf(values, shape.length)
      if (axes)
        return [
          withView(context.inputs[0], {
            dataType,
            shape: shape.filter((_, i) => !axes.includes(i)),
            contents,
          }),
        ]
      const count = lengthOf(context.inputs[1])
      return [{ dataType, shape: typeof count === 'number' ? unknownShape(shape.length - count) : undefined }]
    }
    if (shape.some((dim) => typeof dim !== 'number')) return [{ dataType, contents }]
    return [{ dataType, shape: shape.filter((dim) => dim !== 1), contents }]
  },
  moments: ({ inputs, spreads: [x], outputs }) => {
    const from = inputs[0]?.shape
    const to = outputs[0]?.shape
    if (!x || !from || !to) return []
    return [reshaped(x, from, to)]
  },
  gradient: { x: putBack, axes: null },
  samples: [
    `g (float32[N, 1, 4, 1] x) => () <int64[2] axes = {1, -1}, int64[1] one = {1}> { a = Squeeze(x, axes) b = Squeeze(x, one) }`,
    `<opset_import: ["": 11]> g (float32[2, 1, 4, 1] x) => () { a = Squeeze <axes = [1]> (x) b = Squeeze(x) }`,
  ],
})

/** Axes of size 1 put in, counted in the result. */
export const unsqueeze = defineOp({
  opType: 'Unsqueeze',
  inputs: ['x', 'axes'],
  flow: { x: 'layout', axes: 'none' },
  inferTypes: (context) => {
    const { dataType, shape, contents } = context.inputs[0] ?? {}
    const { values } = intsFrom(context, 'axes', 1)
    const count = values?.length ?? lengthOf(context.inputs[1])
    if (!shape || typeof count !== 'number') return [{ dataType, contents }]
    const rank = shape.length + count
    const axes = values && axesOf(values, rank)
    if (!axes) return [{ dataType, shape: unknownShape(rank) }]
    let next = 0
    const dims = Array.from({ length: rank }, (_, i) => (axes.includes(i) ? 1 : shape[next++]))
    return [withView(context.inputs[0], { dataType, shape: dims, contents })]
  },
  moments: (context): (Spread | undefined)[] => {
    const [x] = context.spreads
    const rank = context.outputs[0]?.shape?.length
    const { values } = intsFrom(context, 'axes', 1)
    const axes = values && rank !== undefined ? axesOf(values, rank) : undefined
    if (!x || !axes || rank === undefined) return []
    let next = 0
    return [
      renamed(
        x,
        Array.from({ length: rank }, (_, i) => (axes.includes(i) ? 1 : x.dims[next++]!)),
      ),
    ]
  },
  gradient: { x: putBack, axes: null },
  samples: [
    `g (float32[N, 4] x) => () <int64[2] axes = {1, -1}> { a = Unsqueeze(x, axes) }`,
    `<opset_import: ["": 11]> g (float32[N, 4] x) => () { a = Unsqueeze <axes = [0, 3]> (x) }`,
  ],
})

/** Axes in another order. */
export const transpose = defineOp({
  opType: 'Transpose',
  inputs: ['x'],
  flow: { x: 'layout' },
  inferTypes: ({ node, inputs: [x] }): readonly Known[] => {
    const shape = x?.shape
    const order = intsAttribute(node, 'perm') ?? shape?.map((_, axis) => shape.length - 1 - axis)
    return [
      {
        dataType: x?.dataType,
        shape: order?.map((axis) => shape?.[axis]),
        contents: shape && shape.length < 2 ? x?.contents : undefined,
        tensor: order && x?.tensor && transposedTensor(x.tensor, order),
      },
    ]
  },
  moments: ({ node, spreads: [x] }) => {
    if (!x) return []
    const order = intsAttribute(node, 'perm') ?? x.dims.map((_, axis) => x.dims.length - 1 - axis)
    return [transposed(x, order)]
  },
  gradient: {
    x: (g) => {
      const order =
        intsAttribute(g.node, 'perm') ?? g.inputs[0]!.shape.map((_, axis, { length }) => length - 1 - axis)
      return g.build.op('Transpose', [g.dy()], { perm: order.map((_, axis) => order.indexOf(axis)) })
    },
  },
  samples: [`g (float32[N, 3, 4] x) => () { a = Transpose(x) b = Transpose <perm = [0, 2, 1]> (x) }`],
})

function transposedTensor(tensor: Tensor, order: readonly number[]): Tensor | undefined {
  const { dataType, dims } = tensor
  const width = dataTypes[dataType].bits / 8
  if (width < 1) return undefined
  const out = order.map((axis) => dims[axis]!)
  return new Tensor(dataType, out, () => {
    const source = tensor.bytes
    const bytes = new Uint8Array(source.length)
    const strides = dims.map((_, axis) => elementCount(dims.slice(axis + 1)) * width)
    const at = new Array<number>(out.length).fill(0)
    for (let to = 0, from = 0; to < bytes.length; to += width) {
      for (let b = 0; b < width; b++) bytes[to + b] = source[from + b]!
      for (let axis = out.length - 1; axis >= 0; axis--) {
        from += strides[order[axis]!]!
        if (++at[axis]! < out[axis]!) break
        from -= strides[order[axis]!]! * out[axis]!
        at[axis] = 0
      }
    }
    return bytes
  })
}
