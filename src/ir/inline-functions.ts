import { UserError } from './errors.ts'
import {
  type Attribute,
  type Graph,
  isOnnxDomain,
  keyOf,
  type LocalFunction,
  labelOf,
  type Model,
  type Node,
  subgraphsOf,
} from './model.ts'

/**
 * The model with every call of a local function replaced by what the function does, so that everything else sees one
 * flat graph. Values inside get fresh names; labels are prefixed with the caller's.
 * Throws a UserError if functions call each other in a circle.
 */
export function inlineFunctions(model: Model): Model {
  if (model.functions.length === 0) return model
  const functions = new Map(model.functions.map((f) => [identity(f.domain, f.name), f]))
  refuseCircles(functions)
  const inliner = new Inliner(functions, namesOf(model.graph))
  const opsets = new Map(model.opsets)
  for (const f of model.functions)
    for (const [domain, version] of f.opsets) if (!opsets.has(domain)) opsets.set(domain, version)
  return { ...model, opsets, graph: inliner.graph(model.graph), functions: [] }
}

const identity = (domain: string, name: string) => `${isOnnxDomain(domain) ? '' : domain}:${name}`

type Functions = ReadonlyMap<string, LocalFunction>

const calledBy = (node: Node, functions: Functions) => functions.get(identity(node.domain, node.opType))

function refuseCircles(functions: Functions): void {
  const done = new Set<LocalFunction>()
  const visit = (f: LocalFunction, callers: readonly LocalFunction[]) => {
    if (callers.includes(f))
      throw new UserError(
        `local functions call each other in a circle: ${[...callers.slice(callers.indexOf(f)), f].map(({ name }) => name).join(' -> ')}; ONNX does not allow that`,
      )
    if (done.has(f)) return
    eachNode(f.nodes, (node) => {
      const called = calledBy(node, functions)
      if (called) visit(called, [...callers, f])
    })
    done.add(f)
  }
  for (const f of functions.values()) visit(f, [])
}

function eachNode(nodes: readonly Node[], visit: (node: Node) => void): void {
  for (const node of nodes) {
    visit(node)
    for (const { graph } of subgraphsOf(node)) eachNode(graph.nodes, visit)
  }
}

function namesOf(graph: Graph, names = new Set<string>()): Set<string> {
  for (const { name } of [...graph.inputs, ...graph.outputs]) names.add(name)
  for (const name of graph.initializers.keys()) names.add(name)
  for (const node of graph.nodes) {
    for (const name of [...node.inputs, ...node.outputs]) names.add(name)
    for (const { graph: inner } of subgraphsOf(node)) namesOf(inner, names)
  }
  return names
}

/** Names and attributes that hold inside one call of a function. */
interface Scope {
  readonly caller: Node
  readonly names: Map<string, string>
  readonly attributes: ReadonlyMap<string, Attribute>
}

class Inliner {
  readonly #functions: Functions
  readonly #taken: Set<string>
  #calls = 0

  constructor(functions: Functions, taken: Set<string>) {
    this.#functions = functions
    this.#taken = taken
  }

  graph(graph: Graph): Graph {
    return { ...graph, nodes: this.nodes(graph.nodes) }
  }

  nodes(nodes: readonly Node[]): Node[] {
    return nodes.flatMap((node) => {
      const called = calledBy(node, this.#functions)
      return called ? this.call(called, node) : [this.withInlinedGraphs(node)]
    })
  }

  withInlinedGraphs(node: Node): Node {
    if (subgraphsOf(node).length === 0) return node
    const attributes = new Map(node.attributes)
    for (const [name, held] of attributes) {
      if (held.type === 'graph') attributes.set(name, { ...held, value: this.graph(held.value) })
      if (held.type === 'graphs')
        attributes.set(name, { ...held, value: held.value.map((graph) => this.graph(graph)) })
    }
    return { ...node, attributes }
  }

  call(f: LocalFunction, caller: Node): Node[] {
    const call = this.#calls++
    const names = new Map<string, string>()
    for (const [i, name] of f.inputs.entries()) names.set(name, caller.inputs[i] ?? '')
    const isInput = new Set(f.inputs)
    const passedThrough: Node[] = []
    f.outputs.forEach((name, i) => {
      const output = caller.outputs[i]
      if (!output) return
      // An output that is an input, or given twice, has no node of its own to be named after.
      if (isInput.has(name) || names.has(name))
        passedThrough.push(identityNode(names.get(name) ?? name, output))
      else names.set(name, output)
    })
    const scope: Scope = { caller, names, attributes: new Map([...f.defaults, ...caller.attributes]) }
    const nodes = f.nodes.map((node) => this.renamed(node, scope, call))
    return this.nodes([...nodes, ...passedThrough])
  }

  renamed(node: Node, scope: Scope, call: number): Node {
    const { caller, names } = scope
    const attributes = new Map<string, Attribute>()
    for (const [name, held] of node.attributes) {
      const attribute = held.type === 'reference' ? scope.attributes.get(held.value) : held
      if (attribute?.type === 'graph')
        attributes.set(name, { ...attribute, value: this.renamedGraph(attribute.value, scope, call) })
      else if (attribute?.type === 'graphs')
        attributes.set(name, {
          ...attribute,
          value: attribute.value.map((graph) => this.renamedGraph(graph, scope, call)),
        })
      else if (attribute) attributes.set(name, attribute)
    }
    const label = [labelOf(caller), node.origin?.label || node.name].filter(Boolean).join('/')
    return {
      ...node,
      name: `${caller.name || keyOf(caller)}/${node.name || node.opType}`,
      inputs: node.inputs.map((input) => (input === '' ? '' : (names.get(input) ?? input))),
      outputs: node.outputs.map((output) => (output === '' ? '' : this.nameOf(output, names, call))),
      attributes,
      origin: { ...node.origin, label },
    }
  }

  renamedGraph(graph: Graph, scope: Scope, call: number): Graph {
    const inner: Scope = { ...scope, names: new Map(scope.names) }
    const own = (name: string) => this.nameOf(name, inner.names, call)
    for (const { name } of graph.inputs) inner.names.delete(name)
    const inputs = graph.inputs.map((input) => ({ ...input, name: own(input.name) }))
    const initializers = new Map([...graph.initializers].map(([name, tensor]) => [own(name), tensor]))
    const nodes = graph.nodes.map((node) => this.renamed(node, inner, call))
    const types = new Map([...graph.types].map(([name, type]) => [inner.names.get(name) ?? name, type]))
    const outputs = graph.outputs.map((output) => ({
      ...output,
      name: inner.names.get(output.name) ?? output.name,
    }))
    return { ...graph, inputs, initializers, nodes, types, outputs }
  }

  /** The name that a value written inside a function has outside, made on first sight. */
  nameOf(name: string, names: Map<string, string>, call: number): string {
    const known = names.get(name)
    if (known !== undefined) return known
    let fresh = `${name}__call${call}`
    while (this.#taken.has(fresh)) fresh = `${fresh}_`
    this.#taken.add(fresh)
    names.set(name, fresh)
    return fresh
  }
}

const identityNode = (input: string, output: string): Node => ({
  name: '',
  opType: 'Identity',
  domain: '',
  inputs: [input],
  outputs: [output],
  attributes: new Map(),
})
