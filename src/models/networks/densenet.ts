import type { Layer, Value } from '../construction.ts'
import { blocksPerStage, defineNetwork, type NoiseAt, stageOf } from '../define-network.ts'
import { constantly } from '../initializers.ts'
import {
  averagePool,
  batchNorm,
  concat,
  conv,
  flatten,
  globalAveragePool,
  linear,
  relu,
  sequential,
} from '../layers.ts'

export interface DenseNetSettings {
  /** 6n + 4. */
  readonly depth: number
  /** Channels that each layer adds. */
  readonly growth: number
}

/** BN-ReLU-conv of 1x1 to four times the growth, BN-ReLU-conv of 3x3 to the growth, beside the input. */
function denseLayer(growth: number, noiseAt: NoiseAt): Layer {
  const branch = sequential({
    bn1: batchNorm(),
    relu1: relu,
    conv1: conv(4 * growth, 1, { bias: false }),
    ...noiseAt('before-norm'),
    bn2: batchNorm(),
    relu2: relu,
    ...noiseAt('before-weight'),
    conv2: conv(growth, 3, { padding: 1, bias: false }),
  })
  return { ...branch, forward: (x: Value) => concat([x, branch.forward(x)]) }
}

/** BN-ReLU-conv of 1x1 to half the channels, average pooling to half the size. */
const transition = (channels: number): Layer =>
  sequential({
    bn: batchNorm(),
    relu,
    conv: conv(channels, 1, { bias: false }),
    pool: averagePool(2),
  })

/**
 * Densely connected network with bottlenecks and compression by half, for 32 x 32 images: three blocks of n layers.
 * Source: Huang et al., arXiv:1608.06993 ("DenseNet-BC").
 */
export const denseNet = defineNetwork<DenseNetSettings>({
  id: 'densenet-bc',
  form: 'densenet-bc-DEPTH-GROWTH',
  examples: ['densenet-bc-40-12', 'densenet-bc-100-12'],
  parse: (name) => {
    const [, depth, growth] = /^densenet-bc-(\d+)-(\d+)$/.exec(name) ?? []
    return depth === undefined ? undefined : { depth: Number(depth), growth: Number(growth) }
  },
  input: () => [3, 32, 32],
  classes: () => 10,
  placements: ['before-norm', 'before-weight', 'head-before-pool', 'head-after-pool'],
  layers: ({ depth, growth }, { classes, noiseAt }) => {
    const layers = blocksPerStage('densenet-bc', depth, 6, 4)
    const block = () => stageOf(layers, () => denseLayer(growth, noiseAt))
    const halved = (channels: number) => (channels + layers * growth) >> 1
    const second = halved(2 * growth)
    return sequential({
      conv1: conv(2 * growth, 3, { padding: 1, bias: false }),
      dense1: block(),
      trans1: transition(second),
      dense2: block(),
      trans2: transition(halved(second)),
      dense3: block(),
      bn: batchNorm(),
      relu,
      ...noiseAt('head-before-pool'),
      pool: globalAveragePool,
      flatten,
      ...noiseAt('head-after-pool'),
      fc: linear(classes, { biases: constantly(0) }),
    })
  },
})
