import type { GraphBuilder } from '../../ir/builder.ts'
import type { Node } from '../../ir/model.ts'
import { expandChannels } from './channels.ts'
import { expandBlockWeight, expandConv } from './conv.ts'
import { blockedDomain } from './emit.ts'
import { expandLayout } from './layout.ts'
import { expandBatchNorm } from './norm.ts'
import { expandGlobalPool, expandPool } from './pool.ts'

export { blockedChannels, storedChannels } from './channels.ts'
export { blockedConv, blockedConvProblem, blockWeight } from './conv.ts'
export { blockedDomain, nchwcDomain } from './emit.ts'
export { blockedLayout } from './layout.ts'
export { nchwcOperators } from './nchwc.ts'
export { blockedBatchNorm } from './norm.ts'
export { blockedGlobalPool, blockedPool } from './pool.ts'

const expansions: Readonly<
  Record<string, (build: GraphBuilder, node: Node, shape: readonly number[]) => void>
> = {
  AveragePool: expandPool,
  BatchNormalization: expandBatchNorm,
  Block: expandLayout,
  BlockWeight: expandBlockWeight,
  Conv: expandConv,
  GlobalAveragePool: expandGlobalPool,
  MaxPool: expandPool,
  PickChannels: expandChannels,
  SpreadChannels: expandChannels,
  Unblock: expandLayout,
}

/** Writes what a node of the blocked layout stands for. `shape` is that of its first input. */
export function expandBlocked(build: GraphBuilder, node: Node, shape: readonly number[]): void {
  const expand = node.domain === blockedDomain ? expansions[node.opType] : undefined
  if (!expand) throw new RangeError(`no blocked operator ${node.opType}`)
  expand(build, node, shape)
}
