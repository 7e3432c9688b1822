import type { GraphBuilder } from '../../ir/builder.ts'
import { intAttribute, intsAttribute, type Node } from '../../ir/model.ts'
import { elementCount, Tensor } from '../../ir/tensor.ts'
import { defineOp } from '../define-op.ts'
import { blockedDomain, shared } from './emit.ts'

/** Channels that a blocked value stores for runs of channels that each begin a block. */
export const storedChannels = (runs: readonly number[], block: number): number =>
  runs.reduce((sum, run) => sum + Math.ceil(run / block) * block, 0)

/**
 * Channels on one axis of a plain value, moved so that every run of them begins a block, with zeros behind each run
 * (`SpreadChannels`), or back (`PickChannels`). Values whose channels do not fill blocks are blocked that way.
 */
export const blockedChannels = defineOp({
  opType: ['SpreadChannels', 'PickChannels'],
  domain: blockedDomain,
  inputs: ['x'],
  flow: { x: 'layout' },
  inferTypes: ({ node, inputs: [x] }) => {
    const { axis, runs, block } = settingsOf(node)
    const size = node.opType === 'SpreadChannels' ? storedChannels(runs, block) : count(runs)
    return [{ dataType: x?.dataType, shape: x?.shape?.map((dim, i) => (i === axis ? size : dim)) }]
  },
  gradient: {
    x: ({ build, dy, node, outputs }) =>
      node.opType === 'SpreadChannels'
        ? pick(build, dy(), node)
        : spread(build, dy(), node, outputs[0]!.shape),
  },
  samples: [],
})

const count = (runs: readonly number[]) => runs.reduce((sum, run) => sum + run, 0)

const settingsOf = (node: Node) => ({
  axis: intAttribute(node, 'axis')!,
  runs: intsAttribute(node, 'runs')!,
  block: intAttribute(node, 'block')!,
})

export function expandChannels(build: GraphBuilder, node: Node, shape: readonly number[]): void {
  const x = node.inputs[0]!
  if (node.opType === 'SpreadChannels') spread(build, x, node, shape, node.outputs[0])
  else pick(build, x, node, node.outputs[0])
}

function spread(
  build: GraphBuilder,
  x: string,
  node: Node,
  shape: readonly number[],
  output?: string,
): string {
  const { axis, runs, block } = settingsOf(node)
  const places = shared(build, `spread ${runs} by ${block}`, () => {
    let channel = 0
    const sources = runs.flatMap((run) =>
      Array.from({ length: Math.ceil(run / block) * block }, (_, i) => (i < run ? channel++ : count(runs))),
    )
    return build.ints(sources, 'channels')
  })
  const dims = shape.map((size, i) => (i === axis ? 1 : size))
  const zeros = shared(build, `zeros ${dims}`, () =>
    build.constant(Tensor.float32(dims, new Float32Array(elementCount(dims)))),
  )
  return build.op('Gather', [build.op('Concat', [x, zeros], { axis }), places], { axis }, output)
}

function pick(build: GraphBuilder, x: string, node: Node, output?: string): string {
  const { axis, runs, block } = settingsOf(node)
  const places = shared(build, `pick ${runs} by ${block}`, () => {
    let first = 0
    const kept = runs.flatMap((run) => {
      const own = Array.from({ length: run }, (_, i) => first + i)
      first += Math.ceil(run / block) * block
      return own
    })
    return build.ints(kept, 'channels')
  })
  return build.op('Gather', [x, places], { axis }, output)
}
