import { type Dim, type Graph, isOnnxDomain, type Model, type Node, type TensorType } from '../ir/model.ts'
import { knownTensor } from '../ops/constant.ts'
import type { Known } from '../ops/define-op.ts'
import { opOf } from '../ops/index.ts'
import { maxContents } from '../ops/shapes.ts'

const memo = new WeakMap<Model, ReadonlyMap<string, Known>>()

/**
 * What is known of every value of the model's main graph without running it: element type, shape (sizes that depend on
 * the input keep their names), and the elements of small tensors that shapes are computed with.
 */
export function knownValues(model: Model): ReadonlyMap<string, Known> {
  const done = memo.get(model)
  if (done) return done
  const values = new Inference(model.opsets).graph(model.graph, [], new Map())
  memo.set(model, values)
  return values
}

/** Element type and shape of every value of the main graph, as far as they can be told. */
export const typesOf = (model: Model): ReadonlyMap<string, TensorType> => knownValues(model)

/** What is known of the outputs of `node`, given what is known of the values that it reads. */
export const knownOutputs = (
  node: Node,
  opsets: ReadonlyMap<string, number>,
  values: ReadonlyMap<string, Known>,
): readonly Known[] => new Inference(opsets).node(node, values)

class Inference {
  readonly #opsets: ReadonlyMap<string, number>

  constructor(opsets: ReadonlyMap<string, number>) {
    this.#opsets = opsets
  }

  /** Known values of a graph fed with `inputs`, inside a graph whose values are `outer`. */
  graph(graph: Graph, inputs: readonly Known[], outer: ReadonlyMap<string, Known>): Map<string, Known> {
    const values = new Map(outer)
    for (const [name, tensor] of graph.initializers) values.set(name, knownTensor(tensor))
    const isMain = outer.size === 0
    graph.inputs.forEach(({ name, type }, i) => {
      // An input with a default can be fed something else of the same type.
      values.set(name, withStated(isMain ? {} : (inputs[i] ?? {}), type))
    })
    for (const node of graph.nodes) {
      const known = this.node(node, values)
      node.outputs.forEach((output, i) => {
        if (output) values.set(output, withStated(known[i] ?? {}, graph.types.get(output)))
      })
    }
    for (const { name, type } of graph.outputs) values.set(name, withStated(values.get(name) ?? {}, type))
    return values
  }

  node(node: Node, values: ReadonlyMap<string, Known>): readonly Known[] {
    const domain = isOnnxDomain(node.domain) ? '' : node.domain
    const infer = () =>
      opOf(node).inferTypes({
        node,
        opset: this.#opsets.get(domain) ?? (domain === '' ? (this.#opsets.get('ai.onnx') ?? 1) : 1),
        inputs: node.inputs.map((input) => values.get(input) ?? {}),
        inferGraph: (graph, inputs) => {
          const inner = this.graph(graph, inputs, values)
          return graph.outputs.map(({ name }) => withoutTensor(inner.get(name) ?? {}))
        },
      })
    return (unlessNonsense(infer) ?? []).map(consistent)
  }
}

/**
 * The result, or undefined if a node contradicts itself (attributes, ranks or contents that cannot be): nothing is known
 * of it then, and whoever runs the model will say what is wrong with it.
 */
export function unlessNonsense<T>(compute: () => T): T | undefined {
  try {
    return compute()
  } catch (error) {
    if (error instanceof RangeError || error instanceof TypeError) return undefined
    throw error
  }
}

/** What an operator tells, completed by what the file states. A symbol that the file made up gives way to a number. */
function withStated(known: Known, stated: TensorType | undefined): Known {
  if (!stated) return known
  const shape =
    known.shape && stated.shape?.length === known.shape.length
      ? known.shape.map((dim, axis) => {
          const said = stated.shape![axis]
          return typeof dim === 'number' || (dim !== undefined && typeof said !== 'number') ? dim : said
        })
      : (known.shape ?? stated.shape)
  return { ...known, dataType: known.dataType ?? stated.dataType, shape }
}

/** Sizes that cannot be, contents that do not fit the shape, and contents of which nothing is known are dropped. */
function consistent(inferred: Known): Known {
  const possible = (dim: Dim) => typeof dim !== 'number' || (Number.isInteger(dim) && dim >= 0)
  const known = inferred.shape?.every(possible)
    ? inferred
    : { ...inferred, shape: inferred.shape?.map((dim) => (possible(dim) ? dim : undefined)) }
  const { contents, shape } = known
  if (!contents) return known
  const fits =
    shape?.every((dim) => typeof dim === 'number') &&
    (shape as readonly number[]).reduce((n, d) => n * d, 1) === contents.length &&
    contents.length <= maxContents &&
    contents.some((dim) => dim !== undefined)
  return fits ? known : { ...known, contents: undefined }
}

const withoutTensor = ({ dataType, shape, contents }: Known): Known => ({ dataType, shape, contents })
