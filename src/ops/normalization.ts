import { type Dim, intAttribute } from '../ir/model.ts'
import { batchNormGradient } from './batch-norm-gradient.ts'
import { defineOp, type Known } from './define-op.ts'
import { isQuiet, quiet } from './moments/spread.ts'
import { groupNormGradient, layerNormGradient } from './sample-norm-gradient.ts'
import { axisOf, broadcastShapes, type Shape, sameAsInput } from './shapes.ts'

const vector = (channels: Dim): Shape => [channels]

/**
 * Normalisation of every channel by running statistics (or by the batch), then scale and shift:
 * y = scale (x - mean) / sqrt(variance + epsilon) + shift. Its moments are analysis/predict's own affair.
 */
export const batchNormalization = defineOp({
  opType: ['BatchNormalization'],
  role: 'norm',
  inputs: ['x', 'scale', 'shift', 'mean', 'variance'],
  flow: { x: 'nonlinear', scale: 'nonlinear', shift: 'nonlinear', mean: 'nonlinear', variance: 'nonlinear' },
  inferTypes: ({ inputs, node }) => {
    const { dataType, shape } = inputs[0] ?? {}
    const channels = inputs[1]?.shape?.[0] ?? shape?.[1]
    return node.outputs.map((_, i) =>
      i === 0 ? { dataType, shape } : { dataType: inputs[3]?.dataType ?? dataType, shape: vector(channels) },
    )
  },
  gradient: (node) =>
    intAttribute(node, 'training_mode') === 1
      ? { ...batchNormGradient, mean: null, variance: null }
      : batchNormGradient,
  samples: [
    `g (float32[N, 3, 4, 4] x) => () <float32[3] one = fill(1), float32[3] zero = fill(0)> { y = BatchNormalization(x, one, zero, zero, one) }`,
    `g (float32[N, 3] x) => () <float32[3] one = fill(1), float32[3] zero = fill(0)> { y = BatchNormalization(x, one, zero, zero, one) }`,
  ],
  gradientSamples: [
    `g (float32[N, 3, 4, 5] x) => () <float32[3] s = uniform(-2, 2, 1), float32[3] b = uniform(-1, 1, 2), float32[3] m = uniform(-1, 1, 3), float32[3] v = uniform(0.5, 2, 4), float32[3] n = uniform(-1, 1, 5), float32[3] u = uniform(0.5, 2, 6), float32[3] p = fill(3), float32[3] q = fill(4)> { y = BatchNormalization <epsilon = 1e-2> (x, s, b, m, v) z, z1, z2 = BatchNormalization <training_mode = 1, momentum = 0.0> (x, s, b, n, u) w, w1, w2 = BatchNormalization <training_mode = 1> (x, s, b, p, q) }`,
    `g (float32[9, 3] x) => () <float32[3] s = uniform(-2, 2, 1), float32[3] b = uniform(-1, 1, 2), float32[3] m = uniform(-1, 1, 3), float32[3] v = uniform(0.5, 2, 4), float32[3] n = uniform(-1, 1, 5), float32[3] u = uniform(0.5, 2, 6)> { y = BatchNormalization(x, s, b, m, v) z, z1, z2 = BatchNormalization <training_mode = 1, momentum = 0.0> (x, s, b, n, u) }`,
    `g (float32[N, 3, 7] x) => () <float32[3] s = uniform(-2, 2, 1), float32[3] b = uniform(-1, 1, 2), float32[3] m = uniform(-1, 1, 3), float32[3] v = uniform(0.5, 2, 4), float32[3] n = uniform(-1, 1, 5), float32[3] u = uniform(0.5, 2, 6)> { y = BatchNormalization(x, s, b, m, v) z, z1, z2 = BatchNormalization <training_mode = 1, momentum = 0.0> (x, s, b, n, u) }`,
  ],
})

/** Normalisation of every sample's channels or groups of channels by their own moments. */
export const channelNormalization = defineOp({
  opType: ['InstanceNormalization', 'GroupNormalization'],
  role: 'norm',
  inputs: ['x', 'scale', 'shift'],
  flow: { x: 'nonlinear', scale: 'nonlinear', shift: 'nonlinear' },
  inferTypes: sameAsInput,
  moments: ({ spreads: [x] }) => [x && isQuiet(x) ? quiet(x.dims.length) : undefined],
  gradient: groupNormGradient,
  samples: [
    `g (float32[N, 4, 4, 4] x) => () <float32[4] one = fill(1), float32[4] zero = fill(0)> { a = InstanceNormalization(x, one, zero) }`,
    `<opset_import: ["": 21]> g (float32[N, 4, 4, 4] x) => () <float32[4] one = fill(1), float32[4] zero = fill(0)> { a = GroupNormalization <num_groups = 2> (x, one, zero) }`,
  ],
  gradientSamples: [
    `g (float32[N, 4, 4, 5] x) => () <float32[4] s = uniform(-2, 2, 1), float32[4] b = uniform(-1, 1, 2)> { a = InstanceNormalization <epsilon = 1e-2> (x, s, b) }`,
    `g (float32[N, 4, 7] x) => () <float32[4] s = uniform(-2, 2, 1), float32[4] b = uniform(-1, 1, 2)> { a = InstanceNormalization(x, s, b) }`,
    `<opset_import: ["": 18]> g (float32[N, 4, 4, 3] x) => () <float32[2] s = uniform(-2, 2, 1), float32[2] b = uniform(-1, 1, 2)> { a = GroupNormalization <num_groups = 2> (x, s, b) }`,
    `<opset_import: ["": 21]> g (float32[N, 4, 4, 3] x) => () <float32[4] s = uniform(-2, 2, 1), float32[4] b = uniform(-1, 1, 2)> { a = GroupNormalization <num_groups = 2, epsilon = 1e-2, stash_type = 11> (x, s, b) }`,
  ],
})

/** Other normalisations of every sample, or of the neighbourhood of every element. */
export const sampleNormalization = defineOp({
  opType: ['LpNormalization', 'MeanVarianceNormalization', 'LRN', 'RMSNormalization'],
  role: 'norm',
  inputs: ['x', 'scale'],
  flow: { x: 'nonlinear', scale: 'nonlinear' },
  inferTypes: sameAsInput,
  moments: ({ spreads: [x] }) => [x && isQuiet(x) ? quiet(x.dims.length) : undefined],
  gradient: null,
  samples: [
    `g (float32[N, 4, 4, 4] x) => () { b = LpNormalization(x) c = MeanVarianceNormalization(x) d = LRN <size = 3> (x) }`,
    `<opset_import: ["": 23]> g (float32[N, 4] x) => () <float32[4] one = fill(1)> { a = RMSNormalization(x, one) }`,
  ],
})

/** Normalisation over the axes from `axis` on; also gives mean and inverse standard deviation. */
export const layerNormalization = defineOp({
  opType: 'LayerNormalization',
  role: 'norm',
  inputs: ['x', 'scale', 'shift'],
  flow: { x: 'nonlinear', scale: 'nonlinear', shift: 'nonlinear' },
  inferTypes: ({ node, inputs: [x] }) => {
    const shape = x?.shape
    const axis = shape && axisOf(intAttribute(node, 'axis') ?? -1, shape.length)
    const moments: Known = {
      dataType: 'float32',
      shape: axis === undefined ? undefined : shape?.map((dim, i) => (i < axis ? dim : 1)),
    }
    return node.outputs.map((_, i) => (i === 0 ? { dataType: x?.dataType, shape } : moments))
  },
  moments: ({ spreads: [x] }) => [x && isQuiet(x) ? quiet(x.dims.length) : undefined],
  gradient: layerNormGradient,
  samples: [
    `g (float32[N, 4, 8] x) => () <float32[8] one = fill(1), float32[8] zero = fill(0)> { a, m, s = LayerNormalization(x, one, zero) }`,
  ],
  gradientSamples: [
    `g (float32[N, 4, 8] x) => () <float32[8] one = uniform(-2, 2, 1), float32[8] zero = uniform(-1, 1, 2), float32[4, 8] two = uniform(-2, 2, 3)> { a = LayerNormalization(x, one, zero) b = LayerNormalization <axis = 1, epsilon = 1e-2> (x, two) }`,
  ],
})

/** Layer normalisations that ONNX Runtime fuses. */
export const fusedNormalization = defineOp({
  opType: ['SkipLayerNormalization', 'SkipSimplifiedLayerNormalization'],
  domain: 'com.microsoft',
  role: 'norm',
  inputs: ['x', 'skip', '...rest'],
  flow: { x: 'nonlinear', skip: 'nonlinear', '...rest': 'nonlinear' },
  inferTypes: ({ inputs: [x, skip] }) => [
    { dataType: x?.dataType, shape: broadcastShapes([x?.shape, skip?.shape]) },
  ],
  gradient: null,
  samples: [
    `<opset_import: ["": 17, "com.microsoft": 1]> g (float32[2, 4, 8] x, float32[2, 4, 8] s) => () <float32[8] one = fill(1), float32[8] zero = fill(0)> { a = com.microsoft.SkipLayerNormalization(x, s, one, zero) b = com.microsoft.SkipSimplifiedLayerNormalization(x, s, one) }`,
  ],
})
