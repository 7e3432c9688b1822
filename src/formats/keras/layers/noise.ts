import { float } from '../../../ir/builder.ts'
import type { Dim } from '../../../ir/model.ts'
import { dataTypes, Tensor } from '../../../ir/tensor.ts'
import { noiseCall } from '../../../ops/noise-call.ts'
import type { LayerBuilder, LayerValue } from '../layer-builder.ts'
import { defineLayer, type LayerDefinition } from './define-layer.ts'

/**
 * Layers that are active in training only. They are written as exporters write them, switched on: a run in eval mode
 * switches them off.
 */

/** A mask of 0 and 1 / keep that is drawn anew along all axes but `shared`, times x. */
export function maskedOut(build: LayerBuilder, x: string, ratio: number, shared: readonly number[]): string {
  const mask = bernoulli(build, x, ratio, shared)
  return build.op('Mul', [x, build.op('Div', [mask, build.scalar(1 - ratio)])])
}

/** 1 with probability 1 - ratio, else 0, in the shape of x with size 1 along the axes `shared`. */
function bernoulli(build: LayerBuilder, x: string, ratio: number, shared: readonly number[]): string {
  const list = (values: readonly number[]) => build.integers(values)
  const like =
    shared.length === 0
      ? x
      : build.op('Slice', [x, list(shared.map(() => 0)), list(shared.map(() => 1)), list(shared)])
  const uniform = build.op('RandomUniformLike', [like], { low: float(0), high: float(1) })
  const kept = build.op('Less', [uniform, build.scalar(1 - ratio)])
  return build.op('Cast', [kept], { to: dataTypes.float32.onnx })
}

/** Dropout of single elements. */
export function dropout(build: LayerBuilder, x: string, ratio: number): string {
  const on = build.constant(Tensor.of('bool', [], [1]), 'training')
  return build.op('Dropout', [x, build.scalar(ratio), on])
}

const keeping = (value: LayerValue, name: string): LayerValue => ({ ...value, name })

const plainDropout = defineLayer({
  classNames: ['Dropout'],
  keepsMask: true,
  emit({ build, config, inputs: [x] }) {
    const ratio = rateOf(config.number('rate'), build)
    const noiseShape = config.raw('noise_shape')
    const shared = Array.isArray(noiseShape)
      ? noiseShape.flatMap((size, axis) =>
          size === 1 && x!.shape[axis] !== 1 ? [build.axisOf(x!, axis)] : [],
        )
      : []
    const name =
      shared.length === 0 ? dropout(build, x!.name, ratio) : maskedOut(build, x!.name, ratio, shared)
    return keeping(x!, name)
  },
})

const spatialDropout = defineLayer({
  classNames: ['SpatialDropout1D', 'SpatialDropout2D', 'SpatialDropout3D'],
  keepsMask: true,
  emit({ build, config, layer, inputs: [x] }) {
    const ratio = rateOf(config.number('rate'), build)
    const channelsFirst =
      layer.className !== 'SpatialDropout1D' && config.raw('data_format') === 'channels_first'
    const rank = x!.shape.length
    const positions = x!.shape.flatMap((_: Dim, axis) =>
      axis === 0 || axis === (channelsFirst ? 1 : rank - 1) ? [] : [build.axisOf(x!, axis)],
    )
    return keeping(
      x!,
      maskedOut(
        build,
        x!.name,
        ratio,
        positions.sort((a, b) => a - b),
      ),
    )
  },
})

/** Multiplies by Normal(1, rate / (1 - rate)). */
const gaussianDropout = defineLayer({
  classNames: ['GaussianDropout'],
  keepsMask: true,
  emit({ build, config, inputs: [x] }) {
    const rate = rateOf(config.number('rate'), build)
    const scale = Math.sqrt(rate / (1 - rate))
    const draw = build.op('RandomNormalLike', [x!.name], { mean: float(1), scale: float(scale) })
    return keeping(x!, build.op('Mul', [x!.name, draw]))
  },
})

const gaussianNoise = defineLayer({
  classNames: ['GaussianNoise'],
  keepsMask: true,
  emit({ build, config, inputs: [x] }) {
    const draw = build.op('RandomNormalLike', [x!.name], {
      mean: float(0),
      scale: float(config.number('stddev')),
    })
    return keeping(x!, build.op('Add', [x!.name, draw]))
  },
})

/** The value at which SELU saturates: -scale * alpha. */
const saturation = -1.0507009873554805 * 1.6732632423543772

const alphaDropout = defineLayer({
  classNames: ['AlphaDropout'],
  keepsMask: true,
  emit({ build, config, inputs: [x] }) {
    const ratio = rateOf(config.number('rate'), build)
    const a = 1 / Math.sqrt((1 - ratio) * (1 + ratio * saturation ** 2))
    const b = -a * saturation * ratio
    const mask = bernoulli(build, x!.name, ratio, [])
    const scale = build.op('Mul', [mask, build.scalar(a)])
    const shift = build.op('Add', [
      build.op('Mul', [mask, build.scalar(-a * saturation)]),
      build.scalar(b + a * saturation),
    ])
    return keeping(x!, build.op('Add', [build.op('Mul', [x!.name, scale]), shift]))
  },
})

/** One node that stands for the noise `kind`, switched on. */
function noiseNode(build: LayerBuilder, kind: string, x: string, parameter: number): string {
  const { opType, domain } = noiseCall(kind)!
  const on = build.constant(Tensor.of('bool', [], [1]), 'training')
  return build.node(opType, [x, build.scalar(parameter), on], new Map(), { domain })[0]!
}

/** The layer that `varshift layer keras` prints: y = x + x r, r ~ Uniform(-beta, beta). */
const uout = defineLayer({
  classNames: ['Uout'],
  keepsMask: true,
  emit({ build, config, inputs: [x] }) {
    const beta = config.number('beta', 0.1)
    if (!(beta >= 0 && beta <= 1)) build.refuse(`its beta is ${beta}, expected 0 to 1`)
    return keeping(x!, noiseNode(build, 'uout', x!.name, beta))
  },
})

/** The layer that `varshift layer keras` prints: Dropout that keeps mean and variance of every channel. */
const momentPreservingDropout = defineLayer({
  classNames: ['MomentPreservingDropout'],
  keepsMask: true,
  emit({ build, config, inputs, opaque }) {
    const x = inputs[0]!
    const rank = x.shape.length
    const ratio = rateOf(config.number('rate'), build)
    const axis = config.number('axis', -1)
    const last = axis === -1 || axis === rank - 1
    if (!last && axis !== 1) return opaque(`it keeps the moments along axis ${axis}`, x.shape)
    const value = last ? build.withChannelsSecond(x) : build.inKerasOrder(x)
    const name = noiseNode(build, 'moment-preserving', value, ratio)
    return { ...x, name, channelsSecond: last && rank > 2 }
  },
})

function rateOf(rate: number, build: LayerBuilder): number {
  if (rate >= 0 && rate < 1) return rate
  return build.refuse(`its rate is ${rate}, expected 0 up to 1`)
}

export const noiseLayers: readonly LayerDefinition[] = [
  plainDropout,
  spatialDropout,
  gaussianDropout,
  gaussianNoise,
  alphaDropout,
  uout,
  momentPreservingDropout,
]
