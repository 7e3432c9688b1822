import { UserError } from '../../ir/errors.ts'
import type {
  Attribute,
  Dim,
  Graph,
  LocalFunction,
  Model,
  Node,
  TensorType,
  ValueInfo,
} from '../../ir/model.ts'
import { dataTypeOfOnnx, type Tensor } from '../../ir/tensor.ts'
import { labelOf } from './label.ts'
import * as schema from './schema.ts'
import { type ExternalData, readTensor } from './tensor.ts'
import { type Field, fieldsOf, float, integer, payload, text, varints } from './wire.ts'

/**
 * No network in use comes near these; a small file that claims more was made to exhaust memory.
 * Records are nodes, tensors, values and attributes; items are the entries of their lists.
 */
const maxRecords = 4_000_000
const maxItems = 16_000_000
const maxDepth = 64

/** Where the records of the file lie that edits may replace. */
export interface Locations {
  /** TensorProto records: initializers by name, and Constant nodes' values by the node's output. */
  readonly tensors: ReadonlyMap<string, Field>
  /** NodeProto records of the main graph, by the node's first output. */
  readonly nodes: ReadonlyMap<string, Field>
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
  readonly #nodes = new Map<string, Field>()
  #records = 0
  #items = 0

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
    for (const field of fieldsOf(this.#bytes)) {
      if (field.number === schema.model.irVersion) irVersion = integer(this.#bytes, field)
      else if (field.number === schema.model.producerName) producer = text(this.#bytes, field)
      else if (field.number === schema.model.producerVersion)
        producer = `${producer} ${text(this.#bytes, field)}`.trim()
      else if (field.number === schema.model.opsetImport) this.#opset(field, opsets)
      else if (field.number === schema.model.graph) graph = this.#graph(field, 0)
      else if (field.number === schema.model.functions) functions.push(this.#function(field))
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
    checkOrder(graph, new Set())
    return {
      model: { format: 'onnx', irVersion, opsets, graph, functions, producer },
      locations: { tensors: this.#tensors, nodes: this.#nodes },
    }
  }

  #count(field: Field): void {
    if (++this.#records > maxRecords)
      throw new UserError(
        `the ONNX file holds more than ${maxRecords} records (at byte ${field.start}); a file like this is not a network`,
      )
  }

  #countItems(count: number, field: Field): void {
    this.#items += count
    if (this.#items > maxItems)
      throw new UserError(
        `the ONNX file lists more than ${maxItems} names and attribute values (at byte ${field.start}); a file like this is not a network`,
      )
  }

  #opset(field: Field, opsets: Map<string, number>): void {
    let domain = ''
    let version = 1
    for (const part of fieldsOf(this.#bytes, field.valueStart, field.end)) {
      if (part.number === schema.opsetId.domain) domain = text(this.#bytes, part)
      if (part.number === schema.opsetId.version) version = integer(this.#bytes, part)
    }
    opsets.set(domain === 'ai.onnx' ? '' : domain, version)
  }

  #graph(field: Field, depth: number): Graph {
    if (depth > maxDepth)
      throw new UserError(
        `the ONNX graph nests subgraphs more than ${maxDepth} deep (at byte ${field.start})`,
      )
    let name = ''
    const nodeFields: Field[] = []
    const inputs: ValueInfo[] = []
    const outputs: ValueInfo[] = []
    const initializers = new Map<string, Tensor>()
    const types = new Map<string, TensorType>()
    const opaque: { field: number; bytes: Uint8Array }[] = []
    for (const part of fieldsOf(this.#bytes, field.valueStart, field.end)) {
      this.#count(part)
      switch (part.number) {
        case schema.graph.name:
          name = text(this.#bytes, part)
          break
        case schema.graph.node:
          nodeFields.push(part)
          break
        case schema.graph.initializer: {
          const { name: value, tensor } = readTensor(this.#bytes, part, this.#external)
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
    const nodes = nodeFields.map((part) => {
      const node = this.#node(part, depth, isParameter)
      const key = node.outputs.find((output) => output !== '')
      if (depth === 0 && key !== undefined) this.#nodes.set(key, part)
      return node
    })
    return { name, nodes, inputs, outputs, initializers, types, opaque }
  }

  #node(field: Field, depth: number, isParameter: (value: string) => boolean): Node {
    let name = ''
    let opType = ''
    let domain = ''
    let scopes: string | undefined
    const inputs: string[] = []
    const outputs: string[] = []
    const attributes = new Map<string, Attribute>()
    for (const part of fieldsOf(this.#bytes, field.valueStart, field.end)) {
      switch (part.number) {
        case schema.node.input:
          inputs.push(text(this.#bytes, part))
          this.#countItems(1, part)
          break
        case schema.node.output:
          outputs.push(text(this.#bytes, part))
          this.#countItems(1, part)
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
        case schema.node.attribute: {
          this.#count(part)
          const [key, value, tensorField] = this.#attribute(part, depth)
          attributes.set(key, value)
          if (depth === 0 && tensorField && opType === 'Constant' && outputs[0] !== undefined)
            this.#tensors.set(outputs[0], tensorField)
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
      throw new UserError(`not a valid ONNX file: the node at byte ${field.start} has no operator`)
    const node = { name, opType, domain: domain === 'ai.onnx' ? '' : domain, inputs, outputs, attributes }
    return { ...node, origin: { label: labelOf(node, isParameter, scopes), byteOffset: field.start } }
  }

  #attribute(field: Field, depth: number): [string, Attribute, Field | undefined] {
    const bytes = this.#bytes
    let name = ''
    let type = 0
    let reference: string | undefined
    let tensorField: Field | undefined
    const at = new Map<number, Field[]>()
    for (const part of fieldsOf(bytes, field.valueStart, field.end)) {
      if (part.number === schema.attribute.name) name = text(bytes, part)
      else if (part.number === schema.attribute.type) type = integer(bytes, part)
      else if (part.number === schema.attribute.reference) reference = text(bytes, part)
      else {
        const same = at.get(part.number)
        if (same) same.push(part)
        else at.set(part.number, [part])
        this.#countItems(1, part)
      }
    }
    if (reference)
      return [name, { type: 'reference', value: reference, raw: payload(bytes, field) }, undefined]
    const one = (number: number) => at.get(number)?.at(-1)
    const all = (number: number) => at.get(number) ?? []
    const { f, i, s, t, g, floats, ints, strings, graphs } = schema.attribute
    // Files of IR version 1 state no type; the field that is there tells it.
    const is = (kind: keyof typeof schema.attributeType, number: number) =>
      type === schema.attributeType[kind] || (type === 0 && at.has(number))
    const value = ((): Attribute => {
      if (is('float', f)) return { type: 'float', value: one(f) ? float(bytes, one(f)!) : 0 }
      if (is('int', i)) return { type: 'int', value: one(i) ? integer(bytes, one(i)!) : 0 }
      if (is('string', s)) return { type: 'string', value: one(s) ? text(bytes, one(s)!) : '' }
      if (is('tensor', t) && one(t)) {
        tensorField = one(t)!
        return { type: 'tensor', value: readTensor(bytes, tensorField, this.#external).tensor }
      }
      if (is('graph', g) && one(g)) return { type: 'graph', value: this.#graph(one(g)!, depth + 1) }
      if (is('floats', floats)) return { type: 'floats', value: this.#floats(all(floats)) }
      if (is('ints', ints)) return { type: 'ints', value: this.#ints(all(ints)) }
      if (is('strings', strings))
        return { type: 'strings', value: all(strings).map((part) => text(bytes, part)) }
      if (is('graphs', graphs))
        return { type: 'graphs', value: all(graphs).map((part) => this.#graph(part, depth + 1)) }
      return { type: 'opaque', value: payload(bytes, field) }
    })()
    return [name, value, tensorField]
  }

  #ints(fields: readonly Field[]): number[] {
    const values: number[] = []
    for (const field of fields) {
      if (field.wireType !== 2) values.push(integer(this.#bytes, field))
      else {
        this.#countItems(field.end - field.valueStart, field)
        for (const value of varints(payload(this.#bytes, field))) values.push(Number(value))
      }
    }
    return values
  }

  #floats(fields: readonly Field[]): number[] {
    return fields.flatMap((field) => {
      if (field.wireType !== 2) return [float(this.#bytes, field)]
      const packed = payload(this.#bytes, field)
      this.#countItems(packed.length / 4, field)
      const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength)
      return Array.from({ length: packed.length >> 2 }, (_, k) => view.getFloat32(4 * k, true))
    })
  }

  #entry(field: Field): [string, string] {
    let key = ''
    let value = ''
    for (const part of fieldsOf(this.#bytes, field.valueStart, field.end)) {
      if (part.number === schema.entry.key) key = text(this.#bytes, part)
      if (part.number === schema.entry.value) value = text(this.#bytes, part)
    }
    return [key, value]
  }

  #valueInfo(field: Field): ValueInfo {
    let name = ''
    let type: TensorType | undefined
    let raw: Uint8Array | undefined
    for (const part of fieldsOf(this.#bytes, field.valueStart, field.end)) {
      if (part.number === schema.valueInfo.name) name = text(this.#bytes, part)
      if (part.number === schema.valueInfo.type) {
        raw = payload(this.#bytes, part)
        for (const kind of fieldsOf(this.#bytes, part.valueStart, part.end))
          if (kind.number === schema.type.tensor) type = this.#tensorType(kind)
      }
    }
    return { name, type, raw }
  }

  #tensorType(field: Field): TensorType {
    let code = 0
    let shape: Dim[] | undefined
    for (const part of fieldsOf(this.#bytes, field.valueStart, field.end)) {
      if (part.number === schema.tensorType.elementType) code = integer(this.#bytes, part)
      if (part.number === schema.tensorType.shape) {
        shape = []
        for (const axis of fieldsOf(this.#bytes, part.valueStart, part.end))
          if (axis.number === schema.shape.dim) shape.push(this.#dim(axis))
        this.#countItems(shape.length, part)
      }
    }
    return { dataType: dataTypeOfOnnx(code), shape }
  }

  #dim(field: Field): Dim {
    let dim: Dim
    for (const part of fieldsOf(this.#bytes, field.valueStart, field.end)) {
      if (part.number === schema.dim.value) dim = integer(this.#bytes, part)
      if (part.number === schema.dim.parameter) dim = text(this.#bytes, part) || undefined
    }
    // Exporters write 0 or -1 for a dimension that they leave open.
    return typeof dim === 'number' && dim <= 0 ? undefined : dim
  }

  #function(field: Field): LocalFunction {
    let name = ''
    let domain = ''
    const inputs: string[] = []
    const outputs: string[] = []
    const attributes: string[] = []
    const defaults = new Map<string, Attribute>()
    const nodes: Node[] = []
    const opsets = new Map<string, number>()
    for (const part of fieldsOf(this.#bytes, field.valueStart, field.end)) {
      this.#count(part)
      const f = schema.localFunction
      if (part.number === f.name) name = text(this.#bytes, part)
      else if (part.number === f.domain) domain = text(this.#bytes, part)
      else if (part.number === f.input) inputs.push(text(this.#bytes, part))
      else if (part.number === f.output) outputs.push(text(this.#bytes, part))
      else if (part.number === f.attribute) attributes.push(text(this.#bytes, part))
      else if (part.number === f.opsetImport) this.#opset(part, opsets)
      // Depth 1: the tensors in a function are not the file's own parameters, edits cannot name them.
      else if (part.number === f.node) nodes.push(this.#node(part, 1, () => false))
      else if (part.number === f.attributeProto) {
        const [key, value] = this.#attribute(part, 1)
        defaults.set(key, value)
      }
    }
    return { domain, name, inputs, outputs, attributes, defaults, nodes, opsets }
  }
}

/** Every value must be produced once, before it is read: refuses cycles and graphs that are not in single-assignment form. */
function checkOrder(graph: Graph, outer: ReadonlySet<string>): void {
  const known = new Set([...outer, ...graph.inputs.map(({ name }) => name), ...graph.initializers.keys()])
  const sparse = (graph.opaque?.length ?? 0) > 0
  const producedLater = new Set(graph.nodes.flatMap(({ outputs }) => outputs))
  for (const node of graph.nodes) {
    for (const input of node.inputs) {
      if (input === '' || known.has(input) || sparse) continue
      const label = node.origin?.label || node.name || node.outputs[0]
      throw new UserError(
        producedLater.has(input)
          ? `the ONNX graph is cyclic or out of order: node '${label}' (${node.opType}) reads '${input}' before it is computed`
          : `node '${label}' (${node.opType}) reads '${input}', which nothing in the ONNX graph provides`,
      )
    }
    for (const [, attribute] of node.attributes) {
      if (attribute.type === 'graph') checkOrder(attribute.value, known)
      if (attribute.type === 'graphs') for (const inner of attribute.value) checkOrder(inner, known)
    }
    for (const output of node.outputs) {
      if (output === '') continue
      if (known.has(output) && !outer.has(output))
        throw new UserError(
          `the ONNX graph computes '${output}' twice (again in node '${node.name}', ${node.opType})`,
        )
      known.add(output)
    }
  }
  for (const { name } of graph.outputs)
    if (!known.has(name) && !sparse)
      throw new UserError(`the ONNX graph's output '${name}' is computed by no node`)
}
