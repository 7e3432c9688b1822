import { float } from '../../../ir/builder.ts'
import { type Call, defineAten, type Emitter } from './define-aten.ts'

const input = (call: Call) => call.tensor('self')

const scalarLike = (build: Emitter, x: string, value: number) => build.scalar(value, build.dataType(x))

/** Operators that ONNX has under another name. */
const same: Readonly<Record<string, string>> = {
  relu: 'Relu',
  sigmoid: 'Sigmoid',
  tanh: 'Tanh',
  mish: 'Mish',
}

export const plain = defineAten({
  target: Object.keys(same),
  emit: (call, build) => build.op(same[call.op]!, [input(call)]),
})

function clip(build: Emitter, x: string, min: number, max: number): string {
  return build.op('Clip', [x, scalarLike(build, x, min), scalarLike(build, x, max)])
}

export const relu6 = defineAten({ target: 'relu6', emit: (call, build) => clip(build, input(call), 0, 6) })

export const hardtanh = defineAten({
  target: 'hardtanh',
  emit: (call, build) => clip(build, input(call), call.number('min_val', -1), call.number('max_val', 1)),
})

export const leakyRelu = defineAten({
  target: 'leaky_relu',
  emit: (call, build) =>
    build.op('LeakyRelu', [input(call)], { alpha: float(call.number('negative_slope', 0.01)) }),
})

/** Its slope is random in training; at inference the mean of its bounds. */
export const rrelu = defineAten({
  target: ['rrelu', 'rrelu_with_noise', 'rrelu_with_noise_functional'],
  emit: (call, build) =>
    build.op('LeakyRelu', [input(call)], {
      alpha: float((call.number('lower', 1 / 8) + call.number('upper', 1 / 3)) / 2),
    }),
})

export const prelu = defineAten({
  target: ['prelu', '_prelu_kernel'],
  emit(call, build) {
    const [x, slope] = [input(call), call.tensor('weight')]
    const rank = build.rank(x)
    const isPerChannel = build.rank(slope) === 1 && rank > 2 && call.op === 'prelu'
    const shaped = isPerChannel
      ? build.reshape(
          slope,
          Array.from({ length: rank - 1 }, (_, i) => (i === 0 ? -1 : 1)),
        )
      : slope
    return build.op('PRelu', [x, shaped])
  },
})

export const elu = defineAten({
  target: 'elu',
  emit(call, build) {
    const x = input(call)
    const y = build.op('Elu', [x], { alpha: float(call.number('alpha', 1)) })
    const scale = call.number('scale', 1)
    return scale === 1 ? y : build.mul(y, scalarLike(build, x, scale))
  },
})

export const celu = defineAten({
  target: 'celu',
  emit: (call, build) => build.op('Celu', [input(call)], { alpha: float(call.number('alpha', 1)) }),
})

export const selu = defineAten({
  target: 'selu',
  emit: (call, build) =>
    build.op('Selu', [input(call)], { alpha: float(1.6732632423543772), gamma: float(1.0507009873554805) }),
})

export const gelu = defineAten({
  target: 'gelu',
  emit(call, build) {
    const x = input(call)
    const number = (value: number) => scalarLike(build, x, value)
    const half = build.mul(x, number(0.5))
    if (call.string('approximate', 'none') === 'tanh') {
      const cube = build.mul(build.mul(x, x), x)
      const inner = build.mul(build.add(x, build.mul(cube, number(0.044715))), number(Math.sqrt(2 / Math.PI)))
      return build.mul(half, build.add(build.op('Tanh', [inner]), number(1)))
    }
    const erf = build.op('Erf', [build.mul(x, number(Math.SQRT1_2))])
    return build.mul(half, build.add(erf, number(1)))
  },
})

export const silu = defineAten({
  target: 'silu',
  emit: (call, build) => build.mul(input(call), build.op('Sigmoid', [input(call)])),
})

export const hardsigmoid = defineAten({
  target: 'hardsigmoid',
  emit: (call, build) => build.op('HardSigmoid', [input(call)], { alpha: float(1 / 6), beta: float(0.5) }),
})

export const hardswish = defineAten({
  target: 'hardswish',
  emit: (call, build) => build.op('HardSwish', [input(call)]),
})

/** log(1 + exp(b x)) / b, and x where b x is large, which is the same to rounding. */
export const softplus = defineAten({
  target: 'softplus',
  emit(call, build) {
    const x = input(call)
    const beta = call.number('beta', 1)
    if (beta === 1) return build.op('Softplus', [x])
    const factor = scalarLike(build, x, beta)
    return build.div(build.op('Softplus', [build.mul(x, factor)]), factor)
  },
})

export const softsign = defineAten({
  target: 'softsign',
  emit: (call, build) => build.op('Softsign', [input(call)]),
})

export const logSigmoid = defineAten({
  target: ['log_sigmoid', 'log_sigmoid_forward'],
  emit: (call, build) => [build.op('Neg', [build.op('Softplus', [build.op('Neg', [input(call)])])])],
})

export const softshrink = defineAten({
  target: ['softshrink', 'hardshrink'],
  emit(call, build) {
    const lambda = float(call.number('lambd', 0.5))
    const bias = call.op === 'softshrink' ? lambda : float(0)
    return build.op('Shrink', [input(call)], { lambd: lambda, bias })
  },
})

export const threshold = defineAten({
  target: 'threshold',
  emit(call, build) {
    const x = input(call)
    const isAbove = build.op('Greater', [x, scalarLike(build, x, call.number('threshold'))])
    return build.op('Where', [isAbove, x, scalarLike(build, x, call.number('value'))])
  },
})

export const glu = defineAten({
  target: 'glu',
  emit(call, build) {
    const x = input(call)
    const axis = call.axis('dim', build.rank(x), -1)
    const [a, b] = build.several('Split', [x], 2, { axis, num_outputs: 2 }) as [string, string]
    return build.mul(a, build.op('Sigmoid', [b]))
  },
})

export const softmax = defineAten({
  target: ['softmax', '_softmax', '_safe_softmax', 'log_softmax', '_log_softmax'],
  emit(call, build) {
    const x = build.cast(input(call), call.outputType)
    return build.op(call.op.includes('log') ? 'LogSoftmax' : 'Softmax', [x], { axis: call.number('dim') })
  },
})
