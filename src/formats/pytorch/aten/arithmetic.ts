import { type DataType, isFloat } from '../../../ir/tensor.ts'
import { type Call, commonType, defineAten, type Emitter, operandOf, Untranslatable } from './define-aten.ts'

const input = (call: Call) => call.tensor('self')

const floating = (build: Emitter, x: string, type: DataType) =>
  build.cast(x, isFloat(type) ? type : 'float32')

const unary: Readonly<Record<string, string>> = {
  neg: 'Neg',
  abs: 'Abs',
  exp: 'Exp',
  log: 'Log',
  sqrt: 'Sqrt',
  reciprocal: 'Reciprocal',
  sin: 'Sin',
  cos: 'Cos',
  tan: 'Tan',
  asin: 'Asin',
  acos: 'Acos',
  atan: 'Atan',
  sinh: 'Sinh',
  cosh: 'Cosh',
  floor: 'Floor',
  ceil: 'Ceil',
  round: 'Round',
  sign: 'Sign',
  erf: 'Erf',
}

export const elementwise = defineAten({
  target: Object.keys(unary),
  emit: (call, build) => build.op(unary[call.op]!, [build.cast(input(call), call.outputType)]),
})

export const square = defineAten({
  target: 'square',
  emit: (call, build) => build.mul(input(call), input(call)),
})

export const rsqrt = defineAten({
  target: 'rsqrt',
  emit: (call, build) =>
    build.op('Reciprocal', [build.op('Sqrt', [floating(build, input(call), call.outputType)])]),
})

export const logs = defineAten({
  target: ['log1p', 'log2', 'log10', 'expm1'],
  emit(call, build) {
    const x = floating(build, input(call), call.outputType)
    const number = (value: number) => build.scalar(value, call.outputType)
    if (call.op === 'expm1') return build.sub(build.op('Exp', [x]), number(1))
    if (call.op === 'log1p') return build.op('Log', [build.add(x, number(1))])
    return build.mul(build.op('Log', [x]), number(call.op === 'log2' ? Math.LOG2E : Math.LOG10E))
  },
})

/** Both operands in the type of the result. */
const operands = (call: Call, build: Emitter): [string, string] => [
  operandOf(build, call.operand('self'), call.outputType),
  operandOf(build, call.operand('other'), call.outputType),
]

const binary: Readonly<Record<string, string>> = {
  add: 'Add',
  sub: 'Sub',
  mul: 'Mul',
  minimum: 'Min',
  maximum: 'Max',
}

export const sums = defineAten({
  target: [...Object.keys(binary), 'rsub', 'subtract', 'multiply'],
  emit(call, build) {
    const [a, scaled] = operands(call, build)
    const alpha = call.number('alpha', 1)
    const b = alpha === 1 ? scaled : build.mul(scaled, build.scalar(alpha, call.outputType))
    if (call.op === 'rsub') return build.sub(b, a)
    const name = { subtract: 'sub', multiply: 'mul' }[call.op] ?? call.op
    if (call.outputType === 'bool') return build.op(name === 'add' ? 'Or' : 'And', [a, b])
    return build.op(binary[name]!, [a, b])
  },
})

export const div = defineAten({
  target: ['div', 'true_divide', 'divide', 'floor_divide'],
  emit(call, build) {
    const [a, b] = operands(call, build)
    const mode = call.op === 'floor_divide' ? 'floor' : call.string('rounding_mode', '')
    if (mode === '') return build.div(a, b)
    if (!isFloat(call.outputType)) {
      // Whole numbers are divided towards zero; a remainder of the other sign takes one off.
      const quotient = build.div(a, b)
      if (mode === 'trunc') return quotient
      const wide = (x: string) => build.cast(x, 'float64', call.outputType)
      return build.cast(build.op('Floor', [build.div(wide(a), wide(b))]), call.outputType, 'float64')
    }
    const quotient = build.div(a, b)
    if (mode === 'floor') return build.op('Floor', [quotient])
    return build.mul(build.op('Sign', [quotient]), build.op('Floor', [build.op('Abs', [quotient])]))
  },
})

export const remainder = defineAten({
  target: ['remainder', 'fmod'],
  emit(call, build) {
    const [a, b] = operands(call, build)
    if (call.op === 'fmod') return build.op('Mod', [a, b], { fmod: 1 })
    if (!isFloat(call.outputType)) return build.op('Mod', [a, b])
    return build.sub(a, build.mul(b, build.op('Floor', [build.div(a, b)])))
  },
})

export const pow = defineAten({
  target: ['pow', 'float_power'],
  emit(call, build) {
    const [base, exponent] = [call.operand('self'), call.operand('exponent')]
    if (exponent === 2 && typeof base === 'string') {
      const x = build.cast(base, call.outputType)
      return build.mul(x, x)
    }
    return build.op('Pow', [
      operandOf(build, base, call.outputType),
      operandOf(build, exponent, call.outputType),
    ])
  },
})

export const clamp = defineAten({
  target: ['clamp', 'clip', 'clamp_min', 'clamp_max'],
  emit(call, build) {
    const x = build.cast(call.tensor('self'), call.outputType)
    const bound = (name: string) =>
      call.has(name) ? operandOf(build, call.operand(name), call.outputType) : ''
    let y = x
    const [min, max] = [bound('min'), bound('max')]
    if (call.overload === 'Tensor') {
      if (min) y = build.op('Max', [y, min])
      if (max) y = build.op('Min', [y, max])
      return y
    }
    return build.op('Clip', max ? [y, min, max] : [y, min])
  },
})

export const addc = defineAten({
  target: ['addcmul', 'addcdiv'],
  emit(call, build) {
    const [a, b] = [call.tensor('tensor1'), call.tensor('tensor2')]
    const term = call.op === 'addcmul' ? build.mul(a, b) : build.div(a, b)
    const value = call.number('value', 1)
    return build.add(
      call.tensor('self'),
      value === 1 ? term : build.mul(term, build.scalar(value, call.outputType)),
    )
  },
})

export const lerp = defineAten({
  target: 'lerp',
  emit(call, build) {
    const [start, end] = [call.tensor('self'), call.tensor('end')]
    const weight = operandOf(build, call.operand('weight'), call.outputType)
    return build.add(start, build.mul(weight, build.sub(end, start)))
  },
})

const comparisons: Readonly<Record<string, string>> = {
  eq: 'Equal',
  ne: 'Equal',
  lt: 'Less',
  le: 'LessOrEqual',
  gt: 'Greater',
  ge: 'GreaterOrEqual',
}

export const compare = defineAten({
  target: Object.keys(comparisons),
  emit(call, build) {
    const [a, b] = [call.operand('self'), call.operand('other')]
    const type = commonType(build, a, b)
    const result = build.op(comparisons[call.op]!, [operandOf(build, a, type), operandOf(build, b, type)])
    return call.op === 'ne' ? build.op('Not', [result]) : result
  },
})

const logical: Readonly<Record<string, string>> = { and: 'And', or: 'Or', xor: 'Xor' }

export const logic = defineAten({
  target: [
    'logical_and',
    'logical_or',
    'logical_xor',
    'bitwise_and',
    'bitwise_or',
    'bitwise_xor',
    '__and__',
    '__or__',
  ],
  emit(call, build) {
    const name = logical[/and|xor|or/.exec(call.op)![0]]!
    const [a, b] = [
      operandOf(build, call.operand('self'), 'bool'),
      operandOf(build, call.operand('other'), 'bool'),
    ]
    if (call.outputType === 'bool') return build.op(name, [a, b])
    return build.op(`Bitwise${name}`, operands(call, build))
  },
})

export const not = defineAten({
  target: ['logical_not', 'bitwise_not'],
  emit: (call, build) => build.op('Not', [build.cast(call.tensor('self'), 'bool')]),
})

export const where = defineAten({
  target: ['where'],
  emit(call, build) {
    const condition = build.cast(call.tensor('condition'), 'bool')
    const [a, b] = operands(call, build)
    return build.op('Where', [condition, a, b])
  },
})

export const maskedFill = defineAten({
  target: 'masked_fill',
  emit: (call, build) =>
    build.op('Where', [
      build.cast(call.tensor('mask'), 'bool'),
      operandOf(build, call.operand('value'), call.outputType),
      call.tensor('self'),
    ]),
})

export const isnan = defineAten({
  target: ['isnan', 'isinf'],
  emit: (call, build) => build.op(call.op === 'isnan' ? 'IsNaN' : 'IsInf', [call.tensor('self')]),
})

export const nanToNum = defineAten({
  target: 'nan_to_num',
  emit(call, build) {
    const x = call.tensor('self')
    const type = build.dataType(x)
    // The largest float32; other types have bounds of their own.
    if (type !== 'float32') throw new Untranslatable(`it acts on ${type}`)
    const largest = 3.4028234663852886e38
    const number = (name: string, otherwise: number) => build.scalar(call.number(name, otherwise), type)
    const numbers = build.op('Where', [build.op('IsNaN', [x]), number('nan', 0), x])
    const low = build.op('Where', [
      build.op('IsInf', [x], { detect_positive: 0 }),
      number('neginf', -largest),
      numbers,
    ])
    return build.op('Where', [build.op('IsInf', [x], { detect_negative: 0 }), number('posinf', largest), low])
  },
})
