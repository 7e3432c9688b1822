import type { Dim } from '../ir/model.ts'
import { isFloat, type Tensor } from '../ir/tensor.ts'
import { defineOp, type Flow, type Known, type MomentsContext } from './define-op.ts'
import { asNumber, passed } from './gradient.ts'
import { applied, combined, gated } from './moments/functions.ts'
import { entriesOf } from './moments/layout.ts'
import {
  affine,
  broadcastIndex,
  estimated,
  expanded,
  isClosed,
  isQuiet,
  mergedDims,
  quiet,
  type Spread,
} from './moments/spread.ts'
import { added } from './moments/sums.ts'
import { broadcastOfInputs, broadcastShapes, maxContents } from './shapes.ts'

type Pair = (a: Dim, b: Dim) => Dim

/** Contents of an elementwise function of small known tensors. */
function contentsOf(inputs: readonly Known[], f: Pair): readonly Dim[] | undefined {
  const shape = broadcastShapes(inputs.map((input) => input.shape)) as readonly number[] | undefined
  if (!shape || inputs.some((input) => !input.contents)) return undefined
  if (shape.reduce((n, d) => n * d, 1) > maxContents) return undefined
  const [first, ...others] = inputs.map((input) =>
    Array.from(broadcastIndex(shape, input.shape as readonly number[]), (i) => input.contents![i]),
  )
  return others.reduce((a, b) => a.map((dim, i) => f(dim, b[i])), first!)
}

const numeric =
  (f: (a: number, b: number) => number): Pair =>
  (a, b) =>
    typeof a === 'number' && typeof b === 'number' ? f(a, b) : undefined

const onContents: Readonly<Record<string, Pair>> = {
  Add: (a, b) => (a === 0 ? b : b === 0 ? a : numeric((x, y) => x + y)(a, b)),
  Sub: (a, b) => (b === 0 ? a : a !== undefined && a === b ? 0 : numeric((x, y) => x - y)(a, b)),
  Mul: (a, b) => (a === 1 ? b : b === 1 ? a : a === 0 || b === 0 ? 0 : numeric((x, y) => x * y)(a, b)),
  Max: numeric(Math.max),
  Min: numeric(Math.min),
  Sum: numeric((x, y) => x + y),
  Pow: numeric((x, y) => x ** y),
}

function divided(inputs: readonly Known[]): Pair {
  const whole = !isFloat(inputs[0]?.dataType ?? 'float32')
  return (a, b) =>
    b === 1
      ? a
      : typeof a === 'string' && a === b
        ? 1
        : numeric((x, y) => (y === 0 ? Number.NaN : whole ? Math.trunc(x / y) : x / y))(a, b)
}

const defined = (contents: readonly Dim[] | undefined) =>
  contents?.map((dim) => (Number.isNaN(dim) ? undefined : dim))

/** The constant operand spread over the template that both need. */
function constantOperand(x: Spread, tensor: Tensor): { x: Spread; values: Float64Array } | undefined {
  const dims = mergedDims(x.dims, tensor.dims)
  if (!dims) return undefined
  return { x: expanded(x, dims), values: entriesOf(tensor.toNumbers(), tensor.dims, dims) }
}

/** Share of the variances of what is added up below which their sum tells that they cancel each other. */
const cancelling = 0.7

const sumOf = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0)

function momentsOfSum({ node, inputs, spreads, stored, assume }: MomentsContext): (Spread | undefined)[] {
  const subtract = node.opType === 'Sub'
  let total: Spread | undefined
  for (const [i, spread] of spreads.entries()) {
    let term = spread
    if (!term) {
      const tensor = inputs[i]?.tensor
      if (!tensor) return []
      continue
    }
    if (subtract && i > 0) term = scaledBy(term, -1)
    if (!total) total = term
    else {
      const joint: Spread | undefined = combined(total, term, (x, y) => x + y)
      if (!joint && !stored && isClosed(total) && isClosed(term))
        assume('branches that are added up are taken as uncorrelated')
      // Operands that cancel each other: what is left of them in eval mode is not in the file.
      if (
        stored &&
        sumOf(stored.variance) < cancelling * (sumOf(total.trainDiagonal) + sumOf(term.trainDiagonal))
      )
        return []
      total = joint ?? added(total, term, i === spreads.length - 1 ? stored : undefined)
    }
    if (!total) return []
  }
  for (const [i, spread] of spreads.entries()) {
    const tensor = inputs[i]?.tensor
    if (spread || !tensor || !total) continue
    const operand: { x: Spread; values: Float64Array } | undefined = constantOperand(total, tensor)
    if (!operand) return []
    const sign = subtract && i > 0 ? -1 : 1
    total = affine(
      operand.x,
      new Float64Array(operand.values.length).fill(1),
      operand.values.map((v) => sign * v),
    )
  }
  return [total]
}

const scaledBy = (x: Spread, factor: number): Spread =>
  affine(x, new Float64Array(x.mean.length).fill(factor), new Float64Array(x.mean.length))

/** x + y or x - y, with broadcasting. */
export const addition = defineOp({
  opType: ['Add', 'Sub'],
  role: 'merge',
  inputs: ['x', 'y'],
  flow: { x: 'linear', y: 'linear' },
  inferTypes: (context) => {
    const { node, inputs } = context
    return [{ ...broadcastOfInputs(context)[0], contents: contentsOf(inputs, onContents[node.opType]!) }]
  },
  moments: momentsOfSum,
  gradient: {
    x: passed,
    y: (g) => (g.node.opType === 'Sub' ? g.build.op('Neg', [g.dy()]) : g.dy()),
  },
  samples: [
    `g (float32[N, 3, 4, 4] x, float32[N, 3, 4, 4] y) => () <float32[3, 1, 1] b = fill(2)> { a = Add(x, y) c = Sub(x, b) }`,
    `g (float32[2, 3, 4] x) => () <int64 i = {0}, int64 one = {1}, int64[1] zero = {0}> { s = Shape(x) d = Gather(s, i) e = Add(d, one) u = Unsqueeze(e, zero) r = ConstantOfShape(u) }`,
  ],
})

/** Sum of any number of values, with broadcasting. */
export const sum = defineOp({
  opType: 'Sum',
  role: 'merge',
  inputs: ['...x'],
  flow: { '...x': 'linear' },
  inferTypes: broadcastOfInputs,
  moments: momentsOfSum,
  gradient: { '...x': passed },
  samples: [`g (float32[N, 3] x, float32[3] y) => () { a = Sum(x, y, x) }`],
})

/** Mean of any number of values, with broadcasting. */
export const mean = defineOp({
  opType: 'Mean',
  role: 'merge',
  inputs: ['...x'],
  flow: { '...x': 'linear' },
  inferTypes: broadcastOfInputs,
  moments: (context) =>
    momentsOfSum(context).map((total) => total && scaledBy(total, 1 / context.node.inputs.length)),
  gradient: { '...x': (g) => g.build.mul(g.dy(), g.scalar(1 / g.node.inputs.length)) },
  samples: [`g (float32[N, 3] x, float32[3] y) => () { a = Mean(x, y) }`],
})

const productFlow = ([x, y]: readonly boolean[]): Flow => (x && y ? 'nonlinear' : 'scaling')

/** x * y, with broadcasting. */
export const multiplication = defineOp({
  opType: 'Mul',
  role: 'merge',
  inputs: ['x', 'y'],
  flow: ({ moving }) => ({ x: productFlow(moving), y: productFlow(moving) }),
  inferTypes: (context) => [
    { ...broadcastOfInputs(context)[0], contents: contentsOf(context.inputs, onContents.Mul!) },
  ],
  moments: ({ inputs, spreads: [a, b], assume }) => {
    const [x, y] = a && b ? [estimated(a, assume) ?? a, estimated(b, assume) ?? b] : [a, b]
    if (x && y) {
      const joint = combined(x, y, (a, b) => a * b)
      if (!joint) assume('gates are taken as independent of what they gate')
      return [joint ?? gated(x, y)]
    }
    const tensor = inputs[x ? 1 : 0]?.tensor
    const operand = (x ?? y) && tensor && constantOperand((x ?? y)!, tensor)
    if (!operand) return []
    return [affine(operand.x, operand.values, new Float64Array(operand.values.length))]
  },
  gradient: {
    x: (g) => g.build.mul(g.dy(), g.x(1)),
    y: (g) => g.build.mul(g.dy(), g.x(0)),
  },
  samples: [
    `g (float32[N, 3, 4, 4] x) => () <float32[1, 3, 1, 1] b = fill(2)> { a = Mul(x, b) c = Mul(x, x) }`,
  ],
})

/** x / y, with broadcasting; whole numbers truncate. */
export const division = defineOp({
  opType: 'Div',
  inputs: ['x', 'y'],
  flow: ({ moving: [, y] }) => ({ x: y ? 'nonlinear' : 'scaling', y: 'nonlinear' }),
  inferTypes: (context) => [
    {
      ...broadcastOfInputs(context)[0],
      contents: defined(contentsOf(context.inputs, divided(context.inputs))),
    },
  ],
  moments: ({ inputs, spreads: [x, y] }) => {
    const tensor = inputs[1]?.tensor
    if (x && tensor) {
      const operand = constantOperand(x, tensor)
      if (!operand) return []
      return [
        affine(
          operand.x,
          operand.values.map((v) => 1 / v),
          new Float64Array(operand.values.length),
        ),
      ]
    }
    return [x && y && combined(x, y, (a, b) => a / b)]
  },
  gradient: {
    x: (g) => g.build.div(g.dy(), g.x(1)),
    // -x / y^2
    y: (g) => g.build.op('Neg', [g.build.mul(g.dy(), g.build.div(g.y(), g.x(1)))]),
  },
  samples: [`g (float32[N, 3] x) => () <float32 two = {2}> { a = Div(x, two) b = Div(two, x) }`],
})

/** x to the power of y, and the remainder of x by y, with broadcasting; the result has the type of x. */
export const power = defineOp({
  opType: ['Pow', 'Mod'],
  inputs: ['x', 'y'],
  flow: { x: 'nonlinear', y: 'nonlinear' },
  inferTypes: (context) => [
    { dataType: context.inputs[0]?.dataType, shape: broadcastShapes(context.inputs.map((x) => x.shape)) },
  ],
  moments: ({ node, inputs, spreads: [x] }) => {
    const exponent = inputs[1]?.tensor
    if (node.opType !== 'Pow' || !x || exponent?.size !== 1) return []
    const p = exponent.toNumbers()[0]!
    return [applied(x, (value) => value ** p)]
  },
  gradient: ({ opType }) => {
    // The remainder is x - y trunc(x / y), or floor for whole numbers.
    if (opType === 'Mod') return null
    return {
      // y x^(y - 1)
      x: (g) => {
        const { mul, sub } = g.build
        if (g.inputs[1]!.tensor?.size === 1 && g.inputs[1]!.contents?.[0] === 2)
          return mul(g.dy(), mul(g.x(), g.scalar(2)))
        const y =
          g.typeOf(g.x(1)).dataType === g.typeOf(g.x()).dataType
            ? g.x(1)
            : g.build.op('CastLike', [g.x(1), g.x()])
        return mul(g.dy(), mul(y, g.build.op('Pow', [g.x(), sub(y, g.scalar(1))])))
      },
      // x^y log(x), and 0 where x is not positive
      y: (g) => {
        const { mul, op } = g.build
        const log = op('Log', [op('Where', [op('Greater', [g.x(), g.scalar(0)]), g.x(), g.scalar(1)])])
        return mul(g.dy(), mul(g.y(), log))
      },
    }
  },
  samples: [`g (float32[N, 3] x) => () <float32 two = {2}> { a = Pow(x, two) b = Mod <fmod = 1> (x, two) }`],
  gradientSamples: [
    `g (float32[N, 3] x, float32[3] p) => () { two = Constant <value = float32 {2}> () root = Constant <value = float32 {0.5}> () a = Exp(x) b = Pow(a, p) c = Pow(x, two) d = Pow(a, root) }`,
  ],
})

/** Largest or smallest of any number of values, element by element. */
export const extreme = defineOp({
  opType: ['Max', 'Min'],
  role: 'merge',
  inputs: ['...x'],
  flow: { '...x': 'nonlinear' },
  inferTypes: (context) => [
    {
      ...broadcastOfInputs(context)[0],
      contents: contentsOf(context.inputs, onContents[context.node.opType]!),
    },
  ],
  moments: ({ node, inputs, spreads }) => {
    const f = node.opType === 'Max' ? Math.max : Math.min
    if (spreads.length !== 2) return []
    const [x, y] = spreads
    if (x && y) {
      if (isQuiet(x) && isQuiet(y) && !(isClosed(x) && isClosed(y))) return [quiet(x.dims.length)]
      return [combined(x, y, f)]
    }
    const tensor = inputs[x ? 1 : 0]?.tensor
    const operand = (x ?? y) && tensor && constantOperand((x ?? y)!, tensor)
    return [operand && applied(operand.x, (value, i) => f(value, operand.values[i]!))]
  },
  gradient: {
    // To the inputs that have the largest or smallest value, in equal shares.
    '...x': (g, i) => {
      const { add, div, mul, op } = g.build
      const chosen = g.once('chosen', () => g.node.inputs.map((x) => asNumber(g, op('Equal', [x, g.y()]))))
      const count = g.once('count', () => chosen.reduce((sum, each) => add(sum, each)))
      return mul(g.dy(), chosen.length > 1 ? div(chosen[i]!, count) : chosen[i]!)
    },
  },
  samples: [`g (float32[N, 3] x, float32[3] y) => () { a = Max(x, y) b = Min(x, y, y) }`],
})

/** Comparisons and connections of truth values, with broadcasting. */
export const comparison = defineOp({
  opType: ['Equal', 'Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual', 'And', 'Or', 'Xor'],
  inputs: ['x', 'y'],
  flow: { x: 'nonlinear', y: 'nonlinear' },
  inferTypes: ({ node, inputs }) => {
    const compare: Readonly<Record<string, (a: number, b: number) => boolean>> = {
      Equal: (a, b) => a === b,
      Less: (a, b) => a < b,
      Greater: (a, b) => a > b,
      LessOrEqual: (a, b) => a <= b,
      GreaterOrEqual: (a, b) => a >= b,
      And: (a, b) => a !== 0 && b !== 0,
      Or: (a, b) => a !== 0 || b !== 0,
      Xor: (a, b) => (a !== 0) !== (b !== 0),
    }
    return [
      {
        dataType: 'bool',
        shape: broadcastShapes(inputs.map((input) => input.shape)),
        // A dimension is never negative, which is all that a name says.
        contents: contentsOf(
          inputs,
          (a, b) =>
            numeric((x, y) => Number(compare[node.opType]!(x, y)))(a, b) ??
            (node.opType === 'Equal' &&
            ((typeof a === 'string' && isNegative(b)) || (typeof b === 'string' && isNegative(a)))
              ? 0
              : undefined),
        ),
      },
    ]
  },
  gradient: { x: null, y: null },
  samples: [
    `g (float32[N, 3] x, float32[3] y, bool[2] p, bool[2] q) => () { a = Less(x, y) b = Equal(x, x) c = Greater(y, x) d = LessOrEqual(x, y) e = GreaterOrEqual(x, y) f = And(p, q) h = Or(p, q) i = Xor(p, q) }`,
  ],
})

const isNegative = (dim: Dim) => typeof dim === 'number' && dim < 0

/** Operations on the bits of whole numbers, with broadcasting. */
export const bits = defineOp({
  opType: ['BitShift', 'BitwiseAnd', 'BitwiseOr', 'BitwiseXor'],
  inputs: ['x', 'y'],
  flow: { x: 'nonlinear', y: 'nonlinear' },
  inferTypes: broadcastOfInputs,
  gradient: { x: null, y: null },
  samples: [
    `<opset_import: ["": 18]> g (uint32[2, 3] x, uint32[3] y) => () { a = BitShift <direction = "LEFT"> (x, y) b = BitwiseAnd(x, y) c = BitwiseOr(x, y) d = BitwiseXor(x, y) }`,
  ],
})

/** x where the condition holds, y elsewhere, with broadcasting. */
export const where = defineOp({
  opType: 'Where',
  role: 'merge',
  inputs: ['condition', 'x', 'y'],
  flow: ({ moving: [condition, x, y] }) => {
    const flow = condition ? 'nonlinear' : x && y ? 'linear' : 'scaling'
    return { condition: 'nonlinear', x: flow, y: flow }
  },
  inferTypes: ({ inputs }) => {
    const [condition, x, y] = inputs
    const shape = broadcastShapes(inputs.map((input) => input.shape))
    const same = [condition, x, y].every((input) => input?.contents?.length === condition?.contents?.length)
    return [
      {
        dataType: x?.dataType ?? y?.dataType,
        shape,
        contents: same
          ? condition?.contents?.map((c, i) =>
              c === undefined ? undefined : c !== 0 ? x!.contents![i] : y!.contents![i],
            )
          : undefined,
      },
    ]
  },
  gradient: {
    condition: null,
    x: (g) => g.build.op('Where', [g.x(), g.dy(), g.scalar(0)]),
    y: (g) => g.build.op('Where', [g.x(), g.scalar(0), g.dy()]),
  },
  samples: [`g (bool[N, 3] c, float32[3] x, float32[N, 1] y) => () { a = Where(c, x, y) }`],
})
