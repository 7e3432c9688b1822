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
 * flat graph. Values inside get fresh names; labels are prefixed with the caller's. Functions that `stays` names are
 * left: others know what they mean.
 * Throws a UserError if functions call each other in a circle, or amount to more than any network.
 */
export function inlineFunctions(model: Model, stays: (f: LocalFunction) => boolean = () => false): Model {
  const kept = model.functions.filter(stays)
  const others = model.functions.filter((f) => !kept.includes(f))
  if (others.length === 0) return model
  const functions = new Map(others.map((f) => [identity(f.domain, f.name), f]))
  refuseEndless(model.graph, functions)
  const inliner = new Inliner(functions, namesOf(model.graph))
  const opsets = new Map(model.opsets)
  for (const f of others)
    for (const [domain, version] of f.opsets) if (!opsets.has(domain)) opsets.set(domain, version)
  return { ...model, opsets, graph: inliner.graph(model.graph), functions: kept }
}

const identity = (domain: string, name: string) => `${isOnnxDomain(domain) ? '' : domain}:${name}`

type Functions = ReadonlyMap<string, LocalFunction>

const calledBy = (node: Node, functions: Functions) => functions.get(identity(node.domain, node.opType))

/** Functions that call one another deeper, or amount to more nodes and names, were made to exhaust memory. */
const maxCallDepth = 64
const maxSize = 1_000_000

/** What a node adds to the size: one, and one more for every hundred characters and for every name bound. */
function sizeOfNode(node: Node, called: LocalFunction | undefined): number {
  const characters = [...node.inputs, ...node.outputs].reduce((sum, name) => sum + name.length, 0)
  const bound = called ? called.inputs.length + called.outputs.length + called.defaults.size : 0
  return 1 + Math.floor(characters / 100) + bound
}

/** Labels of callers are prefixed to those of all nodes inside. */
const clip = (label: string) => label.slice(0, 200)

/** Throws a UserError if inlining would not end, or not within reason. */
function refuseEndless(graph: Graph, functions: Functions): void {
  const sizes = new Map<LocalFunction, { size: number; depth: number }>()
  const sizeOf = (nodes: readonly Node[], callers: readonly LocalFunction[]) => {
    let size = 0
    let depth = 0
    eachNode(nodes, (node) => {
      const called = calledBy(node, functions)
      size += sizeOfNode(node, called)
      if (!called) return
      const inside = visit(called, callers)
      size += inside.size
      depth = Math.max(depth, inside.depth)
    })
    return { size, depth }
  }
  const visit = (f: LocalFunction, callers: readonly LocalFunction[]) => {
    if (callers.includes(f))
      throw new UserError(
        `local functions call each other in a circle: ${[...callers.slice(callers.indexOf(f)), f].map(({ name }) => name).join(' -> ')}; ONNX does not allow that`,
      )
    const known = sizes.get(f)
    if (known) return known
    if (callers.length >= maxCallDepth) throw tooDeep(f)
    const inside = sizeOf(f.nodes, [...callers, f])
    const found = { size: inside.size, depth: inside.depth + 1 }
    if (found.depth > maxCallDepth) throw tooDeep(f)
    sizes.set(f, found)
    return found
  }
  for (const f of functions.values()) visit(f, [])
  const { size } = sizeOf(graph.nodes, [])
  if (size > maxSize)
    throw new UserError(
      `the model amounts to ${size} nodes and names once its local functions are written out, expected at most ${maxSize}; no network is like this: the file is damaged or was made to exhaust memory`,
    )
}

const tooDeep = ({ name }: LocalFunction) =>
  new UserError(
    `local functions call each other more than ${maxCallDepth} deep ('${name}'); no network is like this: the file is damaged or was made to exhaust memory`,
  )

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
    const label = [clip(labelOf(caller)), node.origin?.label || node.name].filter(Boolean).join('/')
    return {
      ...node,
      name: `${clip(caller.name || keyOf(caller))}/${node.name || node.opType}`,
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
