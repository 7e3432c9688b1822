import { float, type GraphBuilder } from '../ir/builder.ts'
import { type Dim, floatAttribute, intAttribute, stringAttribute } from '../ir/model.ts'
import { elementsOf } from './conv.ts'
import { defineOp, type Flow, type FlowContext, type TypeContext } from './define-op.ts'
import type { GradientContext } from './gradient.ts'
import { along, entriesOf, refined, transposed } from './moments/layout.ts'
import { type Assume, affine, expanded, mergedDims, type Spread } from './moments/spread.ts'
import { type Budget, contracted } from './moments/sums.ts'
import { broadcastShapes, type Shape } from './shapes.ts'

const bilinear = ({ moving: [a, b] }: FlowContext): Flow => (a && b ? 'nonlinear' : 'linear')

const gemmSettings = ({ node }: GradientContext) => ({
  alpha: floatAttribute(node, 'alpha') ?? 1,
  transA: intAttribute(node, 'transA') === 1,
  transB: intAttribute(node, 'transB') === 1,
})

const gemmOf = (
  { build }: GradientContext,
  a: string,
  b: string,
  { alpha = 1, transA = false, transB = false }: { alpha?: number; transA?: boolean; transB?: boolean },
): string => build.op('Gemm', [a, b], { alpha: float(alpha), transA: Number(transA), transB: Number(transB) })

/** y = alpha A B + beta C, with A and B transposed where the attributes say so. */
export const gemm = defineOp({
  opType: 'Gemm',
  role: 'weight',
  inputs: ['a', 'b', 'c'],
  flow: (context) => ({ a: bilinear(context), b: bilinear(context), c: 'linear' }),
  inferTypes: ({ node, inputs: [a, b] }) => [
    {
      dataType: a?.dataType,
      shape: [
        a?.shape?.[intAttribute(node, 'transA') === 1 ? 1 : 0],
        b?.shape?.[intAttribute(node, 'transB') === 1 ? 0 : 1],
      ],
    },
  ],
  moments: ({ node, inputs, spreads: [a, ...others], budget, assume }) => {
    const weight = inputs[1]?.tensor
    if (!a || !weight || others.some((other) => other)) return []
    const input = intAttribute(node, 'transA') === 1 ? transposed(a, [1, 0]) : a
    const product = dense(input, elementsOf(weight), weight.dims, {
      budget,
      assume,
      transposed: intAttribute(node, 'transB') === 1,
      scale: floatAttribute(node, 'alpha') ?? 1,
    })
    const bias = inputs[2]?.tensor
    if (!product || !bias) return [product]
    const dims = mergedDims(product.dims, bias.dims)
    const beta = floatAttribute(node, 'beta') ?? 1
    if (!dims) return []
    const values = entriesOf(bias.toNumbers(), bias.dims, dims).map((v) => v * beta)
    return [affine(expanded(product, dims), new Float64Array(values.length).fill(1), values)]
  },
  gradient: {
    a: (g) => {
      const { alpha, transA, transB } = gemmSettings(g)
      return transA
        ? gemmOf(g, g.x(1), g.dy(), { alpha, transA: transB, transB: true })
        : gemmOf(g, g.dy(), g.x(1), { alpha, transB: !transB })
    },
    b: (g) => {
      const { alpha, transA, transB } = gemmSettings(g)
      return transB
        ? gemmOf(g, g.dy(), g.x(), { alpha, transA: true, transB: transA })
        : gemmOf(g, g.x(), g.dy(), { alpha, transA: !transA })
    },
    c: (g) => {
      const beta = floatAttribute(g.node, 'beta') ?? 1
      return beta === 1 ? g.dy() : g.build.mul(g.dy(), g.scalar(beta))
    },
  },
  samples: [
    `g (float32[N, 5] x) => () <float32[5, 3] w = uniform(-1, 1, 1), float32[3, 5] v = uniform(-1, 1, 2), float32[3] b = fill(1)> { a = Gemm(x, w, b) c = Gemm <transB = 1, alpha = 0.5> (x, v) }`,
    `g (float32[5, 2] x) => () <float32[5, 3] w = uniform(-1, 1, 1)> { a = Gemm <transA = 1> (x, w) }`,
  ],
  gradientSamples: [
    `g (float32[N, 5] x) => () <float32[5, 3] w = uniform(-1, 1, 1), float32[3, 5] v = uniform(-1, 1, 2), float32[3] b = fill(1), float32[3, 1] c = uniform(-1, 1, 3), float32 d = {0.5}> { a = Gemm(x, w, b) e = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, v, c) f = Gemm(x, w, d) }`,
    `g (float32[5, N] x) => () <float32[5, 3] w = uniform(-1, 1, 1), float32[3, 5] v = uniform(-1, 1, 2)> { a = Gemm <transA = 1> (x, w) b = Gemm <transA = 1, transB = 1, alpha = 2.0> (x, v) }`,
  ],
})

/** The last axis of a spread times a stored matrix (inputs x outputs, or transposed). */
export function dense(
  x: Spread,
  w: ArrayLike<number>,
  dims: readonly number[],
  {
    budget,
    assume,
    transposed: swap = false,
    scale = 1,
  }: { budget: Budget; assume: Assume; transposed?: boolean; scale?: number },
): Spread | undefined {
  if (dims.length !== 2) return undefined
  const [inputs, outputs] = (swap ? [dims[1], dims[0]] : dims) as [number, number]
  const last = x.dims.length - 1
  const features = refined(along(x, last), last, inputs)
  if (!features) return undefined
  const first = new Float64Array(inputs)
  const second = new Float64Array(inputs)
  return contracted(
    features,
    features.dims.with(last, outputs),
    (k) => {
      const [start, step] = swap ? [k * inputs, 1] : [k, outputs]
      for (let c = 0, at = start; c < inputs; c++, at += step) {
        first[c] = w[at]! * scale
        second[c] = first[c]! ** 2
      }
      return { offset: 0, length: inputs, first, second }
    },
    {
      assume,
      taps: { budget, shares: [1], at: (k, c) => w[swap ? k * inputs + c : c * outputs + k]! * scale },
    },
  )
}

/** Shape of the matrix product of the last two axes, earlier ones broadcast. */
export function matMulShape(a: Shape | undefined, b: Shape | undefined): Shape | undefined {
  if (!a || !b || a.length === 0 || b.length === 0) return undefined
  const [left, right] = [a.length === 1 ? [1, ...a] : a, b.length === 1 ? [...b, 1] : b]
  const batch = broadcastShapes([left.slice(0, -2), right.slice(0, -2)])
  const rows: Dim[] = a.length === 1 ? [] : [left.at(-2)]
  const columns: Dim[] = b.length === 1 ? [] : [right.at(-1)]
  return batch && [...batch, ...rows, ...columns]
}

/** dA = dy B^T and dB = A^T dy; a vector takes part as a matrix of one row (A) or one column (B). */
function matMulGradient(g: GradientContext, i: 0 | 1): string {
  const { build } = g
  const [a, b] = [g.inputs[0]!.shape, g.inputs[1]!.shape]
  const [rows, columns] = [a.length === 1 ? [1, ...a] : a, b.length === 1 ? [...b, 1] : b]
  const inner = rows.at(-1)!
  const batch = broadcastShapes([rows.slice(0, -2), columns.slice(0, -2)]) as readonly number[]
  const as = (value: string, shape: readonly number[], now: readonly number[]) =>
    shape === now ? value : build.reshape(value, shape)
  const dy = as(
    g.dy(),
    a.length === 1 || b.length === 1 ? [...batch, rows.at(-2)!, columns.at(-1)!] : g.outputs[0]!.shape,
    g.outputs[0]!.shape,
  )
  if (i === 0) return build.op('MatMul', [dy, lastTwoSwapped(build, as(g.x(1), columns, b), columns.length)])
  // One weight for all samples: a single product over all rows, where a batch would have to be summed.
  const product =
    columns.length === 2 && rows.length > 2
      ? gemmOf(g, build.reshape(g.x(0), [-1, inner]), build.reshape(dy, [-1, columns[1]!]), { transA: true })
      : build.op('MatMul', [lastTwoSwapped(build, as(g.x(0), rows, a), rows.length), dy])
  return b.length === 1 ? build.reshape(product, [-1, inner]) : product
}

const lastTwoSwapped = (build: GraphBuilder, x: string, rank: number) =>
  build.op('Transpose', [x], {
    perm: [...Array.from({ length: rank - 2 }, (_, axis) => axis), rank - 1, rank - 2],
  })

const swapped = (shape: Shape | undefined, swap: boolean): Shape | undefined =>
  swap && shape && shape.length > 1 ? [...shape.slice(0, -2), shape.at(-1), shape.at(-2)] : shape

/** Matrix product of the last two axes. */
export const matMul = defineOp({
  opType: 'MatMul',
  role: 'weight',
  inputs: ['a', 'b'],
  flow: (context) => ({ a: bilinear(context), b: bilinear(context) }),
  inferTypes: ({ inputs: [a, b] }) => [{ dataType: a?.dataType, shape: matMulShape(a?.shape, b?.shape) }],
  moments: ({ inputs, spreads: [a, b], budget, assume }) => {
    const weight = inputs[1]?.tensor
    return [a && !b && weight ? dense(a, elementsOf(weight), weight.dims, { budget, assume }) : undefined]
  },
  gradient: {
    a: (g) => matMulGradient(g, 0),
    b: (g) => matMulGradient(g, 1),
  },
  samples: [
    `g (float32[N, 4, 5] x, float32[N, 5, 2] y, float32[5] v) => () <float32[5, 3] w = uniform(-1, 1, 1)> { a = MatMul(x, w) b = MatMul(x, y) c = MatMul(x, v) d = MatMul(v, w) }`,
  ],
  gradientSamples: [
    `g (float32[N, 4, 5] x, float32[N, 5, 2] y, float32[5] v, float32[2, 1, 4, 5] p, float32[1, 3, 5, 2] q) => () <float32[5, 3] w = uniform(-1, 1, 1)> { a = MatMul(x, w) b = MatMul(x, y) c = MatMul(x, v) d = MatMul(v, w) e = MatMul(p, q) f = MatMul(v, y) h = MatMul(v, v) }`,
  ],
})

/** alpha A B with the last two axes transposed where the attributes say so, fused by ONNX Runtime. */
export const fusedMatMul = defineOp({
  opType: 'FusedMatMul',
  domain: 'com.microsoft',
  role: 'weight',
  inputs: ['a', 'b'],
  flow: (context) => ({ a: bilinear(context), b: bilinear(context) }),
  inferTypes: ({ node, inputs: [a, b] }) => {
    const flag = (name: string) => intAttribute(node, name) === 1
    if (flag('transBatchA') || flag('transBatchB')) return [{ dataType: a?.dataType }]
    return [
      {
        dataType: a?.dataType,
        shape: matMulShape(swapped(a?.shape, flag('transA')), swapped(b?.shape, flag('transB'))),
      },
    ]
  },
  moments: ({ node, inputs, spreads: [a, b], budget, assume }) => {
    const weight = inputs[1]?.tensor
    if (!a || b || !weight || intAttribute(node, 'transA') === 1) return []
    return [
      dense(a, elementsOf(weight), weight.dims, {
        budget,
        assume,
        transposed: intAttribute(node, 'transB') === 1,
        scale: floatAttribute(node, 'alpha') ?? 1,
      }),
    ]
  },
  gradient: null,
  samples: [
    `<opset_import: ["": 17, "com.microsoft": 1]> g (float32[2, 4, 5] x, float32[2, 3, 5] y) => () { a = com.microsoft.FusedMatMul <transB = 1, alpha = 0.5> (x, y) }`,
  ],
})

/** Matrix products of quantised values: only their types are followed. */
export const quantisedMatMul = defineOp({
  opType: ['MatMulInteger', 'QLinearMatMul'],
  role: 'weight',
  inputs: ['...x'],
  flow: { '...x': 'nonlinear' },
  inferTypes: ({ node, inputs }) => {
    const linear = node.opType === 'QLinearMatMul'
    return [
      {
        dataType: linear ? inputs[7]?.dataType : 'int32',
        shape: matMulShape(inputs[0]?.shape, inputs[linear ? 3 : 1]?.shape),
      },
    ]
  },
  gradient: null,
  samples: [
    `g (uint8[2, 4, 5] x, uint8[5, 3] y) => () <float32 s = {0.1}, uint8 z = {3}> { a = MatMulInteger(x, y) b = QLinearMatMul(x, s, z, y, s, z, s, z) }`,
  ],
})

/** Sums of products over named axes. */
export const einsum = defineOp({
  opType: 'Einsum',
  inputs: ['...x'],
  flow: ({ moving }) => ({ '...x': moving.filter(Boolean).length > 1 ? 'nonlinear' : 'linear' }),
  inferTypes: ({ node, inputs }: TypeContext) => {
    const dataType = inputs[0]?.dataType
    const equation = stringAttribute(node, 'equation')?.replaceAll(' ', '')
    if (!equation || equation.includes('.')) return [{ dataType }]
    const [left, right] = equation.split('->') as [string, string | undefined]
    const terms = left.split(',')
    const sizes = new Map<string, Dim>()
    for (const [i, term] of terms.entries()) {
      const shape = inputs[i]?.shape
      if (!shape || shape.length !== term.length) continue
      for (const [axis, letter] of [...term].entries()) {
        const dim = shape[axis]
        const known = sizes.get(letter)
        // A size of 1 may stand for any other, so only another one settles it.
        if (
          known === undefined ||
          known === 1 ||
          (typeof known === 'string' && typeof dim === 'number' && dim !== 1)
        )
          sizes.set(letter, dim)
      }
    }
    const letters = [...left.replaceAll(',', '')]
    const output =
      right ??
      [...new Set(letters)]
        .filter((l) => letters.filter((m) => m === l).length === 1)
        .sort()
        .join('')
    return [{ dataType, shape: [...output].map((letter) => sizes.get(letter)) }]
  },
  gradient: {
    // The sum over all terms but the input's own, with the result in its place.
    '...x': (g, i) => {
      const equation = stringAttribute(g.node, 'equation')!.replaceAll(' ', '')
      const [left, right] = equation.split('->') as [string, string | undefined]
      const terms = left.split(',')
      const own = terms[i]!
      const others = terms.toSpliced(i, 1)
      const given = [right ?? '', ...others]
      const isPlain = right !== undefined && terms.every((term) => new Set(term).size === term.length)
      if (!isPlain || equation.includes('.') || [...own].some((letter) => !given.join().includes(letter)))
        return g.refuse(`its equation is '${equation}', which no plain Einsum gives the gradient of`)
      return g.build.op('Einsum', [g.dy(), ...g.node.inputs.toSpliced(i, 1)], {
        equation: `${given.join(',')}->${own}`,
      })
    },
  },
  samples: [
    `g (float32[N, 4, 5] x, float32[N, 5, 2] y) => () { a = Einsum <equation = "bij,bjk->bik"> (x, y) b = Einsum <equation = "bij->bji"> (x) c = Einsum <equation = "bij, bjk"> (x, y) }`,
  ],
  gradientSamples: [
    `g (float32[N, 4, 5] x, float32[N, 5, 2] y) => () { a = Einsum <equation = "bij,bjk->bik"> (x, y) b = Einsum <equation = "bij->bji"> (x) c = Einsum <equation = "bij,bjk->ki"> (x, y) }`,
  ],
})
