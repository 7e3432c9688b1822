import { defineOp } from './define-op.ts'
import { erf } from './moments/normal.ts'
import { affine } from './moments/spread.ts'
import { definePointwise } from './pointwise.ts'
import { sameAsInput } from './shapes.ts'

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
    samples: [
      `g (float32[2, 3] x) => () { a = Exp(x) b = Erf(x) c = Floor(x) d = Sign(x) e = Sqrt(a) f = Log(a) h = Sin(x) i = Cos(x) j = Tan(x) k = Asin(x) l = Acos(x) m = Atan(x) n = Sinh(x) o = Cosh(x) p = Asinh(x) q = Acosh(a) r = Atanh(x) s = Reciprocal(a) t = Ceil(x) u = Round(x) }`,
    ],
  },
)

/** |x|. */
export const absolute = definePointwise(
  { Abs: () => Math.abs },
  { flow: 'homogeneous', samples: [`g (float32[N, 3] x, int64[2] i) => () { a = Abs(x) b = Abs(i) }`] },
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
  samples: [`g (float32[N, 3] x) => () { a = Neg(x) }`],
})

/** Functions of bits and truth values: no moments. */
export const bitwise = defineOp({
  opType: ['Not', 'BitwiseNot'],
  inputs: ['x'],
  flow: { x: 'nonlinear' },
  inferTypes: sameAsInput,
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
  samples: [`g (float32[2, N] x) => () { a = IsNaN(x) b = IsInf(x) }`],
})
