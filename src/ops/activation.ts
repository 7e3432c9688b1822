import type { GraphBuilder } from '../ir/builder.ts'
import { floatAttribute, intAttribute, type Node, stringAttribute } from '../ir/model.ts'
import { defineOp } from './define-op.ts'
import { type GradientContext, type InputGradient, positive } from './gradient.ts'
import { applied } from './moments/functions.ts'
import { entriesOf } from './moments/layout.ts'
import { erf, normalBelow, normalDensity } from './moments/normal.ts'
import { expanded, mergedDims, type Stored } from './moments/spread.ts'
import { definePointwise, normalInputs } from './pointwise.ts'
import { sameAsInput } from './shapes.ts'

const alpha = (node: Node, otherwise: number) => floatAttribute(node, 'alpha') ?? otherwise
const beta = (node: Node, otherwise: number) => floatAttribute(node, 'beta') ?? otherwise

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))
const softplus = (x: number) => (x > 30 ? x : Math.log1p(Math.exp(x)))
const clamp = (x: number) => Math.min(1, Math.max(0, x))
const gelu = (x: number) => (x / 2) * (1 + erf(x / Math.SQRT2))
const geluByTanh = (x: number) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

/** The gradient of an element-wise function with the derivative that `derivative` writes. */
const through = (g: GradientContext, derivative: (build: GraphBuilder) => string): string =>
  g.build.mul(g.dy(), derivative(g.build))

const isPositive = ({ build, x, scalar }: GradientContext) => build.op('Greater', [x(), scalar(0)])

/** factor times the step (0 or 1), plus a constant. */
const scaledStep = ({ build, scalar }: GradientContext, step: string, factor: number, plus: number): string =>
  build.add(build.mul(step, scalar(factor)), scalar(plus))

/** The gradient of a function that is `slope` x for positive x and has the derivative `below` elsewhere. */
const beyondZero = (g: GradientContext, below: (build: GraphBuilder) => string, slope = 1): string =>
  through(g, (build) => build.op('Where', [isPositive(g), g.scalar(slope), below(build)]))

/** s + a y (1 - s) with s = sigmoid(a x), y = x s. */
const swishGradient = (g: GradientContext, a: number): string =>
  through(g, (build) => {
    const { add, mul, sub } = build
    const s = build.op('Sigmoid', [a === 1 ? g.x() : mul(g.x(), g.scalar(a))])
    const rest = mul(g.y(), sub(g.scalar(1), s))
    return add(s, a === 1 ? rest : mul(rest, g.scalar(a)))
  })

function geluGradient(g: GradientContext, byTanh: boolean): string {
  return through(g, (build) => {
    const { add, mul, sub } = build
    const [x, half, one] = [g.x(), g.scalar(0.5), g.scalar(1)]
    const square = mul(x, x)
    if (byTanh) {
      // (1 + t) / 2 + x / 2 (1 - t^2) c (1 + 3 a x^2) with t = tanh(c (x + a x^3))
      const [c, a] = [Math.sqrt(2 / Math.PI), 0.044715]
      const inner = mul(x, add(mul(square, g.scalar(c * a)), g.scalar(c)))
      const t = build.op('Tanh', [inner])
      const slope = mul(sub(one, mul(t, t)), add(mul(square, g.scalar(3 * c * a)), g.scalar(c)))
      return mul(half, add(add(one, t), mul(x, slope)))
    }
    // P(x) + x p(x) with the standard normal distribution P and density p
    const below = mul(half, add(one, build.op('Erf', [mul(x, g.scalar(Math.SQRT1_2))])))
    const density = mul(build.op('Exp', [mul(square, g.scalar(-0.5))]), g.scalar(1 / Math.sqrt(2 * Math.PI)))
    return add(below, mul(x, density))
  })
}

/** max(x, 0). */
export const relu = definePointwise(
  { Relu: () => (x) => Math.max(0, x) },
  {
    flow: 'homogeneous',
    momentsBefore: (_node, stored) => beforeRelu(stored),
    gradient: { Relu: (g) => g.build.mul(g.dy(), positive(g, g.y())) },
    samples: [`g (float32[N, 3, 4, 4] x) => () { y = Relu(x) }`],
  },
)

/**
 * The normal variable, mean m and standard deviation s, whose positive part has the stored moments: with t = m / s,
 * E = s (t P + p) and E2 = s^2 ((t^2 + 1) P + t p), where P and p are the standard normal distribution and density.
 * E^2 / E2 grows with t, which gives t by bisection.
 */
function beforeRelu({ dims, mean, variance }: Stored): Stored | undefined {
  const [low, high] = [-5, 30]
  const before = { mean: new Float64Array(mean.length), variance: new Float64Array(mean.length) }
  for (const [i, first] of mean.entries()) {
    const second = variance[i]! + first * first
    if (!(first > 0) || !(variance[i]! > 0)) return undefined
    const share = (t: number) => {
      const [P, p] = [normalBelow(t), normalDensity(t)]
      return (t * P + p) ** 2 / ((t * t + 1) * P + t * p)
    }
    let [a, b] = [low, high]
    for (let step = 0; step < 60; step++) {
      const middle = (a + b) / 2
      if (share(middle) < (first * first) / second) a = middle
      else b = middle
    }
    const t = (a + b) / 2
    const s = first / (t * normalBelow(t) + normalDensity(t))
    before.mean[i] = s * t
    before.variance[i] = s * s
  }
  return { dims, ...before }
}

/** x where positive, alpha x elsewhere. */
export const leakyRelu = definePointwise(
  {
    LeakyRelu: (node) => {
      const slope = alpha(node, 0.01)
      return (x) => (x < 0 ? slope * x : x)
    },
  },
  {
    flow: 'homogeneous',
    // slope + (1 - slope) [x > 0]
    gradient: {
      LeakyRelu: (g) => {
        const slope = alpha(g.node, 0.01)
        return g.build.mul(g.dy(), scaledStep(g, positive(g, g.x()), 1 - slope, slope))
      },
    },
    samples: [`g (float32[2, 3] x) => () { y = LeakyRelu <alpha = 0.2> (x) }`],
  },
)

/** x where positive, slope x elsewhere, the slope learned per channel. */
export const pRelu = defineOp({
  opType: 'PRelu',
  role: 'activation',
  inputs: ['x', 'slope'],
  flow: ({ moving: [, slope] }) => ({ x: slope ? 'nonlinear' : 'homogeneous', slope: 'nonlinear' }),
  inferTypes: sameAsInput,
  moments: ({ spreads: [x], inputs: [, slope], assume }) => {
    assume(normalInputs)
    const dims = x && slope?.tensor && mergedDims(x.dims, slope.tensor.dims)
    if (!dims) return []
    const slopes = entriesOf(slope.tensor.toNumbers(), slope.tensor.dims, dims)
    return [applied(expanded(x, dims), (value, i) => (value < 0 ? slopes[i]! * value : value), assume)]
  },
  gradient: {
    x: (g) => {
      const { build } = g
      // 1 where x is positive, the slope elsewhere.
      return build.mul(g.dy(), build.op('Where', [isPositive(g), g.scalar(1), g.x(1)]))
    },
    slope: (g) => g.build.mul(g.dy(), g.build.op('Min', [g.x(), g.scalar(0)])),
  },
  samples: [`g (float32[N, 3, 4, 4] x) => () <float32[3, 1, 1] s = fill(0.2)> { y = PRelu(x, s) }`],
})

/** Activations with a curve or a threshold. */
export const activation = definePointwise(
  {
    Sigmoid: () => sigmoid,
    Tanh: () => Math.tanh,
    Softplus: () => softplus,
    Softsign: () => (x) => x / (1 + Math.abs(x)),
    HardSigmoid: (node) => {
      const [a, b] = [alpha(node, 0.2), beta(node, 0.5)]
      return (x) => clamp(a * x + b)
    },
    HardSwish: () => (x) => x * clamp(x / 6 + 0.5),
    Mish: () => (x) => x * Math.tanh(softplus(x)),
    Swish: (node) => {
      const a = alpha(node, 1)
      return (x) => x * sigmoid(a * x)
    },
    Elu: (node) => {
      const a = alpha(node, 1)
      return (x) => (x < 0 ? a * Math.expm1(x) : x)
    },
    Celu: (node) => {
      const a = alpha(node, 1)
      return (x) => (x < 0 ? a * Math.expm1(x / a) : x)
    },
    Selu: (node) => {
      const a = alpha(node, 1.6732631921768188)
      const g = floatAttribute(node, 'gamma') ?? 1.0507010221481323
      return (x) => (x <= 0 ? g * a * Math.expm1(x) : g * x)
    },
    ThresholdedRelu: (node) => {
      const a = alpha(node, 1)
      return (x) => (x > a ? x : 0)
    },
    Shrink: (node) => {
      const threshold = floatAttribute(node, 'lambd') ?? 0.5
      const bias = floatAttribute(node, 'bias') ?? 0
      return (x) => (x < -threshold ? x + bias : x > threshold ? x - bias : 0)
    },
    Gelu: (node) => (stringAttribute(node, 'approximate') === 'tanh' ? geluByTanh : gelu),
  },
  {
    gradient: {
      // y (1 - y)
      Sigmoid: (g) => through(g, ({ mul, sub }) => mul(g.y(), sub(g.scalar(1), g.y()))),
      // 1 - y^2
      Tanh: (g) => through(g, ({ mul, sub }) => sub(g.scalar(1), mul(g.y(), g.y()))),
      Softplus: (g) => through(g, (build) => build.op('Sigmoid', [g.x()])),
      // (1 - |y|)^2
      Softsign: (g) =>
        through(g, (build) => {
          const rest = build.sub(g.scalar(1), build.op('Abs', [g.y()]))
          return build.mul(rest, rest)
        }),
      // alpha where 0 < y < 1, which is where y (1 - y) is positive
      HardSigmoid: (g) =>
        through(g, ({ mul, sub }) =>
          mul(positive(g, mul(g.y(), sub(g.scalar(1), g.y()))), g.scalar(alpha(g.node, 0.2))),
        ),
      // h(x) + x h'(x) with h = clamp(x / 6 + 1/2)
      HardSwish: (g) =>
        through(g, (build) => {
          const { add, mul, sub } = build
          const h = build.op('Clip', [
            add(mul(g.x(), g.scalar(1 / 6)), g.scalar(0.5)),
            g.scalar(0),
            g.scalar(1),
          ])
          const inside = positive(g, mul(h, sub(g.scalar(1), h)))
          return add(h, mul(mul(g.x(), inside), g.scalar(1 / 6)))
        }),
      // t + x (1 - t^2) sigmoid(x) with t = tanh(softplus(x))
      Mish: (g) =>
        through(g, (build) => {
          const { add, mul, sub } = build
          const t = build.op('Tanh', [build.op('Softplus', [g.x()])])
          const slope = mul(sub(g.scalar(1), mul(t, t)), build.op('Sigmoid', [g.x()]))
          return add(t, mul(g.x(), slope))
        }),
      Swish: (g) => swishGradient(g, alpha(g.node, 1)),
      // x > 0: 1, else alpha exp(x) = y + alpha
      Elu: (g) => beyondZero(g, (build) => build.add(g.y(), g.scalar(alpha(g.node, 1)))),
      // exp(x / alpha) = y / alpha + 1
      Celu: (g) =>
        beyondZero(g, (build) => build.add(build.mul(g.y(), g.scalar(1 / alpha(g.node, 1))), g.scalar(1))),
      // x > 0: gamma, else gamma alpha exp(x) = y + gamma alpha
      Selu: (g) => {
        const gamma = floatAttribute(g.node, 'gamma') ?? 1.0507010221481323
        const saturated = gamma * alpha(g.node, 1.6732631921768188)
        return beyondZero(g, (build) => build.add(g.y(), g.scalar(saturated)), gamma)
      },
      ThresholdedRelu: (g) =>
        through(g, (build) => positive(g, build.sub(g.x(), g.scalar(alpha(g.node, 1))))),
      // 1 where |x| > lambd
      Shrink: (g) => {
        const threshold = floatAttribute(g.node, 'lambd') ?? 0.5
        return through(g, (build) => positive(g, build.sub(build.op('Abs', [g.x()]), g.scalar(threshold))))
      },
      Gelu: (g) => geluGradient(g, stringAttribute(g.node, 'approximate') === 'tanh'),
    },
    samples: [
      `g (float32[2, 3] x) => () { a = Sigmoid(x) b = Tanh(x) c = Softplus(x) d = Softsign(x) e = HardSigmoid(x) f = HardSwish(x) h = Elu(x) i = Celu(x) j = Selu(x) k = ThresholdedRelu(x) l = Shrink(x) }`,
      `<opset_import: ["": 20]> g (float32[2, 3] x) => () { a = Gelu(x) b = Mish(x) }`,
      `<ir_version: 11, opset_import: ["": 24]> g (float32[2, 3] x) => () { a = Swish <alpha = 1.5> (x) }`,
    ],
  },
)

/** Activations that ONNX Runtime knows under names of its own. */
export const contribActivation = definePointwise(
  {
    Gelu: () => gelu,
    FastGelu: () => geluByTanh,
    QuickGelu: (node) => {
      const a = alpha(node, 1.702)
      return (x) => x * sigmoid(a * x)
    },
  },
  {
    domain: 'com.microsoft',
    gradient: {
      Gelu: (g) => geluGradient(g, false),
      FastGelu: (g) => geluGradient(g, true),
      QuickGelu: (g) => swishGradient(g, alpha(g.node, 1.702)),
    },
    samples: [
      `<opset_import: ["": 17, "com.microsoft": 1]> g (float32[2, 3] x) => () { a = com.microsoft.Gelu(x) b = com.microsoft.QuickGelu(x) c = com.microsoft.FastGelu(x) }`,
    ],
  },
)

/** Gelu of x + bias, fused by ONNX Runtime. */
export const biasGelu = defineOp({
  opType: 'BiasGelu',
  domain: 'com.microsoft',
  role: 'activation',
  inputs: ['x', 'bias'],
  flow: { x: 'nonlinear', bias: 'nonlinear' },
  inferTypes: sameAsInput,
  gradient: null,
  samples: [
    `<opset_import: ["": 17, "com.microsoft": 1]> g (float32[2, 3] x) => () <float32[3] b = fill(1)> { a = com.microsoft.BiasGelu(x, b) }`,
  ],
})

const softmaxAxis = ({ node }: GradientContext) => intAttribute(node, 'axis') ?? -1

/** y (dy - sum(dy y)) */
const softmaxGradient: InputGradient = (g) => {
  const { mul, sub, reduceSum } = g.build
  return mul(g.y(), sub(g.dy(), reduceSum(mul(g.dy(), g.y()), [softmaxAxis(g)])))
}

/** dy - softmax(x) sum(dy) */
const logSoftmaxGradient: InputGradient = (g) => {
  const { mul, sub, reduceSum } = g.build
  return sub(g.dy(), mul(g.build.op('Exp', [g.y()]), reduceSum(g.dy(), [softmaxAxis(g)])))
}

/** Normalised exponentials along an axis (before opset 13 over all axes from there on). */
export const softmax = defineOp({
  opType: ['Softmax', 'LogSoftmax', 'Hardmax'],
  role: 'activation',
  inputs: ['x'],
  flow: { x: 'nonlinear' },
  inferTypes: sameAsInput,
  gradient: ({ opType }) => ({
    x: { Softmax: softmaxGradient, LogSoftmax: logSoftmaxGradient }[opType] ?? null,
  }),
  samples: [`g (float32[N, 5] x) => () { a = Softmax(x) b = LogSoftmax <axis = 1> (x) c = Hardmax(x) }`],
})

/** min(max(x, low), high); the bounds are inputs since opset 11, attributes before. */
export const clip = defineOp({
  opType: 'Clip',
  role: 'activation',
  inputs: ['x', 'low', 'high'],
  // Clipping at 0 below and nowhere above is a Relu, but files that mean Relu say so.
  flow: { x: 'nonlinear', low: 'nonlinear', high: 'nonlinear' },
  inferTypes: sameAsInput,
  moments: ({ node, inputs, spreads: [x], assume }) => {
    assume(normalInputs)
    const bound = (index: number, attribute: string, otherwise: number) =>
      node.inputs[index]
        ? inputs[index]?.tensor?.toNumbers()[0]
        : (floatAttribute(node, attribute) ?? otherwise)
    const low = bound(1, 'min', -Infinity)
    const high = bound(2, 'max', Infinity)
    if (!x || low === undefined || high === undefined) return []
    return [applied(x, (value) => Math.min(high, Math.max(low, value)), assume)]
  },
  gradient: {
    // Where clipping changes nothing, both bounds included.
    x: (g) => g.build.op('Where', [g.build.op('Equal', [g.x(), g.y()]), g.dy(), g.scalar(0)]),
    low: (g) => g.build.op('Where', [g.build.op('Less', [g.x(), g.x(1)]), g.dy(), g.scalar(0)]),
    high: (g) => g.build.op('Where', [g.build.op('Greater', [g.x(), g.x(2)]), g.dy(), g.scalar(0)]),
  },
  samples: [
    `g (float32[N, 5] x) => () <float32 low = {0}, float32 high = {6}> { a = Clip(x, low, high) b = Clip(x, _, high) }`,
    `<opset_import: ["": 9]> g (float32[N, 5] x) => () { a = Clip <min = 0.0, max = 6.0> (x) }`,
  ],
})
