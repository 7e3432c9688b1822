import { UserError } from '../../ir/errors.ts'
import type { Layer } from '../construction.ts'
import { defineNetwork, type NoiseAt } from '../define-network.ts'
import {
  averagePool,
  batchNorm,
  conv,
  flatten,
  globalAveragePool,
  linear,
  maxPool,
  relu,
  sequential,
} from '../layers.ts'
import { sizesIn } from './mlp.ts'

export interface PlainSettings {
  /** How the size is halved behind each stage (default max). */
  readonly pool?: 'max' | 'average' | undefined
}

/**
 * Stages of 3x3 convolutions with batch normalisation and ReLU, each stage followed by pooling; `stages` lists the
 * channels of every convolution. Noise in the blocks stands in front of the last norm or convolution of each stage,
 * but never on the input itself.
 */
export function plainStages(
  stages: readonly (readonly number[])[],
  { pool = 'max' }: PlainSettings,
  { classes, noiseAt }: { readonly classes: number; readonly noiseAt: NoiseAt },
): Layer {
  const halve = pool === 'max' ? maxPool(2) : averagePool(2)
  const stage = (widths: readonly number[], index: number) => {
    const last = widths.length - 1
    const layers = widths.flatMap((channels, i) => [
      ...(i === last && index + i > 0 ? Object.entries(noiseAt('before-weight')) : []),
      [`conv${i + 1}`, conv(channels, 3, { padding: 1, bias: false })] as const,
      ...(i === last ? Object.entries(noiseAt('before-norm')) : []),
      [`bn${i + 1}`, batchNorm()] as const,
      [`relu${i + 1}`, relu] as const,
    ])
    return sequential(Object.fromEntries(layers))
  }
  return sequential({
    ...Object.fromEntries(
      stages.flatMap((widths, i) => {
        const isLast = i === stages.length - 1
        return [
          [`stage${i + 1}`, stage(widths, i)],
          ...(isLast ? Object.entries(noiseAt('head-before-pool')) : []),
          [`pool${i + 1}`, halve],
        ]
      }),
    ),
    pool: globalAveragePool,
    flatten,
    ...noiseAt('head-after-pool'),
    fc: linear(classes),
  })
}

const depths: Readonly<Record<number, readonly number[]>> = {
  11: [1, 1, 2, 2, 2],
  13: [2, 2, 2, 2, 2],
  16: [2, 2, 3, 3, 3],
  19: [2, 2, 4, 4, 4],
}

export interface VggSettings extends PlainSettings {
  /** Weight layers of the original, which had three dense ones: 11, 13, 16 or 19. */
  readonly depth: number
  /** Channels of the first stage (default 64); each further one has twice as many, at most eight times. */
  readonly width?: number
}

/**
 * VGG with batch normalisation and a single dense layer, as is usual for 32 x 32 images. Convolutions have no bias:
 * the norm behind them would take it out again.
 * Source: Simonyan and Zisserman, arXiv:1409.1556.
 */
export const vgg = defineNetwork<VggSettings>({
  id: 'vgg',
  form: 'vgg-DEPTH-bn',
  examples: ['vgg-11-bn', 'vgg-16-bn'],
  parse: (name) => {
    const [, depth] = /^vgg-(\d+)-bn$/.exec(name) ?? []
    return depth === undefined ? undefined : { depth: Number(depth) }
  },
  input: () => [3, 32, 32],
  classes: () => 10,
  placements: ['before-norm', 'before-weight', 'head-before-pool', 'head-after-pool'],
  layers: ({ depth, width = 64, pool }, context) => {
    const counts = depths[depth]
    if (!counts)
      throw new UserError(`vgg: there is no depth ${depth}; depths are ${Object.keys(depths).join(', ')}`)
    const stages = counts.map((count, i) => new Array<number>(count).fill(width * Math.min(8, 2 ** i)))
    return plainStages(stages, { pool }, context)
  },
})

export interface ConvNetSettings extends PlainSettings {
  /** Channels of each convolution. */
  readonly widths: readonly number[]
}

/** A small convolutional network: conv-BN-ReLU-pool for each width, global average pooling, one dense layer. */
export const convNet = defineNetwork<ConvNetSettings>({
  id: 'convnet',
  form: 'convnet-WIDTH-...',
  examples: ['convnet-16-32-64'],
  parse: (name) => {
    const widths = sizesIn(name, 'convnet')
    if (widths?.includes(0)) throw new UserError(`${name}: expected widths above 0, as in convnet-16-32-64`)
    return widths && { widths }
  },
  input: () => [3, 32, 32],
  classes: () => 10,
  placements: ['before-norm', 'before-weight', 'head-before-pool', 'head-after-pool'],
  layers: ({ widths, pool }, context) =>
    plainStages(
      widths.map((width) => [width]),
      { pool },
      context,
    ),
})
