import { GraphBuilder } from '../../../ir/builder.ts'
import type { Dim, TensorType } from '../../../ir/model.ts'
import { type DataType, dataTypes, isFloat, Tensor } from '../../../ir/tensor.ts'
import { dataTypeOf } from '../payload.ts'
import { type Argument, parseName, parseUnion } from '../program.ts'

/** One ATen operator, or several spellings of one, as nodes of ONNX. */
export interface AtenUnit {
  /** Names without `aten.`: `conv2d` stands for all overloads, `div.Tensor_mode` for one. */
  readonly target: string | readonly string[]
  /** Writes the nodes; returns the values of the outputs, in order (one value: of the first). */
  readonly emit: (call: Call, build: Emitter) => string | readonly (string | undefined)[]
}

export const defineAten = (unit: AtenUnit): AtenUnit => unit

/** Why a call has no counterpart in ONNX: the node is kept as one that cannot be run. */
export class Untranslatable extends Error {}

/** Opset that the nodes are written in. */
export const opset = 18

/** Writes nodes and knows the types of the values that PyTorch states. */
export class Emitter extends GraphBuilder {
  readonly types = new Map<string, TensorType>()

  /** `taken`: names that no new value may have. */
  constructor(taken: Iterable<string>) {
    const inputs = Array.from(taken, (name) => ({ name }))
    const graph = { name: '', nodes: [], inputs, outputs: [], initializers: new Map(), types: new Map() }
    const opsets = new Map([['', opset]])
    super({ format: 'pt2', irVersion: 8, opsets, graph, functions: [], producer: '' })
  }

  dataType(value: string): DataType {
    return this.types.get(value)?.dataType ?? 'float32'
  }

  /** Sizes of a value; a call that needs them cannot be translated without. */
  shape(value: string): readonly Dim[] {
    const shape = this.types.get(value)?.shape
    if (!shape) throw new Untranslatable(`the shape of '${value}' is not stated`)
    return shape
  }

  rank(value: string): number {
    return this.shape(value).length
  }

  /** The size of an axis that has to be a number. */
  size(value: string, axis: number): number {
    const size = this.shape(value).at(axis)
    if (typeof size !== 'number') throw new Untranslatable(`it depends on a dynamic size of '${value}'`)
    return size
  }

  cast(value: string, to: DataType, from = this.types.get(value)?.dataType): string {
    return from === to ? value : this.op('Cast', [value], { to: dataTypes[to].onnx })
  }

  int(value: number): string {
    return this.scalar(value, 'int64')
  }

  filled(dataType: DataType, dims: readonly number[], value: number): string {
    const size = dims.reduce((n, d) => n * d, 1)
    return this.constant(Tensor.of(dataType, dims, new Float64Array(size).fill(value)), 'filled')
  }

  /** A vector of sizes, of which some are values (scalars) of the graph. */
  sizes(sizes: readonly (number | string)[]): string {
    if (sizes.every((size) => typeof size === 'number')) return this.ints(sizes)
    const parts = sizes.map((size) =>
      typeof size === 'number' ? this.ints([size]) : this.op('Unsqueeze', [size, this.ints([0])]),
    )
    return parts.length === 1 ? parts[0]! : this.op('Concat', parts, { axis: 0 })
  }

  transpose(value: string, perm: readonly number[]): string {
    return perm.every((axis, i) => axis === i) ? value : this.op('Transpose', [value], { perm })
  }

  unsqueeze(value: string, axes: readonly number[]): string {
    return axes.length === 0 ? value : this.op('Unsqueeze', [value, this.ints(axes)])
  }

  /** Elements `from` to `to` along an axis. */
  slice(value: string, axis: number, from: number, to: number): string {
    return this.op('Slice', [value, this.ints([from]), this.ints([to]), this.ints([axis])])
  }

  /** The initializer behind a value that is one transposed, if it is. */
  transposedInitializer(value: string): string | undefined {
    const node = this.nodes.findLast(({ outputs }) => outputs[0] === value)
    const [source] = node?.inputs ?? []
    const perm = node?.attributes.get('perm')
    return node?.opType === 'Transpose' &&
      source &&
      String(perm?.value) === '1,0' &&
      this.initializers.has(source)
      ? source
      : undefined
  }
}

/** One node of the program: its arguments by the names of the operator's schema. */
export class Call {
  /** Without `aten.` and underscore: `relu` for `relu_.default`. */
  readonly op: string
  readonly overload: string
  readonly outputs: readonly TensorType[]
  readonly #args: ReadonlyMap<string, Argument>
  readonly #read: (name: string) => string

  constructor(options: {
    op: string
    overload: string
    args: ReadonlyMap<string, Argument>
    outputs: readonly TensorType[]
    /** The value that a name of the program stands for. */
    read: (name: string) => string
  }) {
    this.op = options.op
    this.overload = options.overload
    this.outputs = options.outputs
    this.#args = options.args
    this.#read = options.read
  }

  get outputType(): DataType {
    return this.outputs[0]?.dataType ?? 'float32'
  }

  /** Sizes of the first output. */
  get outputShape(): readonly Dim[] {
    const shape = this.outputs[0]?.shape
    if (!shape) throw new Untranslatable('the shape of its output is not stated')
    return shape
  }

  has(name: string): boolean {
    const kind = this.#args.get(name)?.[0]
    return kind !== undefined && kind !== 'as_none'
  }

  tensor(name: string): string {
    return this.optional(name) ?? this.#missing(name)
  }

  /** The first tensor is called `self` by some schemas and `input` by others. */
  optional(name: string): string | undefined {
    const other = name === 'input' ? 'self' : name === 'self' ? 'input' : name
    const [kind, held] = this.#args.get(name) ?? this.#args.get(other) ?? ['as_none']
    if (kind === 'as_optional_tensor') return this.#ofUnion(held)
    if (kind === 'as_tensor') return this.#read(parseName(held) ?? '')
    return undefined
  }

  tensors(name: string): string[] {
    return this.optionalTensors(name).map((value) => value ?? this.#missing(name))
  }

  optionalTensors(name: string): (string | undefined)[] {
    const [kind, held] = this.#args.get(name) ?? ['as_none']
    if (!Array.isArray(held)) return this.#missing(name)
    return held.map((item: unknown) =>
      kind === 'as_optional_tensors' ? this.#ofUnion(item) : this.#read(parseName(item) ?? ''),
    )
  }

  number(name: string, otherwise?: number): number {
    const [kind, held] = this.#args.get(name) ?? ['as_none']
    if (kind === 'as_none') return otherwise ?? this.#missing(name)
    if (kind === 'as_sym_int' || kind === 'as_sym_float') {
      const [inner, value] = parseUnion(held)
      if (inner !== 'as_name') return Number(value)
      throw new Untranslatable(`its '${name}' depends on the input`)
    }
    const value = Number(held)
    if (Number.isNaN(value) && held !== 'NaN') throw new Untranslatable(`its '${name}' is no number`)
    return value
  }

  bool(name: string, otherwise: boolean): boolean {
    const [kind, held] = this.#args.get(name) ?? ['as_none']
    return kind === 'as_bool' ? held === true : otherwise
  }

  string(name: string, otherwise: string): string {
    const [kind, held] = this.#args.get(name) ?? ['as_none']
    return kind === 'as_string' ? String(held) : otherwise
  }

  /** Whole numbers that have to be known. */
  ints(name: string, otherwise?: readonly number[]): readonly number[] {
    if (!this.has(name)) return otherwise ?? this.#missing(name)
    return this.sizes(name).map((size) => {
      if (typeof size === 'number') return size
      throw new Untranslatable(`its '${name}' depends on the input`)
    })
  }

  /** Whole numbers, some of which may be values of the graph. A single one stands for a list of one. */
  sizes(name: string): readonly (number | string)[] {
    const [kind, held] = this.#args.get(name) ?? ['as_none']
    if (kind === 'as_int') return [Number(held)]
    if (kind === 'as_sym_int') return [this.#symbolic(held)]
    if (!Array.isArray(held)) return this.#missing(name)
    return kind === 'as_sym_ints' ? held.map((item) => this.#symbolic(item)) : held.map(Number)
  }

  floats(name: string): readonly number[] {
    const [, held] = this.#args.get(name) ?? ['as_none']
    return Array.isArray(held) ? held.map(Number) : this.#missing(name)
  }

  /** A number, or the name of a value: a tensor, or a size that depends on the input. */
  operand(name: string): number | string {
    const [kind, held] = this.#args.get(name) ?? ['as_none']
    if (kind === 'as_sym_int' || kind === 'as_sym_float') return this.#symbolic(held)
    if (kind === 'as_bool') return held === true ? 1 : 0
    return this.optional(name) ?? this.number(name)
  }

  /** An element type argument. */
  type(name: string, otherwise: DataType): DataType {
    const [kind, held] = this.#args.get(name) ?? ['as_none']
    return kind === 'as_scalar_type' ? (dataTypeOf(Number(held)) ?? otherwise) : otherwise
  }

  /** Axes that count from the front. */
  axes(name: string, rank: number, otherwise?: readonly number[]): readonly number[] {
    return this.ints(name, otherwise).map((axis) => (axis < 0 ? axis + rank : axis))
  }

  axis(name: string, rank: number, otherwise?: number): number {
    const axis = this.number(name, otherwise)
    return axis < 0 ? axis + rank : axis
  }

  #symbolic(held: unknown): number | string {
    if (typeof held === 'number') return held
    const [kind, value] = parseUnion(held)
    return kind === 'as_name' ? this.#read(String(value)) : Number(value)
  }

  #ofUnion(held: unknown): string | undefined {
    const [kind, value] = parseUnion(held)
    return kind === 'as_tensor' ? this.#read(parseName(value) ?? '') : undefined
  }

  #missing(name: string): never {
    throw new Untranslatable(`its '${name}' is missing`)
  }
}

/** `x` as a tensor of `type`: a number becomes a constant, a tensor of another type is cast. */
export function operandOf(build: Emitter, x: number | string, type: DataType): string {
  return typeof x === 'number' ? build.scalar(x, type) : build.cast(x, type)
}

/** The element type in which two operands are compared: that of PyTorch's promotion, numbers apart. */
export function commonType(build: Emitter, a: number | string, b: number | string): DataType {
  const typed = [a, b].filter((x) => typeof x === 'string').map((x) => build.dataType(x))
  const [first = 'float32', second = first] = typed
  const isWhole = (x: number | string) => typeof x === 'string' || Number.isInteger(x)
  if (isFloat(first))
    return isFloat(second) && dataTypes[second].bits > dataTypes[first].bits ? second : first
  if (isFloat(second)) return second
  if (!isWhole(a) || !isWhole(b)) return 'float32'
  if (first === 'bool') return typed.length === 1 ? 'int64' : second
  return dataTypes[second].bits > dataTypes[first].bits ? second : first
}
