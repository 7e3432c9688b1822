import { attributesOf, float, namesIn } from './builder.ts'
import { UserError } from './errors.ts'
import { type Graph, keyOf, type LocalFunction, type Model, type Node, opsetOf } from './model.ts'
import { Tensor } from './tensor.ts'
import { usesOf, valuesReadBy } from './uses.ts'

/** A noise as one node, `output = opType(input, parameter, training mode)`, as ONNX's Dropout since opset 12. */
export interface NoiseNode {
  /** Id of the noise unit, for formats that have layers of their own: `dropout`, `uout`, ... */
  readonly noise: string
  readonly opType: string
  readonly domain: string
  readonly parameter: number
  /** When it acts: always, never, or as the value of that name says. */
  readonly training: boolean | string
  /** Name of the node. */
  readonly label: string
  /** What the node means, for runtimes that do not know its domain. */
  readonly definition?: LocalFunction | undefined
}

/** Puts another noise in the place of one, or nothing: what the noise wrote then is what it read. */
export interface ReplaceNoise {
  readonly kind: 'replace-noise'
  /** Key of the noise, and keys of all nodes that make it up, that one among them. */
  readonly node: string
  readonly nodes: readonly string[]
  /** The value that it perturbs and the value that it makes of it. */
  readonly input: string
  readonly output: string
  readonly by: NoiseNode | undefined
}

/** Puts a noise in front of one input of a node. */
export interface InsertNoise {
  readonly kind: 'insert-noise'
  /** Key of the node that gets to see the noise. */
  readonly node: string
  readonly inputIndex: number
  readonly noise: NoiseNode
}

export type NoiseEdit = ReplaceNoise | InsertNoise

/** What noise edits do to a graph; nodes go by their key. */
export interface NoiseChanges {
  /** What stands in the place of a node: nothing, or the new node. */
  readonly replaced: ReadonlyMap<string, readonly Node[]>
  /** What is put in front of a node. */
  readonly before: ReadonlyMap<string, readonly Node[]>
  /** Inputs of nodes that get another name. */
  readonly renamed: ReadonlyMap<string, ReadonlyMap<number, string>>
  readonly initializers: ReadonlyMap<string, Tensor>
  /** Functions that the new nodes need and the model lacks. */
  readonly functions: readonly LocalFunction[]
}

/** What the edits do to the model. Throws a UserError if they name what is not there. */
export function noiseChanges(model: Model, edits: readonly NoiseEdit[]): NoiseChanges {
  const { graph } = model
  const nodes = new Map(graph.nodes.map((node) => [keyOf(node), node]))
  const find = (key: string) => {
    const node = nodes.get(key)
    if (!node) throw new UserError(`cannot edit node '${key}': the model has no node with that output`)
    return node
  }
  const replaced = new Map<string, readonly Node[]>()
  const before = new Map<string, Node[]>()
  const renamed = new Map<string, Map<number, string>>()
  const initializers = new Map<string, Tensor>()
  const functions = new Map<string, LocalFunction>()
  const fresh = freshNames(graph)
  const opset = opsetOf(model)

  const written = (noise: NoiseNode, input: string, output: string): Node => {
    const { opType, domain, parameter, training, label, definition } = noise
    if (definition && !model.functions.some((f) => f.domain === domain && f.name === opType))
      functions.set(definition.name, definition)
    const node = { name: label, opType, domain, outputs: [output] }
    if (opset < 12 && domain === '')
      return { ...node, inputs: [input], attributes: attributesOf({ ratio: float(parameter) }) }
    const store = (what: string, tensor: Tensor) => {
      const name = fresh(`${label}__${what}`)
      initializers.set(name, tensor)
      return name
    }
    const value = store('parameter', Tensor.float32([], [parameter]))
    const mode =
      typeof training === 'string' ? training : store('training', Tensor.of('bool', [], [training ? 1 : 0]))
    return { ...node, inputs: [input, value, mode], attributes: new Map() }
  }

  for (const edit of edits) {
    find(edit.node)
    if (edit.kind === 'replace-noise') {
      for (const key of edit.nodes) {
        find(key)
        if (replaced.has(key))
          throw new UserError(`cannot replace '${key}' twice; give one edit for each noise`)
        replaced.set(key, [])
      }
      const { by, input, output } = edit
      const identity = { name: edit.node, opType: 'Identity', domain: '', inputs: [input], outputs: [output] }
      replaced.set(edit.node, [by ? written(by, input, output) : { ...identity, attributes: new Map() }])
      continue
    }
    const names = renamed.get(edit.node) ?? new Map<number, string>()
    const input = names.get(edit.inputIndex) ?? find(edit.node).inputs[edit.inputIndex]
    if (!input)
      throw new UserError(
        `cannot put a noise in front of input ${edit.inputIndex} of '${edit.node}': it has none`,
      )
    const output = fresh(`${edit.noise.label}__output`)
    before.set(edit.node, [...(before.get(edit.node) ?? []), written(edit.noise, input, output)])
    renamed.set(edit.node, names.set(edit.inputIndex, output))
  }
  if (replaced.size > 0) settleReaders(graph, replaced)
  return { replaced, before, renamed, initializers, functions: [...functions.values()] }
}

/**
 * What else reads a value of the nodes that go (`CastLike` takes a type from it) goes with them if only they read it in
 * turn; otherwise the nodes that make that value stay.
 */
function settleReaders(graph: Graph, replaced: Map<string, readonly Node[]>): void {
  const { consumers, isOutput, producer } = usesOf(graph)
  const goes = (node: Node) => replaced.get(keyOf(node))?.length === 0
  const reads = (node: Node) =>
    valuesReadBy(node).flatMap((value) => {
      const maker = producer(value)
      return maker && goes(maker) ? [maker] : []
    })
  for (const node of graph.nodes.toReversed())
    if (
      !replaced.has(keyOf(node)) &&
      reads(node).length > 0 &&
      node.outputs.every(
        (value) => !isOutput(value) && consumers(value).every((reader) => replaced.has(keyOf(reader))),
      )
    )
      replaced.set(keyOf(node), [])
  for (const node of graph.nodes.toReversed()) {
    if (goes(node) && node.outputs.some(isOutput)) replaced.delete(keyOf(node))
    if (!replaced.has(keyOf(node))) for (const maker of reads(node)) replaced.delete(keyOf(maker))
  }
}

function freshNames(graph: Graph): (name: string) => string {
  let taken: Set<string> | undefined
  return (wanted) => {
    taken ??= namesIn(graph)
    let name = wanted
    while (taken.has(name)) name = `${name}_`
    taken.add(name)
    return name
  }
}

/** IR version from which on a model may define functions. */
const functionsSince = 8

/** The header of a model that gets `functions`: local functions came with IR version 8. */
export function withFunctions(model: Model, functions: readonly LocalFunction[]): Model {
  if (functions.length === 0) return model
  const opsets = new Map(model.opsets)
  for (const { domain } of functions) opsets.set(domain, 1)
  return {
    ...model,
    opsets,
    irVersion: Math.max(model.irVersion, functionsSince),
    functions: [...model.functions, ...functions],
  }
}
