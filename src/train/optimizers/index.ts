import type { OptimizerUnit } from '../define-optimizer.ts'
import { adam, adamw } from './adam.ts'
import { sgd } from './sgd.ts'

/** Every optimizer that varshift knows. */
export const optimizers: readonly OptimizerUnit[] = [sgd, adam, adamw]
