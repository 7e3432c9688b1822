import { type Attribute, type Graph, type Model, type Node, opsetOf, subgraphsOf } from './model.ts'
import { Tensor } from './tensor.ts'

type AttributeValue = number | string | readonly number[] | Tensor | Attribute

/** A number becomes an int attribute unless wrapped: `{ type: 'float', value: 0.5 }`. */
export function attributesOf(
  values: Readonly<Record<string, AttributeValue | undefined>>,
): Map<string, Attribute> {
  const attributes = new Map<string, Attribute>()
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue
    if (typeof value === 'number') attributes.set(name, { type: 'int', value })
    else if (typeof value === 'string') attributes.set(name, { type: 'string', value })
    else if (value instanceof Tensor) attributes.set(name, { type: 'tensor', value })
    else if (Array.isArray(value)) attributes.set(name, { type: 'ints', value: value as number[] })
    else attributes.set(name, value as Attribute)
  }
  return attributes
}

export const float = (value: number): Attribute => ({ type: 'float', value })
export const floats = (value: readonly number[]): Attribute => ({ type: 'floats', value })

/**
 * Writes new nodes into a copy of a graph, with fresh names and in the operator set version of the model, so that a
 * rewrite says what it computes and not which version spells it how.
 */
export class GraphBuilder {
  readonly opset: number
  readonly nodes: Node[] = []
  readonly initializers: Map<string, Tensor>
  readonly #taken: Set<string>
  readonly #constants = new Map<string, string>()
  #counter = 0

  constructor(model: Model) {
    this.opset = opsetOf(model)
    this.initializers = new Map(model.graph.initializers)
    this.#taken = namesIn(model.graph)
  }

  fresh(hint: string): string {
    for (;;) {
      const name = `${hint}__${this.#counter++}`
      if (!this.#taken.has(name)) {
        this.#taken.add(name)
        return name
      }
    }
  }

  /** Keeps a node as it is. */
  keep(node: Node): void {
    this.nodes.push(node)
  }

  /** Adds a node with one output and returns that output's name. */
  op = (
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue | undefined>> = {},
    output = this.fresh(opType),
  ): string => this.several(opType, inputs, [output], attributes)[0]!

  /** Adds a node with the given outputs, or with that many, and returns their names. */
  several(
    opType: string,
    inputs: readonly string[],
    outputs: readonly string[] | number,
    attributes: Readonly<Record<string, AttributeValue | undefined>> = {},
    domain = '',
  ): readonly string[] {
    const names =
      typeof outputs === 'number' ? Array.from({ length: outputs }, () => this.fresh(opType)) : outputs
    this.keep({
      name: names.find((name) => name !== '') ?? this.fresh(opType),
      opType,
      domain,
      inputs,
      outputs: names,
      attributes: attributesOf(attributes),
    })
    return names
  }

  constant(tensor: Tensor, hint = 'constant'): string {
    const name = this.fresh(hint)
    this.initializers.set(name, tensor)
    return name
  }

  /** A constant without axes; asked for again, it is the same one. */
  scalar(value: number, dataType: Tensor['dataType'] = 'float32'): string {
    return this.#shared(`${dataType} ${Object.is(value, -0) ? '-0' : value}`, () =>
      this.constant(Tensor.of(dataType, [], [value])),
    )
  }

  /** A vector of whole numbers (a shape, axes); asked for again, it is the same one. */
  ints(values: readonly number[], hint = 'ints'): string {
    return this.#shared(values.join(), () => this.constant(Tensor.int64([values.length], values), hint))
  }

  #shared(key: string, make: () => string): string {
    const known = this.#constants.get(key) ?? make()
    this.#constants.set(key, known)
    return known
  }

  add = (a: string, b: string): string => this.op('Add', [a, b])
  sub = (a: string, b: string): string => this.op('Sub', [a, b])
  mul = (a: string, b: string): string => this.op('Mul', [a, b])
  div = (a: string, b: string): string => this.op('Div', [a, b])

  /** ReduceMean, ReduceSum and so on over `axes`, which are an attribute in early opsets and an input since. */
  reduce(opType: `Reduce${string}`, x: string, axes: readonly number[], keepdims = true): string {
    const keep = keepdims ? 1 : 0
    return this.opset >= (opType === 'ReduceSum' ? 13 : 18)
      ? this.op(opType, [x, this.ints(axes, 'axes')], { keepdims: keep })
      : this.op(opType, [x], { axes, keepdims: keep })
  }

  reduceMean = (x: string, axes: readonly number[], keepdims = true): string =>
    this.reduce('ReduceMean', x, axes, keepdims)

  reduceSum = (x: string, axes: readonly number[], keepdims = true): string =>
    this.reduce('ReduceSum', x, axes, keepdims)

  reshape(x: string, dims: readonly number[]): string {
    return this.op('Reshape', [x, this.ints(dims, 'shape')])
  }
}

/** Every name of a value in the graph and its subgraphs. */
export function namesIn(graph: Graph, names = new Set<string>()): Set<string> {
  for (const { name } of [...graph.inputs, ...graph.outputs]) names.add(name)
  for (const name of graph.initializers.keys()) names.add(name)
  for (const node of graph.nodes) {
    for (const name of [...node.inputs, ...node.outputs]) names.add(name)
    for (const { graph: inner } of subgraphsOf(node)) namesIn(inner, names)
  }
  return names
}
