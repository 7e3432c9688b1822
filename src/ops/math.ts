import { defineOp } from './define-op.ts'
import { type GradientContext, signOf } from './gradient.ts'
import { erf } from './moments/normal.ts'
import { affine } from './moments/spread.ts'
import { definePointwise } from './pointwise.ts'
import { sameAsInput } from './shapes.ts'

const negated = ({ build }: GradientContext, x: string) => build.op('Neg', [x])
const squared = ({ build }: GradientContext, x: string) => build.mul(x, x)
const root = ({ build }: GradientContext, x: string) => build.op('Sqrt', [x])

/** Functions of one variable. */
export const elementary = definePointwise(
  {
    Exp: () => Math.exp,
    Log: () => Math.log,
    Sqrt: () => Math.sqrt,
    Sin: () => Math.sin,
    Cos: () => Math.cos,
    Tan: () => Math.tan,
    Asin: () => Math.asin,
    Acos: () => Math.acos,
    Atan: () => Math.atan,
    Sinh: () => Math.sinh,
    Cosh: () => Math.cosh,
    Asinh: () => Math.asinh,
    Acosh: () => Math.acosh,
    Atanh: () => Math.atanh,
    Erf: () => erf,
    Reciprocal: () => (x) => 1 / x,
    Floor: () => Math.floor,
    Ceil: () => Math.ceil,
    Round: () => Math.round,
    Sign: () => Math.sign,
  },
  {
    gradient: {
      Exp: (g) => g.build.mul(g.dy(), g.y()),
      Log: (g) => g.build.div(g.dy(), g.x()),
      Sqrt: (g) => g.build.div(g.build.mul(g.dy(), g.scalar(0.5)), g.y()),
      Sin: (g) => g.build.mul(g.dy(), g.build.op('Cos', [g.x()])),
      Cos: (g) => g.build.mul(negated(g, g.dy()), g.build.op('Sin', [g.x()])),
      Tan: (g) => g.build.mul(g.dy(), g.build.add(g.scalar(1), squared(g, g.y()))),
      Asin: (g) => g.build.div(g.dy(), root(g, g.build.sub(g.scalar(1), squared(g, g.x())))),
      Acos: (g) => g.build.div(negated(g, g.dy()), root(g, g.build.sub(g.scalar(1), squared(g, g.x())))),
      Atan: (g) => g.build.div(g.dy(), g.build.add(g.scalar(1), squared(g, g.x()))),
      Sinh: (g) => g.build.mul(g.dy(), g.build.op('Cosh', [g.x()])),
      Cosh: (g) => g.build.mul(g.dy(), g.build.op('Sinh', [g.x()])),
      Asinh: (g) => g.build.div(g.dy(), root(g, g.build.add(squared(g, g.x()), g.scalar(1)))),
      Acosh: (g) => g.build.div(g.dy(), root(g, g.build.sub(squared(g, g.x()), g.scalar(1)))),
      Atanh: (g) => g.build.div(g.dy(), g.build.sub(g.scalar(1), squared(g, g.x()))),
      // 2 / sqrt(pi) exp(-x^2)
      Erf: (g) => {
        const bell = g.build.op('Exp', [negated(g, squared(g, g.x()))])
        return g.build.mul(g.build.mul(g.dy(), g.scalar(2 / Math.sqrt(Math.PI))), bell)
      },
      Reciprocal: (g) => g.build.mul(negated(g, g.dy()), squared(g, g.y())),
      Floor: null,
      Ceil: null,
      Round: null,
      Sign: null,
    },
    samples: [
      `g (float32[2, 3] x) => () { a = Exp(x) b = Erf(x) c = Floor(x) d = Sign(x) e = Sqrt(a) f = Log(a) h = Sin(x) i = Cos(x) j = Tan(x) k = Asin(x) l = Acos(x) m = Atan(x) n = Sinh(x) o = Cosh(x) p = Asinh(x) q = Acosh(a) r = Atanh(x) s = Reciprocal(a) t = Ceil(x) u = Round(x) }`,
    ],
    gradientSamples: [
      `g (float32[2, 3] x) => () <float32 two = {2}> { a = Exp(x) b = Erf(x) c = Floor(x) d = Sign(x) e = Sqrt(a) f = Log(a) h = Sin(x) i = Cos(x) j = Tan(x) k = Asin(x) l = Acos(x) m = Atan(x) n = Sinh(x) o = Cosh(x) p = Asinh(x) v = Add(a, two) q = Acosh(v) r = Atanh(x) s = Reciprocal(a) t = Ceil(x) u = Round(x) }`,
    ],
  },
)

/** |x|. */
export const absolute = definePointwise(
  { Abs: () => Math.abs },
  {
    flow: 'homogeneous',
    gradient: { Abs: (g) => g.build.mul(g.dy(), signOf(g, g.x())) },
    samples: [`g (float32[N, 3] x, int64[2] i) => () { a = Abs(x) b = Abs(i) }`],
  },
)

/** -x. */
export const negative = defineOp({
  opType: 'Neg',
  inputs: ['x'],
  flow: { x: 'scaling' },
  inferTypes: ({ inputs: [x] }) => [
    {
      dataType: x?.dataType,
      shape: x?.shape,
      contents: x?.contents?.map((dim) => (typeof dim === 'number' ? -dim : undefined)),
    },
  ],
  moments: ({ spreads: [x] }) => [
    x && affine(x, new Float64Array(x.mean.length).fill(-1), new Float64Array(x.mean.length)),
  ],
  gradient: { x: (g) => negated(g, g.dy()) },
  samples: [`g (float32[N, 3] x) => () { a = Neg(x) }`],
})

/** Functions of bits and truth values: no moments. */
export const bitwise = defineOp({
  opType: ['Not', 'BitwiseNot'],
  inputs: ['x'],
  flow: { x: 'nonlinear' },
  inferTypes: sameAsInput,
  gradient: { x: null },
  samples: [
    `g (bool[2, 3] x) => () { a = Not(x) }`,
    `<opset_import: ["": 18]> g (int32[2, 3] x) => () { a = BitwiseNot(x) }`,
  ],
})

/** Tests of one float: truth values of the same shape. */
export const isSpecial = defineOp({
  opType: ['IsNaN', 'IsInf'],
  inputs: ['x'],
  flow: { x: 'nonlinear' },
  inferTypes: ({ inputs: [x] }) => [{ dataType: 'bool', shape: x?.shape }],
  gradient: { x: null },
  samples: [`g (float32[2, N] x) => () { a = IsNaN(x) b = IsInf(x) }`],
})
