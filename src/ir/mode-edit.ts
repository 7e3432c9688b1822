import { namesIn } from './builder.ts'
import { UserError } from './errors.ts'
import { isOnnxDomain, keyOf, labelOf, type Model, type Node, opsetOf } from './model.ts'
import { Tensor } from './tensor.ts'

/** Has a BatchNormalization normalise by what is stored, or a noise of one node leave its input as it is. */
export interface SetEvalMode {
  readonly kind: 'set-eval-mode'
  /** Key of the node. */
  readonly node: string
}

/** What changes of a node; all else of it stays. */
export interface ModeChange {
  /** Integer attributes that are set. */
  readonly attributes: Readonly<Record<string, number>>
  /** Only so many outputs are left. */
  readonly outputs?: number
  /** Inputs that get another name. */
  readonly inputs?: ReadonlyMap<number, string>
}

export interface ModeChanges {
  readonly nodes: ReadonlyMap<string, ModeChange>
  /** Name and contents of a new initializer that switches noises off, where one is needed. */
  readonly off: readonly [name: string, tensor: Tensor] | undefined
}

/** Of Dropout, and of the noises that are written like it: data, parameter, training mode. */
const switchInput = 2

/**
 * What the edits do. BatchNormalization: `training_mode` since opset 14, before that the number of outputs, before opset
 * 7 `is_test` as well. Dropout: an input since opset 12, `is_test` before opset 7.
 * Throws a UserError for a node that has no such switch.
 */
export function modeChanges(model: Model, edits: readonly SetEvalMode[]): ModeChanges {
  if (edits.length === 0) return { nodes: new Map(), off: undefined }
  const found = new Map(model.graph.nodes.map((node) => [keyOf(node), node]))
  const taken = namesIn(model.graph)
  let off = 'training_mode__off'
  while (taken.has(off)) off = `${off}_`
  const nodes = new Map(
    edits.map(({ node: key }) => {
      const node = found.get(key)
      if (!node) throw new UserError(`cannot edit node '${key}': the model has no node with that output`)
      return [key, modeChange(node, opsetOf(model), off)]
    }),
  )
  const isUsed = [...nodes.values()].some(({ inputs }) => inputs)
  return { nodes, off: isUsed ? [off, Tensor.of('bool', [], [0])] : undefined }
}

function modeChange(node: Node, opset: number, off: string): ModeChange {
  const isOnnx = isOnnxDomain(node.domain)
  if (isOnnx && node.opType === 'BatchNormalization')
    return { outputs: 1, attributes: opset >= 14 ? { training_mode: 0 } : opset < 7 ? { is_test: 1 } : {} }
  if (isOnnx && node.opType === 'Dropout' && opset < 7) return { attributes: { is_test: 1 } }
  if (node.inputs[switchInput]) return { attributes: {}, inputs: new Map([[switchInput, off]]) }
  throw new UserError(
    `'${labelOf(node)}' (${node.opType}) has no switch between train and eval mode; export the model in eval mode`,
  )
}

/** The node with the change. */
export const withMode = (node: Node, { attributes, inputs, outputs }: ModeChange): Node => ({
  ...node,
  inputs: node.inputs.map((input, i) => inputs?.get(i) ?? input),
  outputs: node.outputs.slice(0, outputs),
  attributes: new Map([
    ...node.attributes,
    ...Object.entries(attributes).map(([name, value]) => [name, { type: 'int', value }] as const),
  ]),
})
