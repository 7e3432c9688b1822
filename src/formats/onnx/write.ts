import { type Edit, initializersAreInputs, modeEdits, noiseEdits, tensorChanges } from '../../ir/edit.ts'
import { UserError } from '../../ir/errors.ts'
import { type ModeChange, modeChanges } from '../../ir/mode-edit.ts'
import {
  type Attribute,
  type Graph,
  keyOf,
  type LocalFunction,
  labelOf,
  type Model,
  type Node,
  type TensorType,
  type ValueInfo,
} from '../../ir/model.ts'
import { noiseChanges, withFunctions } from '../../ir/noise-edit.ts'
import { dataTypes, type Tensor } from '../../ir/tensor.ts'
import type { Locations } from './read.ts'
import * as schema from './schema.ts'
import { replaceContents, writeExternalTensor, writeTensor } from './tensor.ts'
import { concat, type Field, fieldsOf, MessageWriter, type Replacement, splice, text } from './wire.ts'

/**
 * The file `bytes` with `edits` applied, as chunks: only the records that an edit names are written anew, every other
 * byte is the source's. `model` is what was read from the file, functions inlined.
 */
export function applyToFile(
  bytes: Uint8Array,
  model: Model,
  locations: Locations,
  edits: readonly Edit[],
): Uint8Array[] {
  if (edits.length === 0) return [bytes]
  const graph = graphOf(bytes)
  const nodes = new Map<number, Field>()
  let first: Field | undefined
  for (const field of fieldsOf(bytes, graph.valueStart, graph.end)) {
    first ??= field
    if (field.number === schema.graph.node) nodes.set(field.start, field)
  }
  const replacements = new Map<number, Replacement>()
  const replace = ({ start, end }: Field, records: Uint8Array) =>
    replacements.set(start, { start, end, records })
  // A node that came out of a function has its record there, where all calls of the function share it.
  const recordOf = (node: Node): Field => {
    const record = nodes.get(node.origin?.byteOffset ?? -1)
    if (record) return record
    throw new UserError(
      `'${labelOf(node)}' lies inside a function of the model and cannot be changed alone; export the model without local functions`,
    )
  }
  const added = new MessageWriter()
  const addInitializer = (name: string, tensor: Tensor) => {
    added.message(schema.graph.initializer, (out) => writeTensor(out, name, tensor))
    if (initializersAreInputs(model)) {
      const type = { dataType: tensor.dataType, shape: tensor.dims }
      added.message(schema.graph.input, (out) => writeValueInfo(out, { name, type }))
    }
  }
  const noise = noiseChanges(model, noiseEdits(edits))
  for (const [name, tensor] of noise.initializers) addInitializer(name, tensor)
  const modes = modeChanges(model, modeEdits(edits))
  if (modes.off) addInitializer(...modes.off)
  const renames = new Map([...noise.renamed].map(([key, names]) => [key, new Map(names)]))
  for (const { value, tensor, split } of tensorChanges(model.graph, edits)) {
    if (!split) {
      const record = locations.tensors.get(value)
      if (!record)
        throw new UserError(
          `'${value}' is held inside a function of the model and cannot be replaced; export the model without local functions`,
        )
      replace(record, replaceContents(bytes, record, tensor))
      continue
    }
    addInitializer(split.name, tensor)
    const names = renames.get(keyOf(split.node)) ?? new Map<number, string>()
    renames.set(keyOf(split.node), names.set(split.inputIndex, split.name))
  }
  for (const node of model.graph.nodes) {
    const key = keyOf(node)
    const [instead, before, names] = [noise.replaced.get(key), noise.before.get(key), renames.get(key)]
    const mode = modes.nodes.get(key)
    if (!instead && !before && !names && !mode) continue
    const record = recordOf(node)
    const own = instead
      ? nodeRecords(instead)
      : names || mode
        ? changedNode(bytes, record, {
            ...mode,
            inputs: new Map([...(mode?.inputs ?? []), ...(names ?? [])]),
          })
        : bytes.subarray(record.start, record.end)
    replace(record, concat([nodeRecords(before ?? []), own]))
  }
  const records = concat(added.finish())
  if (records.length > 0 && first) {
    // Behind the first field of the graph.
    const own = replacements.get(first.start)?.records ?? bytes.subarray(first.start, first.end)
    replace(first, concat([own, records]))
  }
  if (noise.functions.length === 0) return splice(bytes, [...replacements.values()])
  const { irVersion } = withFunctions(model, noise.functions)
  for (const field of fieldsOf(bytes))
    if (field.number === schema.model.irVersion)
      replace(field, concat(new MessageWriter().int(schema.model.irVersion, irVersion).finish()))
  return [...splice(bytes, [...replacements.values()]), ...functionRecords(noise.functions, model)]
}

function nodeRecords(nodes: readonly Node[]): Uint8Array {
  const out = new MessageWriter()
  for (const node of nodes) out.message(schema.graph.node, (inner) => writeNode(inner, node))
  return concat(out.finish())
}

/** Fields of a model that define the functions and import their domains, where the model does not yet. */
function functionRecords(functions: readonly LocalFunction[], { opsets }: Model): Uint8Array[] {
  const out = new MessageWriter()
  for (const domain of new Set(functions.map((f) => f.domain)))
    if (!opsets.has(domain)) writeOpset(out, schema.model.opsetImport, domain, 1)
  for (const f of functions) out.message(schema.model.functions, (inner) => writeFunction(inner, f))
  return out.finish()
}

function graphOf(bytes: Uint8Array): Field {
  for (const field of fieldsOf(bytes)) if (field.number === schema.model.graph) return field
  throw new UserError('the ONNX model has no graph; the file may be truncated')
}

/** The record of a node with some inputs, outputs and attributes changed, and every other byte of it as it was. */
function changedNode(
  bytes: Uint8Array,
  field: Field,
  { inputs, outputs = Number.POSITIVE_INFINITY, attributes = {} }: Partial<ModeChange>,
): Uint8Array {
  const s = schema.node
  const inner = new MessageWriter()
  const left = new Map(Object.entries(attributes))
  const put = (name: string, value: number) =>
    inner.message(s.attribute, (out) => writeAttribute(out, name, { type: 'int', value }))
  let [input, output] = [0, 0]
  for (const part of fieldsOf(bytes, field.valueStart, field.end)) {
    const renamed = part.number === s.input ? inputs?.get(input++) : undefined
    const attribute = part.number === s.attribute ? attributeName(bytes, part) : undefined
    const value = attribute === undefined ? undefined : left.get(attribute)
    if (part.number === s.output && output++ >= outputs) continue
    if (renamed !== undefined) inner.string(s.input, renamed)
    else if (value !== undefined) {
      put(attribute!, value)
      left.delete(attribute!)
    } else inner.raw(bytes.subarray(part.start, part.end))
  }
  for (const [name, value] of left) put(name, value)
  return concat(new MessageWriter().bytes(field.number, concat(inner.finish())).finish())
}

function attributeName(bytes: Uint8Array, field: Field): string | undefined {
  for (const part of fieldsOf(bytes, field.valueStart, field.end))
    if (part.number === schema.attribute.name) return text(bytes, part)
  return undefined
}

/** A whole ONNX file for `model`. */
export const encodeModel = (model: Model): Uint8Array => encode(model, writeTensor)

/** Smaller ones are not worth an entry of their own. */
const largeBytes = 2 ** 16

/** A model as files in memory: what is large lies beside it, under the paths that it names, and is not copied. */
export interface ModelInMemory {
  readonly bytes: Uint8Array
  readonly externalData: readonly { readonly path: string; readonly data: Uint8Array }[]
}

/** The model with its large initializers beside it, so that their sum may pass the 2 GiB of one protobuf message. */
export function encodeInMemory(model: Model): ModelInMemory {
  const externalData: { path: string; data: Uint8Array }[] = []
  const bytes = encode(model, (out, name, tensor) => {
    if (tensor.strings || tensor.bytes.length < largeBytes) return writeTensor(out, name, tensor)
    const path = `tensor-${externalData.length}`
    externalData.push({ path, data: tensor.bytes })
    writeExternalTensor(out, name, tensor, path)
  })
  return { bytes, externalData }
}

type WriteInitializer = (out: MessageWriter, name: string, tensor: Tensor) => void

function encode(model: Model, writeInitializer: WriteInitializer): Uint8Array {
  const out = new MessageWriter()
  out.int(schema.model.irVersion, model.irVersion).string(schema.model.producerName, 'varshift')
  for (const [domain, version] of model.opsets) writeOpset(out, schema.model.opsetImport, domain, version)
  out.message(schema.model.graph, (inner) => writeGraph(inner, model.graph, writeInitializer))
  for (const f of model.functions) out.message(schema.model.functions, (inner) => writeFunction(inner, f))
  const size = out.finish().reduce((sum, chunk) => sum + chunk.length, 0)
  if (size >= 2 ** 31)
    throw new UserError(
      `the model takes ${(size / 2 ** 30).toFixed(1)} GiB as one file, and ONNX allows 2 GiB at most; keep its tensors in files beside it (external data)`,
    )
  return concat(out.finish())
}

function writeFunction(out: MessageWriter, f: LocalFunction): void {
  const s = schema.localFunction
  out.string(s.name, f.name).string(s.domain, f.domain)
  for (const value of f.inputs) out.string(s.input, value)
  for (const value of f.outputs) out.string(s.output, value)
  for (const name of f.attributes) out.string(s.attribute, name)
  for (const [name, value] of f.defaults)
    out.message(s.attributeProto, (inner) => writeAttribute(inner, name, value))
  for (const node of f.nodes) out.message(s.node, (inner) => writeNode(inner, node))
  for (const [domain, version] of f.opsets) writeOpset(out, s.opsetImport, domain, version)
}

function writeOpset(out: MessageWriter, field: number, domain: string, version: number): void {
  out.message(field, (inner) => {
    if (domain) inner.string(schema.opsetId.domain, domain)
    inner.int(schema.opsetId.version, version)
  })
}

function writeGraph(
  out: MessageWriter,
  graph: Graph,
  writeInitializer: WriteInitializer = writeTensor,
): void {
  for (const node of graph.nodes) out.message(schema.graph.node, (inner) => writeNode(inner, node))
  out.string(schema.graph.name, graph.name || 'graph')
  for (const [name, tensor] of graph.initializers)
    out.message(schema.graph.initializer, (inner) => writeInitializer(inner, name, tensor))
  for (const record of graph.opaque ?? []) out.bytes(record.field, record.bytes)
  for (const input of graph.inputs) out.message(schema.graph.input, (inner) => writeValueInfo(inner, input))
  for (const output of graph.outputs)
    out.message(schema.graph.output, (inner) => writeValueInfo(inner, output))
  for (const [name, type] of graph.types)
    out.message(schema.graph.valueInfo, (inner) => writeValueInfo(inner, { name, type }))
}

function writeValueInfo(out: MessageWriter, info: ValueInfo): void {
  out.string(schema.valueInfo.name, info.name)
  if (info.raw) out.bytes(schema.valueInfo.type, info.raw)
  else if (info.type?.dataType) out.message(schema.valueInfo.type, (inner) => writeType(inner, info.type!))
}

function writeType(out: MessageWriter, type: TensorType): void {
  out.message(schema.type.tensor, (tensor) => {
    tensor.int(schema.tensorType.elementType, dataTypes[type.dataType!].onnx)
    if (!type.shape) return
    const shape = type.shape
    tensor.message(schema.tensorType.shape, (dims) => {
      for (const dim of shape)
        dims.message(schema.shape.dim, (inner) => {
          if (typeof dim === 'number') inner.int(schema.dim.value, dim)
          if (typeof dim === 'string') inner.string(schema.dim.parameter, dim)
        })
    })
  })
}

function writeNode(out: MessageWriter, node: Node): void {
  const s = schema.node
  for (const input of node.inputs) out.string(s.input, input)
  for (const output of node.outputs) out.string(s.output, output)
  if (node.name) out.string(s.name, node.name)
  out.string(s.opType, node.opType)
  for (const [name, attribute] of node.attributes) {
    if (attribute.type === 'opaque') out.bytes(s.attribute, attribute.value)
    else if (attribute.type === 'reference') out.bytes(s.attribute, attribute.raw)
    else out.message(s.attribute, (inner) => writeAttribute(inner, name, attribute))
  }
  if (node.domain) out.string(s.domain, node.domain)
}

function writeAttribute(out: MessageWriter, name: string, attribute: Attribute): void {
  const s = schema.attribute
  out.string(s.name, name)
  switch (attribute.type) {
    case 'float':
      out.float(s.f, attribute.value)
      break
    case 'int':
      out.int(s.i, attribute.value)
      break
    case 'string':
      out.string(s.s, attribute.value)
      break
    case 'tensor':
      out.message(s.t, (inner) => writeTensor(inner, '', attribute.value))
      break
    case 'graph':
      out.message(s.g, (inner) => writeGraph(inner, attribute.value))
      break
    case 'floats':
      for (const value of attribute.value) out.float(s.floats, value)
      break
    case 'ints':
      for (const value of attribute.value) out.int(s.ints, value)
      break
    case 'strings':
      for (const value of attribute.value) out.string(s.strings, value)
      break
    case 'graphs':
      for (const value of attribute.value) out.message(s.graphs, (inner) => writeGraph(inner, value))
      break
    case 'reference':
    case 'opaque':
      return
  }
  out.int(s.type, schema.attributeType[attribute.type])
}
