import { type Dim, intAttribute, intsAttribute, stringAttribute } from '../ir/model.ts'
import { aligned, type Tensor } from '../ir/tensor.ts'
import { emitConvInputGradient } from './conv-gradient/input.ts'
import { type ConvShapes, convShapes, cropped } from './conv-gradient/shapes.ts'
import { emitConvWeightGradient } from './conv-gradient/weight.ts'
import { defineOp, type Flow, type Known, type MomentsContext, type TypeContext } from './define-op.ts'
import { axesButChannels, type GradientContext, type InputGradient } from './gradient.ts'
import { along, refined } from './moments/layout.ts'
import { affine, type Spread } from './moments/spread.ts'
import { contracted } from './moments/sums.ts'
import { unknownShape } from './shapes.ts'
import { insideShares, kernelOf, outputSizes, windowOf } from './window.ts'

/** Elements of a tensor, in its own precision where that is float32. */
export function elementsOf(tensor: Tensor): ArrayLike<number> {
  if (tensor.dataType !== 'float32') return tensor.toNumbers()
  const bytes = aligned(tensor.bytes, 4)
  return new Float32Array(bytes.buffer, bytes.byteOffset, tensor.size)
}

const bilinear = ([x, weight]: readonly boolean[]): { x: Flow; weight: Flow; bias: Flow } => {
  const flow = x && weight ? 'nonlinear' : 'linear'
  return { x: flow, weight: flow, bias: 'linear' }
}

export function inferConv({ node, inputs: [x, weight] }: TypeContext): readonly Known[] {
  const kernel = kernelOf(node, weight?.shape)
  const rank = x?.shape?.length ?? weight?.shape?.length
  if (rank === undefined) return [{ dataType: x?.dataType }]
  const sizes = x?.shape?.slice(2) ?? unknownShape(rank - 2)
  const out = kernel
    ? outputSizes(windowOf(node, kernel, sizes), sizes, stringAttribute(node, 'auto_pad'))
    : unknownShape(rank - 2)
  return [{ dataType: x?.dataType, shape: [x?.shape?.[0], weight?.shape?.[0], ...out] }]
}

/** Adds a stored vector to the channels of a spread with the template 1 x C x 1 ... */
export function withBias(spread: Spread | undefined, bias: Tensor | undefined): Spread | undefined {
  if (!spread || !bias) return spread
  const values = bias.toNumbers()
  const channels = refined(spread, 1, values.length)
  return channels && affine(channels, new Float64Array(values.length).fill(1), values)
}

function convMoments({
  node,
  inputs,
  spreads: [x, ...others],
  budget,
  assume,
}: MomentsContext): (Spread | undefined)[] {
  const weight = inputs[1]?.tensor
  const shape = inputs[0]?.shape
  if (!x || !weight || others.some((other) => other)) return []
  const [filters, perGroup] = weight.dims as [number, number]
  const groups = intAttribute(node, 'group') ?? 1
  const channels = refined(along(x, 1), 1, perGroup * groups)
  const kernel = kernelOf(node, weight.dims)
  if (!channels || !kernel) return []
  const sizes: readonly Dim[] = shape?.slice(2) ?? unknownShape(kernel.length)
  const window = windowOf(node, kernel, sizes)
  // At the border some taps meet padding: each counts for the share of positions where it is inside.
  let shares = [1]
  kernel.forEach((_, axis) => {
    const along = insideShares(window, axis, sizes[axis])
    shares = shares.flatMap((outer) => along.map((inner) => outer * inner))
  })
  const taps = shares.length
  const w = elementsOf(weight)
  const first = new Float64Array(perGroup)
  const second = new Float64Array(perGroup)
  const summed = contracted(
    channels,
    [1, filters, ...kernel.map(() => 1)],
    (k) => {
      for (let c = 0, at = k * perGroup * taps; c < perGroup; c++) {
        let [sum, squares] = [0, 0]
        for (let t = 0; t < taps; t++, at++) {
          const v = w[at]!
          sum += v * shares[t]!
          squares += v * v * shares[t]!
        }
        first[c] = sum
        second[c] = squares
      }
      const offset = Math.floor((k * groups) / filters) * perGroup
      return { offset, length: perGroup, first, second }
    },
    {
      assume,
      taps: {
        budget,
        shares,
        at: (k, c, tap) => {
          const own = c - Math.floor((k * groups) / filters) * perGroup
          return own >= 0 && own < perGroup ? w[(k * perGroup + own) * taps + tap]! : 0
        },
      },
    },
  )
  return [withBias(summed, inputs[2]?.tensor)]
}

const shapesOfConv = ({ node, inputs: [x, weight], outputs: [y] }: GradientContext): ConvShapes =>
  convShapes(node, x!.shape, weight!.shape, y!.shape)

const biasGradient: InputGradient = (g) =>
  g.build.reduceSum(g.dy(), axesButChannels(g.outputs[0]!.shape.length), false)

/**
 * Convolution: x is N x C x D1 x D2 ..., the weight K x C/groups x k1 x k2 ..., the result N x K x ...
 */
export const conv = defineOp({
  opType: 'Conv',
  role: 'weight',
  inputs: ['x', 'weight', 'bias'],
  flow: ({ moving }) => bilinear(moving),
  inferTypes: inferConv,
  moments: convMoments,
  gradient: {
    x: (g) => emitConvInputGradient(g.build, { dy: g.dy(), weight: g.x(1), shapes: shapesOfConv(g) }),
    weight: (g) => emitConvWeightGradient(g.build, { x: g.x(), dy: g.dy(), shapes: shapesOfConv(g) }),
    bias: biasGradient,
  },
  samples: [
    `g (float32[N, 3, 8, 9] x) => () <float32[4, 3, 3, 3] w = uniform(-1, 1, 1), float32[4] b = fill(1)> { a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w, b) c = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w) d = Conv <dilations = [2, 2]> (x, w) e = Conv <auto_pad = "SAME_LOWER"> (x, w) f = Conv <auto_pad = "VALID", strides = [3, 1]> (x, w) }`,
    `g (float32[2, 4, 8] x) => () <float32[6, 2, 3] w = uniform(-1, 1, 1)> { a = Conv <group = 2, pads = [0, 1]> (x, w) }`,
    `g (float32[1, 2, 4, 5, 6] x) => () <float32[3, 2, 1, 2, 3] w = uniform(-1, 1, 1)> { a = Conv(x, w) }`,
    `g (float32[N, 3, H, W] x) => () <float32[4, 3, 3, 3] w = uniform(-1, 1, 1)> { a = Conv <pads = [1, 1, 1, 1]> (x, w) b = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w) }`,
  ],
  gradientSamples: [
    `g (float32[N, 4, 7, 8] x) => () <float32[6, 4, 3, 3] w = uniform(-1, 1, 1), float32[6, 2, 3, 2] v = uniform(-1, 1, 2), float32[4, 1, 3, 3] u = uniform(-1, 1, 3), float32[5, 4, 1, 1] p = uniform(-1, 1, 4), float32[6] b = fill(1)> { a = Conv <pads = [1, 1, 1, 1]> (x, w, b) c = Conv <strides = [2, 3], pads = [1, 0, 0, 2]> (x, w, b) d = Conv <group = 2, dilations = [2, 3], strides = [1, 2], pads = [2, 1, 1, 0]> (x, v) e = Conv <group = 4, strides = [2, 2], auto_pad = "SAME_LOWER"> (x, u) f = Conv(x, p) h = Conv <strides = [2, 2]> (x, p) }`,
    `g (float32[N, 4, 11] x) => () <float32[6, 2, 4] w = uniform(-1, 1, 1)> { a = Conv <group = 2, strides = [3], pads = [1, 2], dilations = [2]> (x, w) }`,
    `g (float32[2, 2, 4, 5, 6] x) => () <float32[3, 2, 2, 3, 2] w = uniform(-1, 1, 1), float32[3] b = fill(1)> { a = Conv <strides = [1, 2, 2], pads = [0, 1, 1, 1, 1, 0]> (x, w, b) }`,
  ],
})

/** Convolution with an activation, fused by ONNX Runtime. */
export const fusedConv = defineOp({
  opType: 'FusedConv',
  domain: 'com.microsoft',
  role: 'weight',
  inputs: ['x', 'weight', 'bias', 'sum'],
  flow: { x: 'nonlinear', weight: 'nonlinear', bias: 'nonlinear', sum: 'nonlinear' },
  inferTypes: inferConv,
  gradient: null,
  samples: [
    `<opset_import: ["": 17, "com.microsoft": 1]> g (float32[2, 3, 8, 8] x) => () <float32[4, 3, 3, 3] w = uniform(-1, 1, 1), float32[4] b = fill(1)> { a = com.microsoft.FusedConv <activation = "Relu", pads = [1, 1, 1, 1]> (x, w, b) }`,
  ],
})

/** Convolution of quantised values: only its type is followed. */
export const quantisedConv = defineOp({
  opType: ['ConvInteger', 'QLinearConv'],
  role: 'weight',
  inputs: ['...x'],
  flow: { '...x': 'nonlinear' },
  inferTypes: (context) => {
    const { node, inputs } = context
    const linear = node.opType === 'QLinearConv'
    const shape = inferConv({
      ...context,
      inputs: [inputs[0] ?? {}, inputs[linear ? 3 : 1] ?? {}],
    })[0]?.shape
    return [{ dataType: linear ? inputs[7]?.dataType : 'int32', shape }]
  },
  gradient: null,
  samples: [
    `g (uint8[2, 3, 8, 8] x) => () <uint8[4, 3, 3, 3] w = fill(3)> { a = ConvInteger <pads = [1, 1, 1, 1]> (x, w) }`,
    `g (uint8[2, 3, 8, 8] x) => () <uint8[4, 3, 3, 3] w = fill(3), float32 s = {0.1}, uint8 z = {3}> { a = QLinearConv(x, s, z, w, s, z, s, z) }`,
  ],
})

/** The convolution that a ConvTranspose is the transpose of: it takes dy to a value of the shape of x. */
function asConv(g: GradientContext): { dy: string; shapes: ConvShapes } {
  return g.once('as conv', () => {
    const { node, inputs, outputs } = g
    const [x, weight] = [inputs[0]!.shape, inputs[1]!.shape]
    const kernel = weight.slice(2)
    const ones = kernel.map(() => 1)
    const strides = intsAttribute(node, 'strides') ?? ones
    const dilations = intsAttribute(node, 'dilations') ?? ones
    const added = intsAttribute(node, 'output_padding') ?? kernel.map(() => 0)
    const auto = stringAttribute(node, 'auto_pad') ?? 'NOTSET'
    const pads = intsAttribute(node, 'pads')
    // What the kernel reaches beyond the output, in front and behind together.
    const total = kernel.map(
      (k, i) =>
        strides[i]! * (x[i + 2]! - 1) + added[i]! + (k - 1) * dilations[i]! + 1 - outputs[0]!.shape[i + 2]!,
    )
    const stated = auto === 'NOTSET' && !node.attributes.has('output_shape') && pads
    const before = kernel.map((_, i) => {
      if (stated) return pads[i]!
      const half = Math.max(0, total[i]!) / 2
      return auto === 'SAME_UPPER' ? Math.floor(half) : Math.ceil(half)
    })
    // Positions of the output that nothing reaches.
    const beyond = total.map((size, i) => Math.max(0, before[i]! - size))
    const sizes = outputs[0]!.shape.slice(2).map((size, i) => size - beyond[i]!)
    return {
      dy: cropped(g.build, g.dy(), outputs[0]!.shape.slice(2), sizes),
      shapes: {
        x: [...outputs[0]!.shape.slice(0, 2), ...sizes],
        weight,
        y: x,
        strides,
        dilations,
        before,
        after: total.map((size, i) => size + beyond[i]! - before[i]!),
        groups: intAttribute(node, 'group') ?? 1,
      },
    }
  })
}

/**
 * Transposed convolution: the weight is C x K/groups x k1 x k2 ...
 * size = stride (in - 1) + output_padding + (k - 1) dilation + 1 - pads, or as `output_shape` says.
 */
export const convTranspose = defineOp({
  opType: 'ConvTranspose',
  role: 'weight',
  inputs: ['x', 'weight', 'bias'],
  flow: ({ moving }) => bilinear(moving),
  inferTypes: ({ node, inputs: [x, weight] }) => {
    const kernel = kernelOf(node, weight?.shape)
    if (!kernel) return [{ dataType: x?.dataType }]
    const ones = kernel.map(() => 1)
    const zeros = kernel.map(() => 0)
    const strides = intsAttribute(node, 'strides') ?? ones
    const dilations = intsAttribute(node, 'dilations') ?? ones
    const padding = intsAttribute(node, 'output_padding') ?? zeros
    const pads = intsAttribute(node, 'pads') ?? [...zeros, ...zeros]
    const shape = intsAttribute(node, 'output_shape')
    const auto = stringAttribute(node, 'auto_pad') ?? 'NOTSET'
    const filters = weight?.shape?.[1]
    const out = kernel.map((k, i): Dim => {
      if (shape) return shape.at(i - kernel.length)
      const size = x?.shape?.[i + 2]
      if (typeof size !== 'number') return undefined
      if (auto.startsWith('SAME')) return size * strides[i]!
      const whole = strides[i]! * (size - 1) + padding[i]! + (k - 1) * dilations[i]! + 1
      return auto === 'VALID' ? whole : whole - pads[i]! - pads[i + kernel.length]!
    })
    const channels = typeof filters === 'number' ? filters * (intAttribute(node, 'group') ?? 1) : undefined
    return [{ dataType: x?.dataType, shape: [x?.shape?.[0], channels, ...out] }]
  },
  moments: ({ node, inputs, spreads: [x, ...others], assume }) => {
    const weight = inputs[1]?.tensor
    if (!x || !weight || others.some((other) => other)) return []
    const [inputsCount, perGroup, ...kernel] = weight.dims as [number, number, ...number[]]
    const groups = intAttribute(node, 'group') ?? 1
    const channels = refined(along(x, 1), 1, inputsCount)
    if (!channels) return []
    const taps = kernel.reduce((n, k) => n * k, 1)
    const strides = intsAttribute(node, 'strides') ?? kernel.map(() => 1)
    // Every output position is met by 1 / (product of strides) of the taps on average.
    const share = 1 / strides.reduce((n, s) => n * s, 1)
    const w = elementsOf(weight)
    const length = inputsCount / groups
    const first = new Float64Array(length)
    const second = new Float64Array(length)
    const summed = contracted(
      channels,
      [1, perGroup * groups, ...kernel.map(() => 1)],
      (k) => {
        const group = Math.floor(k / perGroup)
        for (let c = 0; c < length; c++) {
          let [sum, squares] = [0, 0]
          const start = ((group * length + c) * perGroup + (k % perGroup)) * taps
          for (let at = start; at < start + taps; at++) {
            sum += w[at]! * share
            squares += w[at]! ** 2 * share
          }
          first[c] = sum
          second[c] = squares
        }
        return { offset: group * length, length, first, second }
      },
      { assume },
    )
    return [withBias(summed, inputs[2]?.tensor)]
  },
  gradient: {
    x: (g) => {
      const { dy, shapes } = asConv(g)
      const { strides, dilations, before, after, groups } = shapes
      const kernel = shapes.weight.slice(2)
      const all = g.build.op('Conv', [dy, g.x(1)], {
        kernel_shape: kernel,
        strides,
        dilations,
        pads: [...before, ...after],
        group: groups,
      })
      const found = kernel.map((k, i) => {
        const free = shapes.x[i + 2]! + before[i]! + after[i]! - (k - 1) * dilations[i]! - 1
        return Math.floor(free / strides[i]!) + 1
      })
      return cropped(g.build, all, found, shapes.y.slice(2))
    },
    weight: (g) => {
      const { dy, shapes } = asConv(g)
      return emitConvWeightGradient(g.build, { x: dy, dy: g.x(), shapes })
    },
    bias: biasGradient,
  },
  samples: [
    `g (float32[2, 3, 8, 9] x) => () <float32[3, 4, 3, 3] w = uniform(-1, 1, 1), float32[4] b = fill(1)> { a = ConvTranspose <pads = [1, 1, 1, 1], strides = [2, 2], output_padding = [1, 1]> (x, w, b) c = ConvTranspose <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w) d = ConvTranspose <output_shape = [16, 18], strides = [2, 2]> (x, w) e = ConvTranspose <dilations = [2, 2]> (x, w) }`,
    `g (float32[N, 4, 8] x) => () <float32[4, 3, 3] w = uniform(-1, 1, 1)> { a = ConvTranspose <group = 2, auto_pad = "VALID"> (x, w) }`,
  ],
  gradientSamples: [
    `g (float32[2, 3, 8, 9] x) => () <float32[3, 4, 3, 3] w = uniform(-1, 1, 1), float32[4] b = fill(1)> { a = ConvTranspose <pads = [1, 1, 1, 1], strides = [2, 2], output_padding = [1, 1]> (x, w, b) c = ConvTranspose <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w) d = ConvTranspose <output_shape = [16, 18], strides = [2, 2]> (x, w) e = ConvTranspose <dilations = [2, 2]> (x, w) f = ConvTranspose <auto_pad = "SAME_LOWER", strides = [2, 2]> (x, w) h = ConvTranspose <strides = [3, 2], pads = [0, 1, 2, 0]> (x, w) }`,
    `g (float32[N, 4, 8] x) => () <float32[4, 3, 3] w = uniform(-1, 1, 1)> { a = ConvTranspose <group = 2, auto_pad = "VALID", strides = [2]> (x, w) }`,
    `g (float32[2, 2, 3, 3, 3] x) => () <float32[2, 2, 2, 3, 2] w = uniform(-1, 1, 1)> { a = ConvTranspose <strides = [1, 2, 2], pads = [0, 1, 0, 0, 1, 0]> (x, w) }`,
  ],
})
