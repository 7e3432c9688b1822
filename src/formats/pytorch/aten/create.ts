import { float } from '../../../ir/builder.ts'
import { Tensor } from '../../../ir/tensor.ts'
import { type Call, defineAten, type Emitter, operandOf, Untranslatable } from './define-aten.ts'

/** A tensor of one value in the shape of the output. */
function filled(call: Call, build: Emitter, value: number): string {
  const fill = { value: Tensor.of(call.outputType, [1], [value]) }
  const like = call.op.endsWith('_like') ? call.tensor('self') : undefined
  const shape = like ? build.op('Shape', [like]) : build.sizes(call.sizes('size'))
  return build.op('ConstantOfShape', [shape], fill)
}

export const constant = defineAten({
  target: [
    'zeros',
    'zeros_like',
    'new_zeros',
    'empty',
    'empty_like',
    'new_empty',
    'empty_permuted',
    'empty_strided',
    'ones',
    'ones_like',
    'new_ones',
    'zero',
  ],
  emit(call, build) {
    if (call.op === 'zero') return build.mul(call.tensor('self'), build.scalar(0, call.outputType))
    return filled(call, build, call.op.includes('ones') ? 1 : 0)
  },
})

export const full = defineAten({
  target: ['full', 'full_like', 'new_full'],
  emit: (call, build) => filled(call, build, call.number('fill_value')),
})

/** Written into a tensor in place. */
export const fill = defineAten({
  target: 'fill',
  emit(call, build) {
    const value = operandOf(build, call.operand('value'), call.outputType)
    return build.op('Expand', [value, build.op('Shape', [call.tensor('self')])])
  },
})

export const copy = defineAten({
  target: 'copy',
  emit: (call, build) =>
    build.op('Expand', [
      build.cast(call.tensor('src'), call.outputType),
      build.op('Shape', [call.tensor('self')]),
    ]),
})

export const scalarTensor = defineAten({
  target: 'scalar_tensor',
  emit: (call, build) => operandOf(build, call.operand('s'), call.outputType),
})

export const arange = defineAten({
  target: 'arange',
  emit(call, build) {
    const type = call.outputType
    const bound = (name: string, otherwise: number) =>
      operandOf(build, call.has(name) ? call.operand(name) : otherwise, type)
    return build.op('Range', [bound('start', 0), bound('end', 0), bound('step', 1)])
  },
})

/** Draws; a shape that no tensor has is made into one. */
export const random = defineAten({
  target: ['rand', 'rand_like', 'randn', 'randn_like'],
  emit(call, build) {
    const like = call.op.endsWith('_like') ? call.tensor('self') : filled(call, build, 0)
    return build.op(call.op.startsWith('randn') ? 'RandomNormalLike' : 'RandomUniformLike', [like])
  },
})

/** Draws that are written into a tensor in place. */
export const drawn = defineAten({
  target: ['uniform', 'normal', 'normal_functional', 'exponential'],
  emit(call, build) {
    const x = call.tensor('self')
    if (call.op === 'exponential') throw new Untranslatable('its draws are exponential')
    if (call.op === 'uniform')
      return build.op('RandomUniformLike', [x], {
        low: float(call.number('from', 0)),
        high: float(call.number('to', 1)),
      })
    return build.op('RandomNormalLike', [x], {
      mean: float(call.number('mean', 0)),
      scale: float(call.number('std', 1)),
    })
  },
})

/** 1 with probability p, else 0. */
export const bernoulli = defineAten({
  target: 'bernoulli',
  emit(call, build) {
    const x = call.tensor('self')
    const p = call.has('p') ? call.operand('p') : x
    const isKept = build.op('Less', [
      build.op('RandomUniformLike', [x]),
      operandOf(build, p, build.dataType(x)),
    ])
    return build.cast(isKept, call.outputType, 'bool')
  },
})
