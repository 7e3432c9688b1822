import { UserError } from '../../ir/errors.ts'
import type {
  Attribute,
  Dim,
  Graph,
  LocalFunction,
  Model,
  Node,
  Origin,
  TensorType,
  ValueInfo,
} from '../../ir/model.ts'
import { dataTypeOfOnnx, type Tensor } from '../../ir/tensor.ts'
import { labelOf } from './label.ts'
import * as schema from './schema.ts'
import { type ExternalData, maxRank, readTensor } from './tensor.ts'
import { Budget, type Field, fieldsOf, float, floatsOf, integer, payload, text, varints } from './wire.ts'

/**
 * Files that hold more were made to exhaust time and memory; large networks in use hold some hundred thousand records.
 * Records are fields of every message and numbers of attributes; parts are what becomes objects of its own: nodes,
 * tensors, values, attributes, and graphs, which weigh as much as several of these.
 */
const maxRecords = 8_000_000
const maxParts = 1_000_000
const weightOfGraph = 8
const maxNames = 4_000_000
const maxDepth = 64

/** Most nodes lack one or the other: they share these. */
const none: readonly string[] = []
const noAttributes: ReadonlyMap<string, Attribute> = new Map()

/** A node whose label still is what the exporter noted of its scopes. */
type Draft = Node & { readonly origin: Origin }

function labelled(draft: Draft, isParameter: (value: string) => boolean): Node {
  const { label: scopes, byteOffset } = draft.origin
  return { ...draft, origin: { label: labelOf(draft, isParameter, scopes || undefined), byteOffset } }
}

/** Local functions of one name differ in their overload (IR version 10 and up); it becomes part of the name. */
const overloaded = (name: string, overload: string) => (overload ? `${name}:${overload}` : name)

/** Where the records of the file lie that edits may replace. */
export interface Locations {
  /** TensorProto records of the main graph: initializers by name, and Constant nodes' values by the node's output. */
  readonly tensors: ReadonlyMap<string, Field>
}

/**
 * Reads an ONNX model from the bytes of its file, IR version 3 and up. Tensors stay views of `bytes` (or of external
 * data, read when first asked for), so memory is bounded by what the file holds. Throws a UserError that names the
 * place if the bytes are not a model.
 */
export function readModel(
  bytes: Uint8Array,
  external?: ExternalData,
): { model: Model; locations: Locations } {
  return new ModelReader(bytes, external).read()
}

class ModelReader {
  readonly #bytes: Uint8Array
  readonly #external: ExternalData | undefined
  readonly #tensors = new Map<string, Field>()
  readonly #budget = new Budget(maxRecords)
  #parts = 0
  #names = 0

  constructor(bytes: Uint8Array, external: ExternalData | undefined) {
    this.#bytes = bytes
    this.#external = external
  }

  read(): { model: Model; locations: Locations } {
    let irVersion = 0
    let producer = ''
    let graph: Graph | undefined
    const opsets = new Map<string, number>()
    const functions: LocalFunction[] = []
    for (const field of fieldsOf(this.#bytes, 0, this.#bytes.length, this.#budget)) {
      if (field.number === schema.model.irVersion) irVersion = integer(this.#bytes, field)
      else if (field.number === schema.model.producerName) producer = text(this.#bytes, field)
      else if (field.number === schema.model.producerVersion)
        producer = `${producer} ${text(this.#bytes, field)}`.trim()
      else if (field.number === schema.model.opsetImport) this.#opset(field, opsets)
      else if (field.number === schema.model.graph) {
        if (graph)
          throw new UserError(
            `the ONNX file holds a second graph at byte ${field.start}, expected one; it is damaged: export it again`,
          )
        graph = this.#graph(field, 0)
      } else if (field.number === schema.model.functions) functions.push(this.#function(field))
    }
    if (irVersion === 0 && !graph)
      throw new UserError(
        'not an ONNX model: neither an IR version nor a graph is in it; give a file made by an ONNX exporter',
      )
    if (!graph) throw new UserError('the ONNX model has no graph; the file may be truncated')
    if (irVersion < 3)
      throw new UserError(
        `ONNX IR version ${irVersion} is not supported: expected 3 or newer; export the model again`,
      )
    checkOrder(graph)
    return {
      model: { format: 'onnx', irVersion, opsets, graph, functions, producer },
      locations: { tensors: this.#tensors },
    }
  }

  #fields(field: Field): Generator<Field> {
    return fieldsOf(this.#bytes, field.valueStart, field.end, this.#budget)
  }

  #count(field: Field, weight = 1): void {
    this.#parts += weight
    if (this.#parts > maxParts)
      throw new UserError(
        `the ONNX file holds more than ${maxParts} nodes, tensors, values and attributes (at byte ${field.start}); no network is like this: the file is damaged or was made to exhaust memory`,
      )
  }

  #countNames(count: number, field: Field): void {
    this.#names += count
    if (this.#names > maxNames)
      throw new UserError(
        `the ONNX file lists more than ${maxNames} names (at byte ${field.start}); no network is like this: the file is damaged or was made to exhaust memory`,
      )
  }

  #opset(field: Field, opsets: Map<string, number>): void {
    this.#count(field)
    let domain = ''
    let version = 1
    for (const part of this.#fields(field)) {
      if (part.number === schema.opsetId.domain) domain = text(this.#bytes, part)
      if (part.number === schema.opsetId.version) version = integer(this.#bytes, part)
    }
    opsets.set(domain === 'ai.onnx' ? '' : domain, version)
  }

  #graph(field: Field, depth: number): Graph {
    if (depth > maxDepth)
      throw new UserError(
        `the ONNX graph nests subgraphs more than ${maxDepth} deep (at byte ${field.start}); no network is like this: the file is damaged or was made to exhaust memory`,
      )
    this.#count(field, weightOfGraph)
    let name = ''
    const drafts: Draft[] = []
    const inputs: ValueInfo[] = []
    const outputs: ValueInfo[] = []
    const initializers = new Map<string, Tensor>()
    const types = new Map<string, TensorType>()
    const opaque: { field: number; bytes: Uint8Array }[] = []
    for (const part of this.#fields(field)) {
      this.#count(part)
      switch (part.number) {
        case schema.graph.name:
          name = text(this.#bytes, part)
          break
        case schema.graph.node:
          drafts.push(this.#node(part, depth))
          break
        case schema.graph.initializer: {
          const { name: value, tensor } = this.#tensor(part)
          initializers.set(value, tensor)
          if (depth === 0) this.#tensors.set(value, part)
          break
        }
        case schema.graph.input:
          inputs.push(this.#valueInfo(part))
          break
        case schema.graph.output:
          outputs.push(this.#valueInfo(part))
          break
        case schema.graph.valueInfo: {
          const info = this.#valueInfo(part)
          if (info.type) types.set(info.name, info.type)
          break
        }
        case schema.graph.sparseInitializer:
          opaque.push({ field: part.number, bytes: payload(this.#bytes, part) })
          break
      }
    }
    const isParameter = (value: string) => initializers.has(value)
    const nodes = drafts.map((draft) => labelled(draft, isParameter))
    return { name, nodes, inputs, outputs, initializers, types, opaque }
  }

  #tensor(field: Field) {
    return readTensor(this.#bytes, field, this.#external, this.#budget)
  }

  #node(field: Field, depth: number): Draft {
    let name = ''
    let opType = ''
    let domain = ''
    let overload = ''
    let scopes: string | undefined
    let constant: Field | undefined
    const inputs: string[] = []
    const outputs: string[] = []
    let attributes: Map<string, Attribute> | undefined
    for (const part of this.#fields(field)) {
      switch (part.number) {
        case schema.node.input:
          inputs.push(text(this.#bytes, part))
          break
        case schema.node.output:
          outputs.push(text(this.#bytes, part))
          break
        case schema.node.name:
          name = text(this.#bytes, part)
          break
        case schema.node.opType:
          opType = text(this.#bytes, part)
          break
        case schema.node.domain:
          domain = text(this.#bytes, part)
          break
        case schema.node.overload:
          overload = text(this.#bytes, part)
          break
        case schema.node.attribute: {
          this.#count(part)
          const [key, value, tensorField] = this.#attribute(part, depth)
          attributes ??= new Map()
          attributes.set(key, value)
          if (key === 'value' && tensorField) constant = tensorField
          break
        }
        case schema.node.metadata: {
          const [key, value] = this.#entry(part)
          if (key === 'pkg.torch.onnx.name_scopes') scopes = value
          break
        }
      }
    }
    if (opType === '')
      throw new UserError(
        `not a valid ONNX file: the node at byte ${field.start} has no operator; export the model again`,
      )
    if (depth === 0 && constant && opType === 'Constant' && outputs[0] !== undefined)
      this.#tensors.set(outputs[0], constant)
    this.#countNames(inputs.length + outputs.length, field)
    return {
      name,
      opType: overloaded(opType, overload),
      domain: domain === 'ai.onnx' ? '' : domain,
      inputs: inputs.length === 0 ? none : inputs.slice(),
      outputs: outputs.length === 0 ? none : outputs.slice(),
      attributes: attributes ?? noAttributes,
      origin: { label: scopes ?? '', byteOffset: field.start },
    }
  }

  #attribute(field: Field, depth: number): [string, Attribute, Field | undefined] {
    const bytes = this.#bytes
    const s = schema.attribute
    let name = ''
    let type = 0
    let reference: string | undefined
    const one = new Map<number, Field>()
    const floats: number[] = []
    const ints: number[] = []
    const strings: string[] = []
    const graphs: Graph[] = []
    for (const part of this.#fields(field)) {
      switch (part.number) {
        case s.name:
          name = text(bytes, part)
          break
        case s.type:
          type = integer(bytes, part)
          break
        case s.reference:
          reference = text(bytes, part)
          break
        case s.floats:
          this.#budget.spend((part.end - part.valueStart) / 4, part.start)
          for (const value of floatsOf(bytes, part)) floats.push(value)
          break
        case s.ints:
          this.#budget.spend(part.end - part.valueStart, part.start)
          for (const value of varints(bytes, part)) ints.push(Number(value))
          break
        case s.strings:
          strings.push(text(bytes, part))
          break
        case s.graphs:
          graphs.push(this.#graph(part, depth + 1))
          break
        case s.f:
        case s.i:
        case s.s:
        case s.t:
        case s.g:
          one.set(part.number, part)
          break
      }
    }
    if (reference)
      return [name, { type: 'reference', value: reference, raw: payload(bytes, field) }, undefined]
    this.#countNames(strings.length, field)
    const [f, i, string, tensor, graph] = [s.f, s.i, s.s, s.t, s.g].map((number) => one.get(number))
    // Files of IR version 1 state no type; the field that is there tells it.
    const is = (kind: keyof typeof schema.attributeType, there: boolean) =>
      type === schema.attributeType[kind] || (type === 0 && there)
    const value = ((): Attribute => {
      if (is('float', f !== undefined)) return { type: 'float', value: f ? float(bytes, f) : 0 }
      if (is('int', i !== undefined)) return { type: 'int', value: i ? integer(bytes, i) : 0 }
      if (is('string', string !== undefined))
        return { type: 'string', value: string ? text(bytes, string) : '' }
      if (is('tensor', tensor !== undefined) && tensor)
        return { type: 'tensor', value: this.#tensor(tensor).tensor }
      if (is('graph', graph !== undefined) && graph)
        return { type: 'graph', value: this.#graph(graph, depth + 1) }
      if (is('floats', floats.length > 0)) return { type: 'floats', value: floats }
      if (is('ints', ints.length > 0)) return { type: 'ints', value: ints }
      if (is('strings', strings.length > 0)) return { type: 'strings', value: strings }
      if (is('graphs', graphs.length > 0)) return { type: 'graphs', value: graphs }
      return { type: 'opaque', value: payload(bytes, field) }
    })()
    return [name, value, value.type === 'tensor' ? tensor : undefined]
  }

  #entry(field: Field): [string, string] {
    let key = ''
    let value = ''
    for (const part of this.#fields(field)) {
      if (part.number === schema.entry.key) key = text(this.#bytes, part)
      if (part.number === schema.entry.value) value = text(this.#bytes, part)
    }
    return [key, value]
  }

  #valueInfo(field: Field): ValueInfo {
    let name = ''
    let type: TensorType | undefined
    let raw: Uint8Array | undefined
    for (const part of this.#fields(field)) {
      if (part.number === schema.valueInfo.name) name = text(this.#bytes, part)
      if (part.number === schema.valueInfo.type) {
        raw = payload(this.#bytes, part)
        for (const kind of this.#fields(part))
          if (kind.number === schema.type.tensor) type = this.#tensorType(kind)
      }
    }
    return { name, type, raw: type?.dataType ? undefined : raw }
  }

  #tensorType(field: Field): TensorType {
    let code = 0
    let shape: Dim[] | undefined
    for (const part of this.#fields(field)) {
      if (part.number === schema.tensorType.elementType) code = integer(this.#bytes, part)
      if (part.number === schema.tensorType.shape) {
        shape = []
        for (const axis of this.#fields(part))
          if (axis.number === schema.shape.dim && shape.push(this.#dim(axis)) > maxRank)
            throw new UserError(
              `the ONNX file states a shape of more than ${maxRank} axes at byte ${part.start}; no tensor is like this: the file is damaged`,
            )
      }
    }
    return { dataType: dataTypeOfOnnx(code), shape }
  }

  #dim(field: Field): Dim {
    let dim: Dim
    for (const part of this.#fields(field)) {
      if (part.number === schema.dim.value) dim = integer(this.#bytes, part)
      if (part.number === schema.dim.parameter) dim = text(this.#bytes, part) || undefined
    }
    // Exporters write 0 or -1 for a dimension that they leave open.
    return typeof dim === 'number' && dim <= 0 ? undefined : dim
  }

  #function(field: Field): LocalFunction {
    let name = ''
    let domain = ''
    let overload = ''
    const inputs: string[] = []
    const outputs: string[] = []
    const attributes: string[] = []
    const defaults = new Map<string, Attribute>()
    const nodes: Node[] = []
    const opsets = new Map<string, number>()
    for (const part of this.#fields(field)) {
      this.#count(part)
      const f = schema.localFunction
      if (part.number === f.name) name = text(this.#bytes, part)
      else if (part.number === f.domain) domain = text(this.#bytes, part)
      else if (part.number === f.overload) overload = text(this.#bytes, part)
      else if (part.number === f.input) inputs.push(text(this.#bytes, part))
      else if (part.number === f.output) outputs.push(text(this.#bytes, part))
      else if (part.number === f.attribute) attributes.push(text(this.#bytes, part))
      else if (part.number === f.opsetImport) this.#opset(part, opsets)
      // Depth 1: the tensors in a function are not the file's own parameters, edits cannot name them.
      else if (part.number === f.node) nodes.push(labelled(this.#node(part, 1), () => false))
      else if (part.number === f.attributeProto) {
        const [key, value] = this.#attribute(part, 1)
        defaults.set(key, value)
      }
    }
    return {
      domain,
      name: overloaded(name, overload),
      inputs,
      outputs,
      attributes,
      defaults,
      nodes,
      opsets,
    }
  }
}

/** Names of the values that a graph may read: its own so far, and those of the graphs around it. */
class Scope {
  readonly #outer: Scope | undefined
  readonly #own = new Set<string>()

  constructor(outer: Scope | undefined) {
    this.#outer = outer
  }

  add(name: string): void {
    this.#own.add(name)
  }

  holds(name: string): boolean {
    return this.#own.has(name)
  }

  sees(name: string): boolean {
    return this.#own.has(name) || (this.#outer?.sees(name) ?? false)
  }
}

/** Every value must be produced once, before it is read: refuses cycles and graphs that are not in single-assignment form. */
function checkOrder(graph: Graph, outer?: Scope): void {
  const known = new Scope(outer)
  for (const { name } of graph.inputs) known.add(name)
  for (const name of graph.initializers.keys()) known.add(name)
  const sparse = (graph.opaque?.length ?? 0) > 0
  for (const node of graph.nodes) {
    for (const input of node.inputs) {
      if (input === '' || known.sees(input) || sparse) continue
      const label = node.origin?.label || node.name || node.outputs[0]
      throw new UserError(
        graph.nodes.some(({ outputs }) => outputs.includes(input))
          ? `the ONNX graph is cyclic or out of order: node '${label}' (${node.opType}) reads '${input}' before it is computed; export the model again`
          : `node '${label}' (${node.opType}) reads '${input}', which nothing in the ONNX graph provides; the file may be damaged: export the model again`,
      )
    }
    for (const [, attribute] of node.attributes) {
      if (attribute.type === 'graph') checkOrder(attribute.value, known)
      if (attribute.type === 'graphs') for (const inner of attribute.value) checkOrder(inner, known)
    }
    for (const output of node.outputs) {
      if (output === '') continue
      if (known.holds(output))
        throw new UserError(
          `the ONNX graph computes '${output}' twice (again in node '${node.name}', ${node.opType}); export the model again`,
        )
      known.add(output)
    }
  }
  for (const { name } of graph.outputs)
    if (!known.sees(name) && !sparse)
      throw new UserError(
        `the ONNX graph's output '${name}' is computed by no node; the file may be damaged: export the model again`,
      )
}
