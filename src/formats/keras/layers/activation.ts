import { float } from '../../../ir/builder.ts'
import type { Config, Json } from '../config.ts'
import { isObject, Config as LayerConfig } from '../config.ts'
import type { LayerBuilder, LayerValue } from '../layer-builder.ts'
import { defineLayer, expectDims, type LayerCall, type LayerDefinition } from './define-layer.ts'

type Emit = (build: LayerBuilder, x: string, value: LayerValue) => string

const unary =
  (opType: string, attributes: Record<string, number> = {}): Emit =>
  (build, x) =>
    build.op(opType, [x], Object.fromEntries(Object.entries(attributes).map(([k, v]) => [k, float(v)])))

const alongLast =
  (opType: string): Emit =>
  (build, x, value) =>
    build.op(opType, [x], { axis: build.axisOf(value, -1) })

const timesItself =
  (gate: Emit): Emit =>
  (build, x, value) =>
    build.op('Mul', [x, gate(build, x, value)])

const clipped = (build: LayerBuilder, x: string, low: number, high: number) =>
  build.op('Clip', [x, build.scalar(low), build.scalar(high)])

const sigmoid = unary('Sigmoid')

/** Keras 3 took the definition that is now usual; before it was clip(0.2 x + 0.5, 0, 1). */
const hardSigmoid: Emit = (build, x) =>
  build.op('HardSigmoid', [x], { alpha: float(build.kerasMajor >= 3 ? 1 / 6 : 0.2), beta: float(0.5) })

/** x Phi(x), or its approximation by tanh. */
const gelu =
  (approximate: boolean): Emit =>
  (build, x) => {
    const times = (a: string, k: number) => build.op('Mul', [a, build.scalar(k)])
    if (approximate) {
      const cube = build.op('Mul', [build.op('Mul', [x, x]), x])
      const inner = times(build.op('Add', [x, times(cube, 0.044715)]), Math.sqrt(2 / Math.PI))
      const gate = build.op('Add', [build.op('Tanh', [inner]), build.scalar(1)])
      return times(build.op('Mul', [x, gate]), 0.5)
    }
    const gate = build.op('Add', [build.op('Erf', [times(x, Math.SQRT1_2)]), build.scalar(1)])
    return times(build.op('Mul', [x, gate]), 0.5)
  }

/** Shrinks towards zero what is farther from it than a half, and sets the rest to zero. */
const shrink =
  (bias: number): Emit =>
  (build, x) =>
    build.op('Shrink', [x], { lambd: float(0.5), bias: float(bias) })

/** Keras' built-in activations by their names. */
const functions: Readonly<Record<string, Emit>> = {
  linear: (_build, x) => x,
  relu: unary('Relu'),
  relu6: (build, x) => clipped(build, x, 0, 6),
  leaky_relu: unary('LeakyRelu', { alpha: 0.2 }),
  elu: unary('Elu', { alpha: 1 }),
  selu: unary('Selu'),
  celu: unary('Celu', { alpha: 1 }),
  gelu: gelu(false),
  sigmoid,
  hard_sigmoid: hardSigmoid,
  log_sigmoid: (build, x) => build.op('Neg', [build.op('Softplus', [build.op('Neg', [x])])]),
  tanh: unary('Tanh'),
  hard_tanh: (build, x) => clipped(build, x, -1, 1),
  tanh_shrink: (build, x) => build.op('Sub', [x, build.op('Tanh', [x])]),
  hard_shrink: shrink(0),
  soft_shrink: shrink(0.5),
  softplus: unary('Softplus'),
  softsign: unary('Softsign'),
  softmax: alongLast('Softmax'),
  log_softmax: alongLast('LogSoftmax'),
  silu: timesItself(sigmoid),
  swish: timesItself(sigmoid),
  hard_silu: timesItself(hardSigmoid),
  hard_swish: timesItself(hardSigmoid),
  mish: timesItself((build, x) => build.op('Tanh', [build.op('Softplus', [x])])),
  exponential: unary('Exp'),
  squareplus: (build, x) => {
    const root = build.op('Sqrt', [build.op('Add', [build.op('Mul', [x, x]), build.scalar(4)])])
    return build.op('Mul', [build.op('Add', [x, root]), build.scalar(0.5)])
  },
}

/** `relu`, or an object that names a function or a layer, or nothing. */
export function activationName(stated: Json | undefined): string {
  if (stated === undefined || stated === null) return 'linear'
  if (typeof stated === 'string') return stated.slice(stated.lastIndexOf('>') + 1)
  if (isObject(stated)) {
    if (stated.class_name === 'function' && typeof stated.config === 'string')
      return activationName(stated.config)
    if (typeof stated.class_name === 'string') return stated.class_name
  }
  return String(stated)
}

/** Applies the activation that `stated` names to the values of `value`, in whatever order its axes are. */
export function activated(call: LayerCall, value: LayerValue, stated: Json | undefined): LayerValue {
  const name = activationName(stated)
  const emit = Object.hasOwn(functions, name) ? functions[name] : undefined
  const { build } = call
  if (emit) return { ...value, name: emit(build, value.name, value) }
  const layer = Object.hasOwn(layerActivations, name) ? layerActivations[name] : undefined
  if (layer && isObject(stated)) {
    const config = isObject(stated.config) ? stated.config : {}
    return { ...value, name: layer(new LayerConfig(config, call.config.owner))(build, value.name, value) }
  }
  build.note(`its activation '${name}' is not known; the model can be checked but not run`)
  const [output = ''] = build.node(name.replace(/\W/g, '_'), [build.inKerasOrder(value)], new Map(), {
    domain: 'keras',
  })
  return { ...value, name: output, channelsSecond: false }
}

/** Activations that are layers without arrays, by their class. */
const layerActivations: Readonly<Record<string, (config: Config) => Emit>> = {
  ReLU: (config) => (build, x) => {
    const max = config.raw('max_value') === undefined ? undefined : config.number('max_value')
    const slope = config.number('negative_slope', 0)
    const threshold = config.number('threshold', 0)
    if (threshold === 0 && slope === 0)
      return max === undefined ? build.op('Relu', [x]) : clipped(build, x, 0, max)
    const below =
      threshold === 0
        ? build.op('LeakyRelu', [x], { alpha: float(slope) })
        : build.op('Where', [
            build.op('GreaterOrEqual', [x, build.scalar(threshold)]),
            x,
            build.op('Mul', [build.op('Sub', [x, build.scalar(threshold)]), build.scalar(slope)]),
          ])
    return max === undefined ? below : build.op('Min', [below, build.scalar(max)])
  },
  LeakyReLU: (config) => (build, x) =>
    build.op('LeakyRelu', [x], {
      alpha: float(config.number('negative_slope', config.number('alpha', 0.3))),
    }),
  ELU: (config) => unary('Elu', { alpha: config.number('alpha', 1) }),
  ThresholdedReLU: (config) => unary('ThresholdedRelu', { alpha: config.number('theta', 1) }),
  Softmax: (config) => (build, x, value) => {
    const axes = config.raw('axis') === undefined ? [-1] : config.integers('axis')
    if (axes.length !== 1) build.refuse('Softmax over several axes is not supported')
    return build.op('Softmax', [x], { axis: build.axisOf(value, axes[0]!) })
  },
}

const layerClasses = Object.entries(layerActivations).map(([className, emitWith]) =>
  defineLayer({
    classNames: [className],
    keepsMask: true,
    emit: ({ build, config, inputs: [x] }) => ({ ...x!, name: emitWith(config)(build, x!.name, x!) }),
  }),
)

const activation = defineLayer({
  classNames: ['Activation'],
  keepsMask: true,
  emit: (call) => activated(call, call.inputs[0]!, call.config.raw('activation')),
})

/** x, or alpha x below zero, with an alpha of its own for each position but along the shared axes. */
const prelu = defineLayer({
  classNames: ['PReLU'],
  keepsMask: true,
  weights: () => [{ name: 'alpha' }],
  emit(call) {
    const { build, weight, inputs } = call
    const x = inputs[0]!
    const alpha = weight('alpha')
    const rank = x.shape.length
    if (alpha.dims.length !== rank - 1) expectDims(call, alpha, x.shape.slice(1))
    const axes = alpha.dims.map((_, axis) => axis)
    const slope = build.weight(alpha, x.channelsSecond ? { axes: [axes.at(-1)!, ...axes.slice(0, -1)] } : {})
    return { ...x, name: build.op('PRelu', [x.name, slope]) }
  },
})

export const activationLayers: readonly LayerDefinition[] = [activation, prelu, ...layerClasses]
