import { UserError } from '../ir/errors.ts'
import { isOnnxDomain, keyOf, labelOf, type Model, type Node, opsetOf } from '../ir/model.ts'
import { dataTypes, isFloat, Tensor } from '../ir/tensor.ts'
import { valuesReadBy } from '../ir/uses.ts'
import type { Known } from '../ops/define-op.ts'
import type { GradientContext, StaticType } from '../ops/gradient.ts'
import { opOf } from '../ops/index.ts'
import { GradientBuilder } from './gradient-builder.ts'

/** Gradient rules are written for this opset and newer; rewrite/passes/raise-opset brings a model there. */
export const minOpset = 17

export interface Differentiation {
  /** Name of the value to differentiate: a floating-point number without axes, or with axes of size 1. */
  readonly loss: string
  /** Initializers, inputs or values in between. What depends on none of them costs nothing. */
  readonly wrt: readonly string[]
}

export interface Differentiated {
  /** The model with the nodes that compute the gradients behind its own; its outputs are those that it had. */
  readonly model: Model
  /** For each of `wrt` the value that holds its gradient, in its shape and type. */
  readonly gradients: ReadonlyMap<string, string>
}

/**
 * Reverse-mode automatic differentiation: the model that also computes the gradients of `loss` with respect to `wrt`.
 * Its local functions are to be inlined and the shapes of all values between `wrt` and the loss known (see
 * rewrite/passes/bind-shapes). Throws a UserError that names the operators and nodes that have no gradient.
 */
export function withGradients(model: Model, { loss, wrt }: Differentiation): Differentiated {
  if (opsetOf(model) < minOpset)
    throw new UserError(
      `gradients need a model of opset ${minOpset} or newer, got ${opsetOf(model)}; raise its opset first`,
    )
  const build = new GradientBuilder(model)
  const path = nodesBetween(model, build, { loss, wrt })
  refuseMissing(path)
  const lossType = staticType(build.knownOf(loss))
  if (!lossType || !isFloat(lossType.dataType) || lossType.shape.some((size) => size !== 1))
    throw new UserError(
      `the loss '${loss}' has ${typeInWords(build.knownOf(loss))}, expected one floating-point number; reduce it to its mean or sum`,
    )
  for (const value of wrt) {
    const type = staticType(build.knownOf(value))
    if (!type || !isFloat(type.dataType))
      throw new UserError(
        `'${value}' has ${typeInWords(build.knownOf(value))}, expected floating-point numbers in a known shape; gradients exist only for those`,
      )
  }

  const backward = new Backward(build, path)
  backward.add(loss, build.constant(Tensor.of(lossType.dataType, lossType.shape, [1]), 'one'))
  for (const { node } of [...path].reverse()) backward.through(node)

  const gradients = new Map<string, string>()
  for (const value of wrt) gradients.set(value, backward.gradientOf(value))
  const amended = model.graph.nodes.map((node) => backward.amended.get(node) ?? node)
  const graph = {
    ...model.graph,
    nodes: [...amended, ...build.nodes],
    initializers: build.initializers,
  }
  return { model: { ...model, opsets: build.opsets, graph }, gradients }
}

/** A node that gradients flow through, and the inputs that they flow on to. */
interface Step {
  readonly node: Node
  readonly moving: readonly boolean[]
  /** Values that a subgraph of the node takes from outside and that gradients should flow to. */
  readonly captured: readonly string[]
}

/** The nodes on paths from `wrt` to the loss, in the order of the graph. */
function nodesBetween(model: Model, build: GradientBuilder, { loss, wrt }: Differentiation): Step[] {
  const active = new Set(wrt)
  const steps: Step[] = []
  for (const node of model.graph.nodes) {
    const op = opOf(node)
    const moving = node.inputs.map((input, i) => active.has(input) && op.gradient(node, i) !== null)
    const captured = valuesReadBy(node).filter((value) => active.has(value) && !node.inputs.includes(value))
    if (!moving.includes(true) && captured.length === 0) continue
    steps.push({ node, moving, captured })
    for (const output of node.outputs) {
      const type = build.knownOf(output).dataType
      if (output && (type === undefined || isFloat(type))) active.add(output)
    }
  }
  const needed = new Set([loss])
  return steps
    .reverse()
    .filter(({ node, moving }) => {
      if (!node.outputs.some((output) => needed.has(output))) return false
      node.inputs.forEach((input, i) => {
        if (moving[i]) needed.add(input)
      })
      return true
    })
    .reverse()
}

/** Throws a UserError for the nodes of the path whose operator has no gradient. */
function refuseMissing(path: readonly Step[]): void {
  const missing = path.filter(
    ({ node, moving, captured }) =>
      captured.length > 0 || moving.some((moves, i) => moves && opOf(node).gradient(node, i) === undefined),
  )
  if (missing.length === 0) return
  const named = missing.slice(0, 5).map(({ node }) => `${operatorOf(node)} at '${labelOf(node)}'`)
  const more = missing.length > 5 ? ` and ${missing.length - 5} more` : ''
  throw new UserError(
    `cannot train through ${named.join(', ')}${more}: no gradient is known for ${missing.length > 1 ? 'these operators' : 'this operator'}; freeze the parameters in front of it, or export the model without it`,
  )
}

const operatorOf = (node: Node) => (isOnnxDomain(node.domain) ? node.opType : `${node.domain}.${node.opType}`)

/** The backward pass: gradients of the loss with respect to values, as far as they are known. */
class Backward {
  /** Forward nodes that were asked for more outputs. */
  readonly amended = new Map<Node, Node>()
  readonly #build: GradientBuilder
  readonly #moving: ReadonlyMap<Node, readonly boolean[]>
  readonly #terms = new Map<string, string[]>()

  constructor(build: GradientBuilder, path: readonly Step[]) {
    this.#build = build
    this.#moving = new Map(path.map(({ node, moving }) => [node, moving]))
  }

  add(value: string, gradient: string): void {
    const terms = this.#terms.get(value)
    if (terms) terms.push(gradient)
    else this.#terms.set(value, [gradient])
  }

  /** The gradient with respect to a value, once all that reads it has been gone through. */
  gradientOf(value: string): string {
    const terms = this.#terms.get(value)
    if (terms?.length === 1) return terms[0]!
    const sum = terms
      ? terms.length === 2
        ? this.#build.add(terms[0]!, terms[1]!)
        : this.#build.op('Sum', terms)
      : this.#zeros(value)
    this.#terms.set(value, [sum])
    return sum
  }

  #zeros(value: string): string {
    const { dataType, shape } = this.#typeOf(value)
    return this.#build.op('ConstantOfShape', [this.#build.ints(shape)], {
      value: Tensor.of(dataType, [1], [0]),
    })
  }

  through(node: Node): void {
    const moving = this.#moving.get(node)!
    this.#build.label = labelOf(node)
    const read = new Set<number>()
    const context = this.#contextOf(node, moving, read)
    const op = opOf(node)
    for (const [i, input] of node.inputs.entries())
      if (moving[i]) this.add(input, this.#fitted(op.gradient(node, i)!(context, i), input))
    for (const [i, output] of node.outputs.entries())
      if (output && this.#terms.has(output) && !read.has(i))
        context.refuse(`no gradient flows back from its output '${output}'`)
  }

  /** A gradient in the shape and type of the value that it belongs to. */
  #fitted(gradient: string, value: string): string {
    const build = this.#build
    const target = this.#typeOf(value)
    const given = staticType(build.knownOf(gradient))
    // Where the shape of what a rule wrote cannot be told, the rule is taken at its word.
    if (!given) return gradient
    let fitted = gradient
    if (given.dataType !== target.dataType)
      fitted = build.op('Cast', [fitted], { to: dataTypes[target.dataType].onnx })
    if (sameShape(given.shape, target.shape)) return fitted
    const extra = given.shape.length - target.shape.length
    const summed = given.shape
      .map((size, axis) => ({ axis, size, wanted: axis < extra ? 1 : target.shape[axis - extra]! }))
      .filter(({ size, wanted }) => wanted === 1 && size !== 1)
      .map(({ axis }) => axis)
    if (summed.length > 0) fitted = build.reduceSum(fitted, summed)
    if (
      given.shape.some(
        (size, axis) => size !== 1 && !summed.includes(axis) && size !== target.shape[axis - extra],
      )
    )
      throw new Error(
        `a gradient of shape [${given.shape}] cannot belong to '${value}' of shape [${target.shape}]`,
      )
    const left = given.shape.map((size, axis) => (summed.includes(axis) ? 1 : size))
    if (sameShape(left, target.shape)) return fitted
    if (elements(left) === elements(target.shape)) return build.reshape(fitted, target.shape)
    return build.op('Expand', [fitted, build.ints(target.shape)])
  }

  #typeOf(value: string): StaticType {
    const type = staticType(this.#build.knownOf(value))
    if (!type)
      throw new UserError(
        `the shape of '${value}' has to be known for its gradient, got ${typeInWords(this.#build.knownOf(value))}; bind the dimensions of the model's inputs to sizes`,
      )
    return type
  }

  /** `read` collects the outputs whose gradients are asked for. */
  #contextOf(node: Node, moving: readonly boolean[], read: Set<number>): GradientContext {
    const build = this.#build
    const made = new Map<string, unknown>()
    const outputs = node.outputs.map((output) => (output ? this.#typeOf(output) : undefined))
    const once = <T>(key: string, make: () => T): T => {
      if (!made.has(key)) made.set(key, make())
      return made.get(key) as T
    }
    return {
      node,
      build,
      inputs: node.inputs.map((input) => ({
        ...build.knownOf(input),
        ...(input ? this.#typeOf(input) : ({} as StaticType)),
      })),
      outputs: outputs as readonly StaticType[],
      x: (i = 0) => node.inputs[i] ?? '',
      y: (i = 0) => this.#output(node, i),
      dy: (i = 0) => {
        read.add(i)
        return this.gradientOf(node.outputs[i]!)
      },
      counts: (i) => this.#terms.has(node.outputs[i] ?? ''),
      wants: (i) => moving[i] ?? false,
      once,
      scalar: (value) => build.scalar(value, outputs.find((type) => type)!.dataType),
      typeOf: (value) => this.#typeOf(value),
      refuse: (reason) => {
        throw new UserError(`cannot train through ${operatorOf(node)} at '${labelOf(node)}': ${reason}`)
      },
    }
  }

  /** Name of output `i` of a forward node, which is made to give it if it does not yet. */
  #output(node: Node, i: number): string {
    const current = this.amended.get(node) ?? node
    const given = current.outputs[i]
    if (given) return given
    const outputs = Array.from({ length: Math.max(i + 1, current.outputs.length) }, (_, at) =>
      at === i ? this.#build.fresh(`${keyOf(node)}__output${i}`) : (current.outputs[at] ?? ''),
    )
    const amended = { ...current, outputs }
    this.amended.set(node, amended)
    this.#build.learn(amended)
    return outputs[i]!
  }
}

function staticType({ dataType, shape }: Known): StaticType | undefined {
  if (!dataType || !shape?.every((size) => typeof size === 'number')) return undefined
  return { dataType, shape: shape as readonly number[] }
}

const sameShape = (a: readonly number[], b: readonly number[]) =>
  a.length === b.length && a.every((size, axis) => size === b[axis])

const elements = (shape: readonly number[]) => shape.reduce((n, size) => n * size, 1)

function typeInWords({ dataType, shape }: Known): string {
  if (!dataType) return 'an unknown type'
  if (!shape) return `type ${dataType} and an unknown shape`
  return `type ${dataType} and shape [${shape.map((size) => size ?? '?').join(', ')}]`
}
