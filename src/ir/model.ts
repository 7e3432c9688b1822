import type { DataType, Tensor } from './tensor.ts'

/** One axis of a shape: its size, the name that ties it to other axes (`N`), or undefined if nothing is known. */
export type Dim = number | string | undefined

/** What is known of a tensor before anything runs. An undefined shape means that not even the rank is known. */
export interface TensorType {
  readonly dataType?: DataType | undefined
  readonly shape?: readonly Dim[] | undefined
}

export interface ValueInfo {
  readonly name: string
  /** Undefined for sequences, maps and optionals. */
  readonly type?: TensorType | undefined
  /** The type as the file stores it, for what `type` cannot express. */
  readonly raw?: Uint8Array | undefined
}

export type Attribute =
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'int'; readonly value: number }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'tensor'; readonly value: Tensor }
  | { readonly type: 'graph'; readonly value: Graph }
  | { readonly type: 'floats'; readonly value: readonly number[] }
  | { readonly type: 'ints'; readonly value: readonly number[] }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'graphs'; readonly value: readonly Graph[] }
  /** Inside a function: the attribute of that name of the calling node. */
  | { readonly type: 'reference'; readonly value: string; readonly raw: Uint8Array }
  /** An attribute of a type that nothing here interprets, as the file stores it. */
  | { readonly type: 'opaque'; readonly value: Uint8Array }

/** Where a node came from, in the words of whoever wrote the model. */
export interface Origin {
  /** The layer as the user knows it: `layer1.0.bn2`, a Keras layer's name, or the node's own name. */
  readonly label: string
  /** Position of the node's record in its file, in bytes. */
  readonly byteOffset?: number | undefined
}

/** One operation. Absent optional inputs and outputs are empty strings. */
export interface Node {
  readonly name: string
  readonly opType: string
  /** '' is ONNX's own operator set. */
  readonly domain: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: ReadonlyMap<string, Attribute>
  readonly origin?: Origin | undefined
}

/** Nodes in an order in which every value is produced before it is consumed. */
export interface Graph {
  readonly name: string
  readonly nodes: readonly Node[]
  /** Values fed at run time; one that is an initializer too has a default. */
  readonly inputs: readonly ValueInfo[]
  readonly outputs: readonly ValueInfo[]
  readonly initializers: ReadonlyMap<string, Tensor>
  /** Types that the file states for values in between. */
  readonly types: ReadonlyMap<string, TensorType>
  /** Records that nothing here interprets but a runtime needs (sparse initializers), as the file stores them. */
  readonly opaque?: readonly { readonly field: number; readonly bytes: Uint8Array }[] | undefined
}

/** A function defined in the model: a node of opType `name` and domain `domain` stands for `nodes`. */
export interface LocalFunction {
  readonly domain: string
  readonly name: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** Attributes of the function that have no default, then those that have one. */
  readonly attributes: readonly string[]
  readonly defaults: ReadonlyMap<string, Attribute>
  readonly nodes: readonly Node[]
  readonly opsets: ReadonlyMap<string, number>
}

/** A network with ONNX semantics, whatever format it was read from. */
export interface Model {
  /** Id of the format that it was read from: `onnx`, ... */
  readonly format: string
  readonly irVersion: number
  /** Version of each operator set by its domain. */
  readonly opsets: ReadonlyMap<string, number>
  readonly graph: Graph
  readonly functions: readonly LocalFunction[]
  /** Name and version of the program that wrote the file. */
  readonly producer: string
  /** True if the file holds both modes, so that noise that is on here acts in training only (Keras, TensorFlow.js). */
  readonly holdsBothModes?: boolean | undefined
}

/** Version of ONNX's own operator set that the model uses. */
export const opsetOf = (model: Model): number => model.opsets.get('') ?? model.opsets.get('ai.onnx') ?? 1

/** Identifies a node within its graph: ONNX gives every output a unique name, but node names may be empty or repeat. */
export const keyOf = (node: Node): string => node.outputs.find((output) => output !== '') ?? node.name

/** The node's name for people. */
export const labelOf = (node: Node): string => node.origin?.label || node.name || keyOf(node)

export const isOnnxDomain = (domain: string): boolean => domain === '' || domain === 'ai.onnx'

/** Domains of nodes that a format keeps by name only, since ONNX has nothing like them: they cannot be run. */
const opaqueDomains: readonly string[] = ['aten', 'keras']

/** Whether the node stands for a layer or operator that is known by name only. */
export const isOpaque = (node: Node): boolean => opaqueDomains.includes(node.domain)

/** A getter for attributes of one type: the value, or undefined if the node has none of that name and type. */
const attributeOf =
  <V>(type: Attribute['type']) =>
  (node: Node, name: string): V | undefined => {
    const attribute = node.attributes.get(name)
    return attribute?.type === type ? (attribute.value as V) : undefined
  }

export const intAttribute = attributeOf<number>('int')
export const floatAttribute = attributeOf<number>('float')
export const stringAttribute = attributeOf<string>('string')
export const intsAttribute = attributeOf<readonly number[]>('ints')
export const floatsAttribute = attributeOf<readonly number[]>('floats')
export const tensorAttribute = attributeOf<Tensor>('tensor')

/** Graphs that the node holds (branches of If, bodies of Loop and Scan) with the attribute that holds each. */
export function subgraphsOf(node: Node): { attribute: string; graph: Graph }[] {
  const found: { attribute: string; graph: Graph }[] = []
  for (const [attribute, held] of node.attributes) {
    if (held.type === 'graph') found.push({ attribute, graph: held.value })
    if (held.type === 'graphs') for (const graph of held.value) found.push({ attribute, graph })
  }
  return found
}
