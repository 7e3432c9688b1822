import { UserError } from '../../ir/errors.ts'
import type { Layer, Value } from '../construction.ts'
import { blocksPerStage, defineNetwork, type NoiseAt, stageOf } from '../define-network.ts'
import {
  batchNorm,
  conv,
  flatten,
  globalAveragePool,
  linear,
  maxPool,
  relu,
  residual,
  sequential,
} from '../layers.ts'

interface Bottleneck {
  /** Channels inside. */
  readonly channels: number
  /** Groups of the 3x3 convolution. */
  readonly groups: number
  readonly outputs: number
  readonly stride: number
  /** Whether the shortcut is a convolution. */
  readonly projected: boolean
}

/** conv-BN-ReLU of 1x1 and 3x3, conv-BN of 1x1, the shortcut added, ReLU. */
function bottleneck({ channels, groups, outputs, stride, projected }: Bottleneck, noiseAt: NoiseAt): Layer {
  const sum = residual(
    {
      conv1: conv(channels, 1, { bias: false }),
      bn1: batchNorm(),
      relu1: relu,
      conv2: conv(channels, 3, { stride, padding: 1, groups, bias: false }),
      bn2: batchNorm(),
      relu2: relu,
      ...noiseAt('before-weight'),
      conv3: conv(outputs, 1, { bias: false }),
      ...noiseAt('before-norm'),
      bn3: batchNorm(),
    },
    projected ? sequential([conv(outputs, 1, { stride, bias: false }), batchNorm()]) : undefined,
  )
  return { ...sum, forward: (x: Value) => relu(sum.forward(x)) }
}

export interface ResNeXtSettings {
  /** 9n + 2. */
  readonly depth: number
  /** Groups of the 3x3 convolutions. */
  readonly cardinality: number
  /** Channels of each group in the first stage; each further stage has twice as many at half the size. */
  readonly groupWidth: number
  /** Channels of the stem (default 64); blocks have four times as many at their ends. */
  readonly width?: number
}

/**
 * Residual network with aggregated transformations for 32 x 32 images: three stages of n bottlenecks whose 3x3
 * convolution is grouped.
 * Source: Xie et al., arXiv:1611.05431.
 */
export const resNeXt = defineNetwork<ResNeXtSettings>({
  id: 'resnext',
  form: 'resnext-DEPTH-CARDINALITYxWIDTH[-STEM]',
  examples: ['resnext-20-4x16', 'resnext-29-8x64', 'resnext-11-4x8-16'],
  parse: (name) => {
    const [, ...numbers] = /^resnext-(\d+)-(\d+)x(\d+)(?:-(\d+))?$/.exec(name) ?? []
    if (numbers.length === 0) return undefined
    const [depth, cardinality, groupWidth] = numbers.map(Number) as [number, number, number]
    return { depth, cardinality, groupWidth, ...(numbers[3] ? { width: Number(numbers[3]) } : {}) }
  },
  input: () => [3, 32, 32],
  classes: () => 10,
  placements: ['before-norm', 'before-weight', 'head-before-pool', 'head-after-pool'],
  layers: ({ depth, cardinality: groups, groupWidth, width = 64 }, { classes, noiseAt }) => {
    const blocks = blocksPerStage('resnext', depth, 9, 2)
    const stage = (scale: number, stride: number) => {
      const [channels, outputs] = [scale * groups * groupWidth, scale * 4 * width]
      return stageOf(blocks, (isFirst) =>
        bottleneck({ channels, groups, outputs, stride: isFirst ? stride : 1, projected: isFirst }, noiseAt),
      )
    }
    return sequential({
      conv1: conv(width, 3, { padding: 1, bias: false }),
      bn1: batchNorm(),
      relu,
      layer1: stage(1, 1),
      layer2: stage(2, 2),
      layer3: stage(4, 2),
      ...noiseAt('head-before-pool'),
      pool: globalAveragePool,
      flatten,
      ...noiseAt('head-after-pool'),
      fc: linear(classes),
    })
  },
})

const depths: Readonly<Record<number, readonly number[]>> = {
  50: [3, 4, 6, 3],
  101: [3, 4, 23, 3],
  152: [3, 8, 36, 3],
}

export interface ResNetSettings {
  /** 50, 101 or 152. */
  readonly depth: number
  /** Channels of the stem (default 64). */
  readonly width?: number
}

/**
 * Residual network of bottlenecks for 224 x 224 images, with the stride in the 3x3 convolution as PyTorch has it.
 * Source: He et al., arXiv:1512.03385.
 */
export const resNet = defineNetwork<ResNetSettings>({
  id: 'resnet',
  form: 'resnet-DEPTH',
  examples: ['resnet-50'],
  parse: (name) => {
    const [, depth] = /^resnet-(\d+)$/.exec(name) ?? []
    return depth === undefined ? undefined : { depth: Number(depth) }
  },
  input: () => [3, 224, 224],
  classes: () => 1000,
  placements: ['before-norm', 'before-weight', 'head-before-pool', 'head-after-pool'],
  layers: ({ depth, width = 64 }, { classes, noiseAt }) => {
    const counts = depths[depth]
    if (!counts)
      throw new UserError(`resnet: there is no depth ${depth}; depths are ${Object.keys(depths).join(', ')}`)
    const stages = counts.map((blocks, i) => {
      const channels = width * 2 ** i
      return stageOf(blocks, (isFirst) => {
        const stride = isFirst && i > 0 ? 2 : 1
        return bottleneck({ channels, groups: 1, outputs: 4 * channels, stride, projected: isFirst }, noiseAt)
      })
    })
    return sequential({
      conv1: conv(width, 7, { stride: 2, padding: 3, bias: false }),
      bn1: batchNorm(),
      relu,
      maxpool: maxPool(3, { stride: 2, padding: 1 }),
      ...Object.fromEntries(stages.map((stage, i) => [`layer${i + 1}`, stage])),
      ...noiseAt('head-before-pool'),
      pool: globalAveragePool,
      flatten,
      ...noiseAt('head-after-pool'),
      fc: linear(classes),
    })
  },
})
