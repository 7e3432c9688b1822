import { blocksPerStage, defineNetwork, type NoiseAt, stageOf } from '../define-network.ts'
import { batchNorm, conv, flatten, globalAveragePool, linear, relu, residual, sequential } from '../layers.ts'

export interface PreResNetSettings {
  /** Weight layers: 6n + 2 of basic blocks, 9n + 2 of bottlenecks. */
  readonly depth: number
  /** Blocks of 1x1, 3x3 and 1x1 convolutions, the last four times as wide (default false: two 3x3). */
  readonly bottleneck?: boolean
  /** Channels of the first stage (default 16); each further one has twice as many at half the size. */
  readonly width?: number
}

interface Block {
  readonly channels: number
  readonly stride: number
  /** Whether the shortcut is a convolution. */
  readonly projected: boolean
}

const basic = ({ channels, stride, projected }: Block, noiseAt: NoiseAt) =>
  residual(
    {
      bn1: batchNorm(),
      relu1: relu,
      conv1: conv(channels, 3, { stride, padding: 1, bias: false }),
      ...noiseAt('before-norm'),
      bn2: batchNorm(),
      relu2: relu,
      ...noiseAt('before-weight'),
      conv2: conv(channels, 3, { padding: 1, bias: false }),
    },
    projected ? conv(channels, 1, { stride, bias: false }) : undefined,
  )

const bottleneckOf = ({ channels, stride, projected }: Block, noiseAt: NoiseAt) =>
  residual(
    {
      bn1: batchNorm(),
      relu1: relu,
      conv1: conv(channels, 1, { bias: false }),
      bn2: batchNorm(),
      relu2: relu,
      conv2: conv(channels, 3, { stride, padding: 1, bias: false }),
      ...noiseAt('before-norm'),
      bn3: batchNorm(),
      relu3: relu,
      ...noiseAt('before-weight'),
      conv3: conv(4 * channels, 1, { bias: false }),
    },
    projected ? conv(4 * channels, 1, { stride, bias: false }) : undefined,
  )

/**
 * Residual network with pre-activation, for 32 x 32 images: three stages of n blocks BN-ReLU-conv; where the shape
 * changes, the shortcut is a convolution of the block's input.
 * Source: He et al., arXiv:1603.05027. What Li et al. (arXiv:1801.05134) call PreResNet-110 has 54 bottlenecks, which
 * is `preresnet-164-bottleneck` here.
 */
export const preResNet = defineNetwork<PreResNetSettings>({
  id: 'preresnet',
  form: 'preresnet-DEPTH[-bottleneck]',
  examples: ['preresnet-20', 'preresnet-110', 'preresnet-164-bottleneck'],
  parse: (name) => {
    const [, depth, bottleneck] = /^preresnet-(\d+)(-bottleneck)?$/.exec(name) ?? []
    return depth === undefined ? undefined : { depth: Number(depth), bottleneck: bottleneck !== undefined }
  },
  input: () => [3, 32, 32],
  classes: () => 10,
  placements: ['before-norm', 'before-weight', 'head-before-pool', 'head-after-pool'],
  layers: ({ depth, bottleneck = false, width = 16 }, { classes, noiseAt }) => {
    const blocks = blocksPerStage('preresnet', depth, bottleneck ? 9 : 6, 2)
    const block = bottleneck ? bottleneckOf : basic
    const stage = (channels: number, stride: number) =>
      stageOf(blocks, (isFirst) =>
        block(
          { channels, stride: isFirst ? stride : 1, projected: isFirst && (stride > 1 || bottleneck) },
          noiseAt,
        ),
      )
    return sequential({
      conv1: conv(width, 3, { padding: 1, bias: false }),
      layer1: stage(width, 1),
      layer2: stage(2 * width, 2),
      layer3: stage(4 * width, 2),
      bn: batchNorm(),
      relu,
      ...noiseAt('head-before-pool'),
      pool: globalAveragePool,
      flatten,
      ...noiseAt('head-after-pool'),
      fc: linear(classes),
    })
  },
})
