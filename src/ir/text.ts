import { UserError } from './errors.ts'
import type { Attribute, Dim, Graph, LocalFunction, Model, Node, TensorType, ValueInfo } from './model.ts'
import { uniform } from './random.ts'
import { type DataType, dataTypes, elementCount, Tensor } from './tensor.ts'

/**
 * The text form of a model: ONNX's own textual syntax, with two ways to fill a tensor that tests need.
 *
 *   <opset_import: ["": 17]>
 *   net (float32[N, 3, 8, 8] x) => (float32[N, 4] y)
 *   <float32[4] one = fill(1), float32[4, 3, 3, 3] w = uniform(-1, 1, 7)>
 *   {
 *     [conv1] h = Conv <pads = [1, 1, 1, 1]> (x, w)
 *     n = BatchNormalization <epsilon = 1e-5> (h, one, zero, mean, var)
 *     y = If (flag) <then_branch = a () => (t) { t = Identity(n) }, else_branch = ...>
 *   }
 *   <domain: "local", opset_import: ["": 17]>
 *   double (x) => (y) { y = Add(x, x) }
 *
 * Reading it back gives an equal model (`printModel` abbreviates tensors above `maxElements`).
 */
export function parseModel(text: string): Model {
  const reader = new Reader(text)
  const header = reader.peek('<') ? reader.header() : new Map<string, unknown>()
  const graph = reader.graph()
  const functions: LocalFunction[] = []
  while (!reader.atEnd()) functions.push(reader.localFunction())
  return {
    format: 'text',
    irVersion: (header.get('ir_version') as number) ?? 8,
    opsets: (header.get('opset_import') as Map<string, number>) ?? new Map([['', 17]]),
    graph,
    functions,
    producer: (header.get('producer_name') as string) ?? '',
  }
}

const typeAliases: Readonly<Record<string, DataType>> = { float: 'float32', double: 'float64' }

function dataTypeNamed(name: string): DataType | undefined {
  if (name in typeAliases) return typeAliases[name]
  return name in dataTypes ? (name as DataType) : undefined
}

class Reader {
  readonly #tokens: { text: string; at: number }[] = []
  readonly #source: string
  #next = 0

  constructor(source: string) {
    this.#source = source
    const token =
      /\s+|(?:#|\/\/)[^\n]*|("(?:[^"\\]|\\.)*"|=>|[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)(?![\w.])|[-+]?(?:inf|nan)\b|[\w./:@$-]*[\w./@$]|[<>()[\]{},=:?])/gy
    for (let at = 0; at < source.length; at = token.lastIndex) {
      const match = token.exec(source)
      if (!match)
        throw new UserError(`model text, line ${this.#line(at)}: cannot read '${source.slice(at, at + 20)}'`)
      if (match[1] !== undefined) this.#tokens.push({ text: match[1], at })
    }
  }

  #line(at: number): number {
    return this.#source.slice(0, at).split('\n').length
  }

  atEnd(): boolean {
    return this.#next >= this.#tokens.length
  }

  peek(text: string, ahead = 0): boolean {
    return this.#tokens[this.#next + ahead]?.text === text
  }

  take(): string {
    const token = this.#tokens[this.#next++]
    if (!token) throw new UserError('model text ends too early')
    return token.text
  }

  accept(text: string): boolean {
    if (!this.peek(text)) return false
    this.#next++
    return true
  }

  expect(text: string): void {
    const token = this.#tokens[this.#next]
    if (token?.text !== text)
      throw new UserError(
        `model text, line ${this.#line(token?.at ?? this.#source.length)}: expected '${text}', got '${token?.text ?? 'the end'}'`,
      )
    this.#next++
  }

  list<T>(open: string, close: string, item: () => T): T[] {
    this.expect(open)
    const items: T[] = []
    while (!this.accept(close)) {
      items.push(item())
      if (!this.accept(',')) {
        this.expect(close)
        break
      }
    }
    return items
  }

  header(): Map<string, unknown> {
    const entries = this.list('<', '>', (): [string, unknown] => {
      const key = this.take().replace(/:$/, '')
      this.accept(':')
      if (key === 'opset_import')
        return [
          key,
          new Map(
            this.list('[', ']', () => {
              const domain = this.string()
              this.expect(':')
              return [domain, Number(this.take())] as const
            }),
          ),
        ]
      return [key, this.peekString() ? this.string() : Number(this.take())]
    })
    return new Map(entries)
  }

  peekString(): boolean {
    return this.#tokens[this.#next]?.text.startsWith('"') ?? false
  }

  string(): string {
    return JSON.parse(this.take()) as string
  }

  graph(): Graph {
    const name = this.take()
    const inputs = this.list('(', ')', () => this.valueInfo())
    this.expect('=>')
    const outputs = this.list('(', ')', () => this.valueInfo())
    const initializers = new Map<string, Tensor>()
    const types = new Map<string, TensorType>()
    if (this.peek('<'))
      this.list('<', '>', () => {
        const { name: value, type } = this.valueInfo()
        if (this.accept('=')) initializers.set(value, this.tensorContents(type))
        else if (type) types.set(value, type)
      })
    return { name, inputs, outputs, initializers, types, nodes: this.nodes() }
  }

  localFunction(): LocalFunction {
    const header = this.header()
    const name = this.take()
    const attributes = this.peek('<') ? this.list('<', '>', () => this.take()) : []
    const inputs = this.list('(', ')', () => this.take())
    this.expect('=>')
    const outputs = this.list('(', ')', () => this.take())
    return {
      domain: (header.get('domain') as string) ?? '',
      name,
      inputs,
      outputs,
      attributes,
      defaults: new Map(),
      opsets: (header.get('opset_import') as Map<string, number>) ?? new Map([['', 17]]),
      nodes: this.nodes(),
    }
  }

  valueInfo(): ValueInfo {
    const first = this.take()
    const dataType = dataTypeNamed(first)
    if (dataType === undefined) return { name: first, type: {} }
    const shape = this.peek('[') ? this.list('[', ']', () => this.dim()) : []
    return { name: this.take(), type: { dataType, shape } }
  }

  dim(): Dim {
    const text = this.take()
    if (text === '?') return undefined
    return /^\d+$/.test(text) ? Number(text) : text
  }

  tensorContents(type: TensorType | undefined): Tensor {
    if (!type?.dataType || !type.shape?.every((dim) => typeof dim === 'number'))
      throw new UserError('model text: an initializer needs a type and a fixed shape')
    const dims = type.shape as number[]
    if (type.dataType === 'string') {
      return new Tensor(
        'string',
        dims,
        new Uint8Array(),
        this.list('{', '}', () => this.string()),
      )
    }
    return Tensor.of(type.dataType, dims, this.numbers(elementCount(dims)))
  }

  numbers(count: number): ArrayLike<number> {
    if (this.peek('{')) return this.list('{', '}', () => this.number())
    const how = this.take()
    const values = this.list('(', ')', () => this.number())
    if (how === 'fill') return new Float64Array(count).fill(values[0]!)
    if (how === 'uniform') return uniform(count, values[0]!, values[1]!, values[2] ?? 0)
    throw new UserError(`model text: expected '{', 'fill' or 'uniform', got '${how}'`)
  }

  number(): number {
    const text = this.take()
    return text.endsWith('inf') ? (text.startsWith('-') ? -Infinity : Infinity) : Number(text)
  }

  nodes(): Node[] {
    this.expect('{')
    const nodes: Node[] = []
    while (!this.accept('}')) nodes.push(this.node())
    return nodes
  }

  node(): Node {
    const name = this.accept('[') ? this.take() : ''
    if (name) this.expect(']')
    const outputs: string[] = []
    do outputs.push(this.take().replace(/^_$/, ''))
    while (this.accept(','))
    this.expect('=')
    const qualified = this.take()
    const dot = qualified.lastIndexOf('.')
    const attributes = new Map<string, Attribute>()
    const readAttributes = () => {
      for (const [key, value] of this.list('<', '>', () => this.attribute())) attributes.set(key, value)
    }
    if (this.peek('<')) readAttributes()
    const inputs = this.list('(', ')', () => this.take().replace(/^_$/, ''))
    if (this.peek('<')) readAttributes()
    return {
      name,
      opType: qualified.slice(dot + 1),
      domain: dot < 0 ? '' : qualified.slice(0, dot),
      inputs,
      outputs,
      attributes,
    }
  }

  attribute(): [string, Attribute] {
    const name = this.take()
    this.expect('=')
    return [name, this.attributeValue()]
  }

  attributeValue(): Attribute {
    if (this.peekString()) return { type: 'string', value: this.string() }
    if (this.peek('[')) {
      if (this.#tokens[this.#next + 1]?.text.startsWith('"'))
        return { type: 'strings', value: this.list('[', ']', () => this.string()) }
      const texts = this.list('[', ']', () => this.take())
      const value = texts.map(Number)
      return texts.every(isInteger) ? { type: 'ints', value } : { type: 'floats', value }
    }
    const text = this.#tokens[this.#next]?.text ?? ''
    if (dataTypeNamed(text)) {
      const dataType = this.take()
      const shape = this.peek('[') ? this.list('[', ']', () => this.dim()) : []
      return { type: 'tensor', value: this.tensorContents({ dataType: dataTypeNamed(dataType)!, shape }) }
    }
    if (/^[-+]?[\d.]|^[-+]?(?:inf|nan)$/.test(text)) {
      const integer = isInteger(text)
      const value = this.number()
      return integer ? { type: 'int', value } : { type: 'float', value }
    }
    return { type: 'graph', value: this.graph() }
  }
}

const isInteger = (text: string) => /^[-+]?\d+$/.test(text)

/** The model in the text form. Tensors of more than `maxElements` elements are abbreviated and cannot be read back. */
export function printModel(model: Model, { maxElements = 16 }: { maxElements?: number } = {}): string {
  const lines = [
    `<ir_version: ${model.irVersion}, opset_import: [${printOpsets(model.opsets)}]>`,
    printGraph(model.graph, '', maxElements),
    ...model.functions.map((f) => printFunction(f, maxElements)),
  ]
  return `${lines.join('\n')}\n`
}

const printOpsets = (opsets: ReadonlyMap<string, number>) =>
  [...opsets].map(([domain, version]) => `${JSON.stringify(domain)}: ${version}`).join(', ')

function printGraph(graph: Graph, indent: string, maxElements: number): string {
  const value = ({ name, type }: ValueInfo) => `${printType(type)}${name}`
  const tensors = [...graph.initializers].map(
    ([name, tensor]) => `${printTensor(tensor, ` ${name} = `, maxElements)}`,
  )
  const types = [...graph.types].map(([name, type]) => `${printType(type)}${name}`)
  const declared = [...tensors, ...types]
  return [
    `${graph.name || 'graph'} (${graph.inputs.map(value).join(', ')}) => (${graph.outputs.map(value).join(', ')})`,
    ...(declared.length ? [`${indent}<${declared.join(`,\n${indent} `)}>`] : []),
    `${indent}{`,
    ...graph.nodes.map((node) => `${indent}  ${printNode(node, `${indent}  `, maxElements)}`),
    `${indent}}`,
  ].join('\n')
}

/** The function in the text form. */
export function printFunction(f: LocalFunction, maxElements = 16): string {
  const attributes = f.attributes.length ? ` <${f.attributes.join(', ')}>` : ''
  return [
    `<domain: ${JSON.stringify(f.domain)}, opset_import: [${printOpsets(f.opsets)}]>`,
    `${f.name}${attributes} (${f.inputs.join(', ')}) => (${f.outputs.join(', ')})`,
    '{',
    ...f.nodes.map((node) => `  ${printNode(node, '  ', maxElements)}`),
    '}',
  ].join('\n')
}

export function printType(type: TensorType | undefined): string {
  if (!type?.dataType) return ''
  return type.shape?.length
    ? `${type.dataType}[${type.shape.map((dim) => dim ?? '?').join(', ')}] `
    : `${type.dataType} `
}

function printTensor(tensor: Tensor, middle: string, maxElements: number): string {
  const dims = tensor.dims.length ? `[${tensor.dims.join(', ')}]` : ''
  const contents =
    tensor.size > maxElements
      ? '{...}'
      : `{${(tensor.strings ? tensor.strings.map((s) => JSON.stringify(s)) : [...tensor.toNumbers()]).join(', ')}}`
  return `${tensor.dataType}${dims}${middle}${contents}`
}

function printNode(node: Node, indent: string, maxElements: number): string {
  const name = node.name ? `[${node.name}] ` : ''
  const outputs = node.outputs.map((output) => output || '_').join(', ')
  const inputs = node.inputs.map((input) => input || '_').join(', ')
  const attributes = [...node.attributes].map(
    ([key, value]) => `${key} = ${printAttribute(value, indent, maxElements)}`,
  )
  const printed = attributes.length ? ` <${attributes.join(', ')}>` : ''
  return `${name}${outputs} = ${node.domain ? `${node.domain}.` : ''}${node.opType}${printed} (${inputs})`
}

function printAttribute(attribute: Attribute, indent: string, maxElements: number): string {
  const real = (value: number) => (Number.isInteger(value) ? `${value}.0` : String(value))
  switch (attribute.type) {
    case 'float':
      return real(attribute.value)
    case 'int':
      return String(attribute.value)
    case 'string':
      return JSON.stringify(attribute.value)
    case 'floats':
      return `[${attribute.value.map(real).join(', ')}]`
    case 'ints':
      return `[${attribute.value.join(', ')}]`
    case 'strings':
      return `[${attribute.value.map((s) => JSON.stringify(s)).join(', ')}]`
    case 'tensor':
      return printTensor(attribute.value, ' ', maxElements)
    case 'graph':
      return printGraph(attribute.value, indent, maxElements)
    case 'graphs':
      return `[${attribute.value.map((graph) => printGraph(graph, indent, maxElements)).join(', ')}]`
    case 'reference':
      return `@${attribute.value}`
    case 'opaque':
      return '...'
  }
}
