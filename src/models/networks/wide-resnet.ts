import type { Layer, Value } from '../construction.ts'
import { blocksPerStage, defineNetwork, type NoiseAt, stageOf } from '../define-network.ts'
import { constantly } from '../initializers.ts'
import { add, batchNorm, conv, flatten, globalAveragePool, linear, relu, sequential } from '../layers.ts'

export interface WideResNetSettings {
  /** 6n + 4. */
  readonly depth: number
  /** How many times as wide as a residual network of 16, 32 and 64 channels. */
  readonly widen: number
  /** Channels of the stem, and of the first stage before it is widened (default 16). */
  readonly width?: number
}

/** BN-ReLU-conv-BN-ReLU-conv; where the shape changes, the shortcut is a convolution of what the first ReLU gives. */
function block(channels: number, stride: number, projected: boolean, noiseAt: NoiseAt): Layer {
  const norm = { bn1: batchNorm() }
  const branch = sequential({
    conv1: conv(channels, 3, { stride, padding: 1, bias: false }),
    ...noiseAt('before-norm'),
    bn2: batchNorm(),
    relu2: relu,
    ...noiseAt('before-weight'),
    conv2: conv(channels, 3, { padding: 1, bias: false }),
  })
  const shortcut = projected ? { shortcut: conv(channels, 1, { stride, bias: false }) } : undefined
  return {
    ...norm,
    ...branch,
    ...shortcut,
    forward: (x: Value) => {
      const active = x.through(norm.bn1, relu)
      return add(branch.forward(active), shortcut ? active.through(shortcut.shortcut) : x)
    },
  }
}

/**
 * Wide residual network for 32 x 32 images: three stages of n blocks with pre-activation.
 * Source: Zagoruyko and Komodakis, arXiv:1605.07146.
 */
export const wideResNet = defineNetwork<WideResNetSettings>({
  id: 'wrn',
  form: 'wrn-DEPTH-WIDEN',
  examples: ['wrn-16-4', 'wrn-28-10'],
  parse: (name) => {
    const [, depth, widen] = /^wrn-(\d+)-(\d+)$/.exec(name) ?? []
    return depth === undefined ? undefined : { depth: Number(depth), widen: Number(widen) }
  },
  input: () => [3, 32, 32],
  classes: () => 10,
  placements: ['before-norm', 'before-weight', 'head-before-pool', 'head-after-pool'],
  layers: ({ depth, widen, width = 16 }, { classes, noiseAt }) => {
    const blocks = blocksPerStage('wrn', depth, 6, 4)
    const stage = (channels: number, stride: number) =>
      stageOf(blocks, (isFirst) =>
        block(channels, isFirst ? stride : 1, isFirst && (stride > 1 || widen !== 1), noiseAt),
      )
    return sequential({
      conv1: conv(width, 3, { padding: 1, bias: false }),
      layer1: stage(width * widen, 1),
      layer2: stage(2 * width * widen, 2),
      layer3: stage(4 * width * widen, 2),
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
