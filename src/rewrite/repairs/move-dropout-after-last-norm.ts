import { UserError } from '../../ir/errors.ts'
import { labelOf, type Model, type Node } from '../../ir/model.ts'
import { usesOf } from '../../ir/uses.ts'
import { opOf } from '../../ops/index.ts'
import { defineRepair } from './define-repair.ts'
import { moveDropout } from './noise-nodes.ts'

/**
 * Takes away every noise that reaches a BatchNormalization and puts one Dropout behind the last: in front of the last
 * weight layer, or of the global pooling before it. Its ratio is the largest of those taken away unless one is given.
 *
 * Source: Li et al., arXiv:1801.05134, section 5 (strategy 1); the position before global pooling: Kim et al., "How to
 * Use Dropout Correctly on Residual Networks with Batch Normalization", UAI 2023.
 */
export const moveDropoutAfterLastNorm = defineRepair({
  id: 'move-dropout-after-last-norm',
  answers: ['dropout-before-batch-norm', 'dropout-upstream-of-batch-norm', 'max-pool-after-dropout'],
  preserves: 'inference',
  needs: 'training',
  parameter: 'ratio',
  plan: (context) =>
    moveDropout(context, () => {
      const { model, choices, facts } = context
      const heads = headsOf(
        facts.norms.map(({ node }) => node),
        model,
      )
      return choices.position === 'before-global-pool'
        ? [...new Set(heads.map((head) => poolBefore(head, model)))]
        : heads
    }),
})

/** The last weight layer of every output: the nearest upstream of it. Behind it there must be no norm. */
function headsOf(norms: readonly Node[], model: Model): Node[] {
  const uses = usesOf(model.graph)
  const isNorm = new Set(norms)
  const heads = new Set<Node>()
  for (const { name } of model.graph.outputs) {
    const seen = new Set<string>()
    const open = [name]
    for (let value = open.pop(); value !== undefined; value = open.pop()) {
      if (seen.has(value)) continue
      seen.add(value)
      const node = uses.producer(value)
      if (!node) continue
      if (isNorm.has(node))
        throw new UserError(
          `output '${name}' comes from the norm '${labelOf(node)}' with no weight layer behind it, so there is no place behind the last norm; replace the noise instead (--repair uout)`,
        )
      if (opOf(node).role === 'weight') heads.add(node)
      else open.push(...node.inputs.filter(Boolean))
    }
  }
  const seesNoNorm = [...heads].filter((head) => reaches(head, isNorm, model))
  if (heads.size === 0 || seesNoNorm.length > 0)
    throw new UserError(
      `there is no weight layer behind the last norm${seesNoNorm[0] ? ` ('${labelOf(seesNoNorm[0])}' feeds one)` : ''}; replace the noise instead (--repair uout)`,
    )
  return [...heads]
}

function reaches(from: Node, targets: ReadonlySet<Node>, model: Model): boolean {
  const uses = usesOf(model.graph)
  const seen = new Set<Node>([from])
  for (const node of seen) {
    if (targets.has(node)) return true
    for (const output of node.outputs) for (const consumer of uses.consumers(output)) seen.add(consumer)
  }
  return false
}

/** The pooling in front of a weight layer, nodes that only move elements between. */
function poolBefore(head: Node, model: Model): Node {
  const uses = usesOf(model.graph)
  let node = uses.producer(head.inputs[0] ?? '')
  while (node && opOf(node).role !== 'pool') {
    const isLayout =
      opOf(node).flow({ node, opset: 0, moving: node.inputs.map((_, i) => i === 0) })[0] === 'layout'
    if (!isLayout && node.opType !== 'ReduceMean') break
    if (node.opType === 'ReduceMean') return node
    node = uses.producer(node.inputs[0] ?? '')
  }
  if (node && opOf(node).role === 'pool') return node
  throw new UserError(
    `no pooling comes before the last weight layer '${labelOf(head)}'; leave out --position or give before-classifier`,
  )
}
