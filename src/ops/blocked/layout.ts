import type { GraphBuilder } from '../../ir/builder.ts'
import type { Node } from '../../ir/model.ts'
import { defineOp } from '../define-op.ts'
import { sameAsInput } from '../shapes.ts'
import { blockedDomain, flat, fromBlocks, toBlocks } from './emit.ts'

/** A plain value of shape N x C x H x W (`Block`) brought into the blocked layout, or back (`Unblock`). */
export const blockedLayout = defineOp({
  opType: ['Block', 'Unblock'],
  domain: blockedDomain,
  inputs: ['x'],
  flow: { x: 'layout' },
  inferTypes: sameAsInput,
  gradient: {
    x: ({ build, dy, inputs: [x], node }) => {
      const moved = (node.opType === 'Block' ? fromBlocks : toBlocks)(build, dy(), flat(x!.shape))
      return build.reshape(moved, x!.shape)
    },
  },
  samples: [],
})

export function expandLayout(build: GraphBuilder, node: Node, shape: readonly number[]): void {
  const moved = (node.opType === 'Block' ? toBlocks : fromBlocks)(build, node.inputs[0]!, flat(shape))
  build.op('Reshape', [moved, build.ints(shape)], {}, node.outputs[0])
}
