import type { LossUnit } from '../define-loss.ts'
import { binaryCrossEntropy, binaryCrossEntropyOfProbabilities } from './binary-cross-entropy.ts'
import { crossEntropy } from './cross-entropy.ts'
import { huber } from './huber.ts'
import { klSparsity } from './kl-sparsity.ts'
import { l1 } from './l1.ts'
import { mse } from './mse.ts'

/** Every loss that varshift knows. */
export const losses: readonly LossUnit[] = [
  crossEntropy,
  mse,
  l1,
  huber,
  binaryCrossEntropy,
  binaryCrossEntropyOfProbabilities,
  klSparsity,
]
