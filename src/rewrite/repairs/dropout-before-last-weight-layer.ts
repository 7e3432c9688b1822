import { UserError } from '../../ir/errors.ts'
import { labelOf, type Model, type Node } from '../../ir/model.ts'
import { type Uses, usesOf } from '../../ir/uses.ts'
import { opOf } from '../../ops/index.ts'
import { defineRepair } from './define-repair.ts'
import { moveDropout } from './noise-nodes.ts'

/**
 * Takes away every noise that reaches a BatchNormalization and puts one Dropout into each residual branch: behind its
 * last norm, in front of its last weight layer. A branch is what lies between a split and the Add that joins it again.
 * Its ratio is the largest of those taken away unless one is given. Norms of later blocks still see some of that noise,
 * through the sums.
 *
 * Source: Kim et al., "How to Use Dropout Correctly on Residual Networks with Batch Normalization", UAI 2023.
 */
export const dropoutBeforeLastWeightLayer = defineRepair({
  id: 'dropout-before-last-weight-layer',
  answers: ['dropout-before-batch-norm', 'dropout-upstream-of-batch-norm', 'max-pool-after-dropout'],
  preserves: 'inference',
  needs: 'training',
  parameter: 'ratio',
  plan: (context) =>
    moveDropout(context, () => {
      const heads = headsOfBranches(context.model)
      if (heads.length > 0) return heads
      throw new UserError(
        'the model has no residual branch with a norm (a split that an Add joins again); use --repair move-dropout-after-last-norm',
      )
    }),
})

/** The last weight layer of every residual branch that has a norm. Throws a UserError for a branch that ends in one. */
function headsOfBranches(model: Model): Node[] {
  const uses = usesOf(model.graph)
  const heads = new Set<Node>()
  for (const join of model.graph.nodes) {
    if (join.opType !== 'Add' && join.opType !== 'Sum') continue
    const sides = join.inputs.map((input) => upstream(input, uses))
    for (const [i, side] of sides.entries()) {
      const others = new Set(sides.flatMap((other, j) => (j === i ? [] : [...other])))
      const branch = new Set([...side].filter((node) => !others.has(node)))
      // A sum with a constant, or of what was never one, splits nothing.
      const isSplit = [...side].some((node) => others.has(node)) || readsOneInput(sides, model)
      if (isSplit && [...branch].some(isNorm)) heads.add(headOf(join.inputs[i]!, branch, join, uses))
    }
  }
  return [...heads]
}

const isNorm = (node: Node): boolean => opOf(node).role === 'norm'

/** Whether the sides have an input of the graph in common. */
function readsOneInput(sides: readonly ReadonlySet<Node>[], model: Model): boolean {
  const read = sides.map((side) => new Set([...side].flatMap(({ inputs }) => inputs)))
  return model.graph.inputs.some(
    ({ name }) => !model.graph.initializers.has(name) && read.filter((names) => names.has(name)).length > 1,
  )
}

/** The nodes that a value is computed by. */
function upstream(value: string, uses: Uses): Set<Node> {
  const found = new Set<Node>()
  const open = [value]
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const node = uses.producer(name)
    if (!node || found.has(node)) continue
    found.add(node)
    open.push(...node.inputs.filter(Boolean))
  }
  return found
}

/** The weight layer nearest to the end of the branch. */
function headOf(end: string, branch: ReadonlySet<Node>, join: Node, uses: Uses): Node {
  let value = end
  for (;;) {
    const node = uses.producer(value)
    if (!node || !branch.has(node))
      throw new UserError(
        `the residual branch that '${labelOf(join)}' adds has no weight layer behind its last norm; use --repair move-dropout-after-last-norm`,
      )
    if (isNorm(node))
      throw new UserError(
        `the residual branch that '${labelOf(join)}' adds ends in the norm '${labelOf(node)}', so there is no place behind its last norm and before a weight layer (post-activation networks); use --repair move-dropout-after-last-norm`,
      )
    if (opOf(node).role === 'weight') {
      const behindNorm = [...upstream(node.inputs[0]!, uses)].some((n) => branch.has(n) && isNorm(n))
      if (behindNorm) return node
      throw new UserError(
        `the last weight layer '${labelOf(node)}' of the residual branch that '${labelOf(join)}' adds has no norm before it in the branch; use --repair move-dropout-after-last-norm`,
      )
    }
    const inside = node.inputs.find((input) => {
      const producer = uses.producer(input)
      return producer !== undefined && branch.has(producer)
    })
    value = inside ?? ''
  }
}
