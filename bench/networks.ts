import type { Model } from '../src/ir/model.ts'
import {
  batchNorm,
  flatten,
  globalAveragePool,
  linear,
  network,
  parseNetwork,
  relu,
} from '../src/models/index.ts'
import { constantly } from '../src/models/initializers.ts'

const dropout = { noise: { kind: 'dropout', value: 0.5 }, placement: 'before-norm' } as const

/** 224 x 224, 53 norms. */
export const resnet50 = (): Model => parseNetwork('resnet-50').build().model

/** 32 x 32, 163 norms, Dropout before the last of each block: what Li et al. (arXiv:1801.05134) call PreResNet-110. */
export const preresnet110 = (): Model => parseNetwork('preresnet-164-bottleneck').build(dropout).model

/** 32 x 32, 99 norms, Dropout before the last of each layer. */
export const densenet100 = (): Model => parseNetwork('densenet-bc-100-12').build(dropout).model

/** A stack of dense layers of about `sizeBytes`, to time reading and writing. */
export function wideMlp(sizeBytes: number): Model {
  const width = 4096
  const block = () => [linear(width, { bias: false, weights: constantly(0) }), batchNorm(), relu]
  const blocks = Array.from({ length: Math.ceil(sizeBytes / (width * width * 4)) }, block)
  const made = network((x) => x.through(globalAveragePool, flatten, ...blocks.flat()), { input: [3, 32, 32] })
  return made.model
}
