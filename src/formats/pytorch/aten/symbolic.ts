import { type Call, defineAten, type Emitter } from './define-aten.ts'

/** Arithmetic of sizes: scalars of int64. */

export const symSize = defineAten({
  target: 'sym_size',
  emit(call, build) {
    const x = call.tensor('self')
    const axis = call.axis('dim', build.rank(x))
    const size = build.op('Shape', [x], { start: axis, end: axis + 1 })
    return build.op('Squeeze', [size, build.ints([0])])
  },
})

export const symNumel = defineAten({
  target: 'sym_numel',
  emit: (call, build) => build.op('Size', [call.tensor('self')]),
})

const scalar = (build: Emitter, x: number | string) => (typeof x === 'number' ? build.int(x) : x)

const operands = (call: Call, build: Emitter) =>
  (['a', 'b'] as const).map((name) => scalar(build, call.operand(name)))

const opTypes: Readonly<Record<string, string>> = {
  'operator.add': 'Add',
  'operator.sub': 'Sub',
  'operator.mul': 'Mul',
  // Sizes are not negative, so that dividing towards zero is dividing down.
  'operator.floordiv': 'Div',
  'operator.mod': 'Mod',
  'operator.sym_max': 'Max',
  'operator.sym_min': 'Min',
}

export const arithmetic = defineAten({
  target: Object.keys(opTypes),
  emit: (call, build) => build.op(opTypes[call.op]!, operands(call, build)),
})

export const negative = defineAten({
  target: 'operator.neg',
  emit: (call, build) => build.op('Neg', [scalar(build, call.operand('a'))]),
})
