import { constantTensor } from '../ir/edit.ts'
import { type Dim, intAttribute, tensorAttribute } from '../ir/model.ts'
import { type DataType, dataTypeOfOnnx, type Tensor } from '../ir/tensor.ts'
import { defineOp, type Known } from './define-op.ts'
import { passed } from './gradient.ts'
import { axisOf, maxContents, numbersIn, productOf, type Shape, unknownShape } from './shapes.ts'

/** What is known of a stored tensor. */
export function knownTensor(tensor: Tensor): Known {
  const small = tensor.size <= maxContents && readable.has(tensor.dataType)
  return {
    dataType: tensor.dataType,
    shape: tensor.dims,
    tensor,
    contents: small ? [...tensor.toNumbers()] : undefined,
  }
}

const readable = new Set<DataType>([
  'float32',
  'float64',
  'float16',
  'bfloat16',
  'int8',
  'uint8',
  'int16',
  'uint16',
  'int32',
  'uint32',
  'int64',
  'uint64',
  'bool',
])

/** The element type that an int attribute names. */
export const typeNamed = (code: number | undefined): DataType | undefined =>
  code === undefined ? undefined : dataTypeOfOnnx(code)

/** A tensor that the node holds. */
export const constant = defineOp({
  opType: 'Constant',
  inputs: [],
  flow: {},
  inferTypes: ({ node }) => {
    const tensor = constantTensor(node, () => undefined)
    return [tensor ? knownTensor(tensor) : {}]
  },
  gradient: {},
  samples: [
    `g () => () { a = Constant <value = float32[2] {1, 2}> () b = Constant <value_float = 2.0> () c = Constant <value_ints = [1, 2]> () d = Constant <value_int = 3> () e = Constant <value_floats = [1.5, 2.0]> () }`,
  ],
})

/** A tensor of a given shape filled with one value, 0 unless stated. */
export const constantOfShape = defineOp({
  opType: 'ConstantOfShape',
  inputs: ['shape'],
  flow: { shape: 'none' },
  inferTypes: ({ node, inputs: [wanted] }) => {
    const value = tensorAttribute(node, 'value')
    const length = wanted?.shape?.[0]
    const shape = wanted?.contents ?? (typeof length === 'number' ? unknownShape(length) : undefined)
    const count = shape ? productOf(shape) : undefined
    const fill = value && readable.has(value.dataType) ? value.toNumbers()[0] : 0
    return [
      {
        dataType: value?.dataType ?? 'float32',
        shape,
        contents:
          typeof count === 'number' && count <= maxContents ? new Array<Dim>(count).fill(fill) : undefined,
      },
    ]
  },
  gradient: { shape: null },
  samples: [
    `g (float32[N, 3] x) => () <int64[2] z = {2, 3}> { a = ConstantOfShape(z) s = Shape(x) b = ConstantOfShape <value = int64[1] {7}> (s) }`,
  ],
})

/** Sizes of the axes of a value, or of those from start to before end. */
export const shape = defineOp({
  opType: 'Shape',
  inputs: ['x'],
  flow: { x: 'none' },
  inferTypes: ({ node, inputs: [x] }) => {
    const known = x?.shape
    if (!known) return [{ dataType: 'int64', shape: [undefined] }]
    const sizes = known.slice(intAttribute(node, 'start') ?? 0, intAttribute(node, 'end') ?? known.length)
    return [{ dataType: 'int64', shape: [sizes.length], contents: sizes }]
  },
  gradient: { x: null },
  samples: [
    `g (float32[N, 3, 4] x) => () { a = Shape(x) b = Shape <start = 1> (x) c = Shape <start = -2, end = -1> (x) }`,
  ],
})

/** Number of elements. */
export const size = defineOp({
  opType: 'Size',
  inputs: ['x'],
  flow: { x: 'none' },
  inferTypes: ({ inputs: [x] }) => [
    { dataType: 'int64', shape: [], contents: x?.shape && [productOf(x.shape)] },
  ],
  gradient: { x: null },
  samples: [`g (float32[2, 3, 4] x) => () { a = Size(x) }`],
})

/** Numbers from start to before limit in steps. */
export const range = defineOp({
  opType: 'Range',
  inputs: ['start', 'limit', 'step'],
  flow: { start: 'none', limit: 'none', step: 'none' },
  inferTypes: ({ inputs }) => {
    const dataType = inputs[0]?.dataType
    const [start, limit, step] = inputs.map((input) => input.contents?.[0])
    if (typeof start === 'number' && typeof limit === 'number' && typeof step === 'number' && step !== 0) {
      const count = Math.max(0, Math.ceil((limit - start) / step))
      const contents =
        count <= maxContents ? Array.from({ length: count }, (_, i) => start + i * step) : undefined
      return [{ dataType, shape: [count], contents }]
    }
    return [{ dataType, shape: [start === 0 && step === 1 && typeof limit === 'string' ? limit : undefined] }]
  },
  gradient: { start: null, limit: null, step: null },
  samples: [
    `g (float32[N, 3] x) => () <int64 zero = {0}, int64 one = {1}, int64 nine = {9}> { s = Shape(x) n = Gather(s, zero) a = Range(zero, n, one) b = Range(one, nine, one) }`,
  ],
})

/** Elements under another type. */
export const cast = defineOp({
  opType: ['Cast', 'CastLike'],
  inputs: ['x', 'like'],
  flow: { x: 'layout', like: 'none' },
  inferTypes: ({ node, inputs: [x, like] }) => {
    const to = node.opType === 'CastLike' ? like?.dataType : typeNamed(intAttribute(node, 'to'))
    const whole = to?.startsWith('int') || to?.startsWith('uint')
    return [
      {
        dataType: to,
        shape: x?.shape,
        contents: x?.contents?.map((dim) =>
          typeof dim !== 'number' ? dim : to === 'bool' ? Number(dim !== 0) : whole ? Math.trunc(dim) : dim,
        ),
      },
    ]
  },
  moments: ({ spreads: [x], outputs }) => [outputs[0]?.dataType?.includes('float') ? x : undefined],
  gradient: { x: passed, like: null },
  samples: [
    `g (float32[N, 3] x, int64[1] i) => () { a = Cast <to = 7> (x) b = CastLike(x, i) c = Cast <to = 10> (x) }`,
  ],
  gradientSamples: [
    `g (float32[N, 3] x, float64[N, 3] z) => () { a = Cast <to = 11> (x) b = Mul(a, z) c = CastLike(z, x) d = Cast <to = 1> (b) i = Cast <to = 7> (x) e = Cast <to = 11> (i) }`,
  ],
})

/** Positions of the elements that are not zero: one column for each. */
export const nonZero = defineOp({
  opType: 'NonZero',
  inputs: ['x'],
  flow: { x: 'none' },
  inferTypes: ({ inputs: [x] }) => [{ dataType: 'int64', shape: [x?.shape?.length, undefined] }],
  gradient: { x: null },
  samples: [`g (float32[2, 3] x) => () { a = NonZero(x) }`],
})

/** Indices as vectors with one element set. */
export const oneHot = defineOp({
  opType: 'OneHot',
  inputs: ['indices', 'depth', 'values'],
  flow: { indices: 'nonlinear', depth: 'none', values: 'nonlinear' },
  inferTypes: ({ node, inputs: [indices, depth, values] }) => {
    const rank = indices?.shape && indices.shape.length + 1
    const axis = rank && axisOf(intAttribute(node, 'axis') ?? -1, rank)
    if (axis === undefined || !indices?.shape) return [{ dataType: values?.dataType }]
    return [
      {
        dataType: values?.dataType,
        shape: (indices.shape as Shape).toSpliced(axis, 0, numbersIn(depth)?.[0]),
      },
    ]
  },
  gradient: null,
  samples: [
    `g (int64[N] i) => () <int64 d = {5}, float32[2] v = {0, 1}> { a = OneHot(i, d, v) b = OneHot <axis = 0> (i, d, v) }`,
  ],
})

/** The upper or lower triangle of the last two axes. */
export const trilu = defineOp({
  opType: 'Trilu',
  inputs: ['x', 'k'],
  flow: { x: 'layout', k: 'none' },
  inferTypes: ({ inputs: [x] }) => [{ dataType: x?.dataType, shape: x?.shape }],
  gradient: {
    x: (g) =>
      g.build.op('Trilu', g.x(1) ? [g.dy(), g.x(1)] : [g.dy()], {
        upper: intAttribute(g.node, 'upper') ?? 1,
      }),
    k: null,
  },
  samples: [`g (float32[N, 3, 3] x) => () { a = Trilu <upper = 0> (x) }`],
})

/** Ones on a diagonal, in the shape of the input. */
export const eyeLike = defineOp({
  opType: 'EyeLike',
  inputs: ['x'],
  flow: { x: 'none' },
  inferTypes: ({ node, inputs: [x] }) => [
    { dataType: typeNamed(intAttribute(node, 'dtype')) ?? x?.dataType, shape: x?.shape },
  ],
  gradient: { x: null },
  samples: [`g (float32[3, 4] x) => () { a = EyeLike(x) b = EyeLike <dtype = 7> (x) }`],
})

/** Elements drawn at random in a shape that the node states. */
export const random = defineOp({
  opType: ['RandomNormal', 'RandomUniform'],
  inputs: [],
  flow: {},
  inferTypes: ({ node }) => {
    const dims = node.attributes.get('shape')
    return [
      {
        dataType: typeNamed(intAttribute(node, 'dtype')) ?? 'float32',
        shape: dims?.type === 'ints' ? dims.value : undefined,
      },
    ]
  },
  gradient: {},
  samples: [
    `g () => () { a = RandomNormal <shape = [2, 3]> () b = RandomUniform <shape = [4], dtype = 11> () }`,
  ],
})

/** Elements drawn at random in the shape of the input. */
export const randomLike = defineOp({
  opType: ['RandomNormalLike', 'RandomUniformLike'],
  inputs: ['x'],
  flow: { x: 'none' },
  inferTypes: ({ node, inputs: [x] }) => [
    { dataType: typeNamed(intAttribute(node, 'dtype')) ?? x?.dataType, shape: x?.shape },
  ],
  gradient: { x: null },
  samples: [`g (float32[N, 3] x) => () { a = RandomNormalLike(x) b = RandomUniformLike <dtype = 11> (x) }`],
})

/** Zeros and ones, each drawn with the probability that the input gives it. */
export const bernoulli = defineOp({
  opType: 'Bernoulli',
  inputs: ['probability'],
  flow: { probability: 'nonlinear' },
  inferTypes: ({ node, inputs: [x] }) => [
    { dataType: typeNamed(intAttribute(node, 'dtype')) ?? x?.dataType, shape: x?.shape },
  ],
  gradient: null,
  samples: [`g (float32[N, 3] x) => () { p = Sigmoid(x) a = Bernoulli(p) }`],
})

/** Classes drawn at random for each row of log-probabilities. */
export const multinomial = defineOp({
  opType: 'Multinomial',
  inputs: ['x'],
  flow: { x: 'nonlinear' },
  inferTypes: ({ node, inputs: [x] }) => [
    {
      dataType: typeNamed(intAttribute(node, 'dtype')) ?? 'int32',
      shape: [x?.shape?.[0], intAttribute(node, 'sample_size') ?? 1],
    },
  ],
  gradient: null,
  samples: [`g (float32[N, 3] x) => () { a = Multinomial <sample_size = 4> (x) }`],
})

/** Floats as whole numbers: round(x / scale) + zero point. */
export const quantize = defineOp({
  opType: 'QuantizeLinear',
  inputs: ['x', 'scale', 'zeroPoint'],
  flow: { x: 'linear', scale: 'nonlinear', zeroPoint: 'nonlinear' },
  inferTypes: ({ node, inputs: [x, , zero] }) => [
    { dataType: zero?.dataType ?? typeNamed(intAttribute(node, 'output_dtype')) ?? 'uint8', shape: x?.shape },
  ],
  gradient: null,
  samples: [
    `g (float32[N, 3] x) => () <float32 s = {0.1}, int8 z = {3}> { a = QuantizeLinear(x, s, z) b = QuantizeLinear(x, s) }`,
  ],
})

/** Whole numbers as floats: scale (x - zero point). */
export const dequantize = defineOp({
  opType: 'DequantizeLinear',
  inputs: ['x', 'scale', 'zeroPoint'],
  flow: { x: 'linear', scale: 'nonlinear', zeroPoint: 'nonlinear' },
  inferTypes: ({ inputs: [x, scale] }) => [{ dataType: scale?.dataType, shape: x?.shape }],
  gradient: null,
  samples: [`g (uint8[N, 3] x) => () <float32 s = {0.1}, uint8 z = {3}> { a = DequantizeLinear(x, s, z) }`],
})

/** Floats as bytes, with scale and zero point from their range. */
export const dynamicQuantize = defineOp({
  opType: 'DynamicQuantizeLinear',
  inputs: ['x'],
  flow: { x: 'linear' },
  inferTypes: ({ inputs: [x] }) => [
    { dataType: 'uint8', shape: x?.shape },
    { dataType: 'float32', shape: [] },
    { dataType: 'uint8', shape: [] },
  ],
  gradient: null,
  samples: [`g (float32[N, 3] x) => () { a, s, z = DynamicQuantizeLinear(x) }`],
})

/** Boxes that suppress no better one: triples of batch, class and box. */
export const nonMaxSuppression = defineOp({
  opType: 'NonMaxSuppression',
  inputs: ['boxes', 'scores', '...settings'],
  flow: { boxes: 'nonlinear', scores: 'nonlinear', '...settings': 'none' },
  inferTypes: () => [{ dataType: 'int64', shape: [undefined, 3] }],
  gradient: null,
  samples: [
    `g (float32[1, 5, 4] b, float32[1, 2, 5] s) => () <int64 k = {3}> { a = NonMaxSuppression(b, s, k) }`,
  ],
})

/** Positions looked up between those of a picture. */
export const gridSample = defineOp({
  opType: 'GridSample',
  inputs: ['x', 'grid'],
  flow: ({ moving: [, grid] }) => ({ x: grid ? 'nonlinear' : 'linear', grid: 'nonlinear' }),
  inferTypes: ({ inputs: [x, grid] }) => [
    {
      dataType: x?.dataType,
      shape: x?.shape && grid?.shape && [x.shape[0], x.shape[1], ...grid.shape.slice(1, -1)],
    },
  ],
  gradient: null,
  samples: [`g (float32[1, 2, 4, 4] x, float32[1, 3, 5, 2] g) => () { a = GridSample(x, g) }`],
})
