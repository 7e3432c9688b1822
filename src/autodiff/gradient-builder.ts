import { knownOutputs, knownValues } from '../analysis/infer-types.ts'
import { GraphBuilder } from '../ir/builder.ts'
import type { Model, Node } from '../ir/model.ts'
import type { Tensor } from '../ir/tensor.ts'
import { knownTensor } from '../ops/constant.ts'
import type { Known } from '../ops/define-op.ts'

/** Writes nodes behind those of a model and knows the type of everything that it writes. */
export class GradientBuilder extends GraphBuilder {
  readonly opsets: Map<string, number>
  readonly #known: Map<string, Known>
  /** Layer that the nodes being written belong to. */
  label = ''

  constructor(model: Model) {
    super(model)
    this.opsets = new Map(model.opsets)
    this.#known = new Map(knownValues(model))
  }

  override keep(node: Node): void {
    // ONNX Runtime's own operators need their set to be imported.
    if (node.domain !== '' && !this.opsets.has(node.domain)) this.opsets.set(node.domain, 1)
    super.keep({ ...node, origin: node.origin ?? { label: `gradient of ${this.label}` } })
    this.learn(node)
  }

  /** Infers the types of a node's outputs that are not known yet. */
  learn(node: Node): void {
    const known = knownOutputs(node, this.opsets, this.#known)
    node.outputs.forEach((output, i) => {
      if (output && !this.#known.has(output)) this.#known.set(output, known[i] ?? {})
    })
  }

  override constant(tensor: Tensor, hint?: string): string {
    const name = super.constant(tensor, hint)
    this.#known.set(name, knownTensor(tensor))
    return name
  }

  knownOf(value: string): Known {
    return this.#known.get(value) ?? {}
  }
}
