import { UserError } from '../../ir/errors.ts'
import {
  type Attribute,
  type Dim,
  isOpaque,
  labelOf,
  type Model,
  type Node,
  stringAttribute,
  type TensorType,
  type ValueInfo,
} from '../../ir/model.ts'
import { Call, Emitter, opset, Untranslatable } from './aten/define-aten.ts'
import { atenUnits } from './aten/index.ts'
import { inserted, type Stretch, stretchOf } from './aten/shape.ts'
import { dataTypeOf, type Payload } from './payload.ts'
import {
  type Argument,
  type Program,
  type ProgramGraph,
  type ProgramNode,
  parseGraph,
  parseName,
  parseSpec,
  parseUnion,
  type TensorMeta,
} from './program.ts'
import { isSameView, type StoredTensor, tensorOf, viewOf } from './storage.ts'

/** Programs of more nodes were made to exhaust time and memory. */
const maxNodes = 200_000

/** A program as a Model, and where the file keeps the tensors that became its initializers. */
export interface Translated {
  readonly model: Model
  readonly stored: ReadonlyMap<string, StoredTensor>
  /** Operators that have no counterpart, each with its layer. */
  readonly notes?: readonly string[] | undefined
}

/** Operators that only check something or are there for autograd. */
const checks = new Set([
  '_assert_async',
  '_assert_tensor_metadata',
  '_assert_scalar',
  'sym_constrain_range',
  'sym_constrain_range_for_size',
  'operator.eq',
  'operator.ne',
  'operator.le',
  'operator.ge',
  'operator.lt',
  'operator.gt',
  'operator.and_',
  'operator.or_',
  'operator.sym_not',
])

/** Operators whose output is a view of their first input, or may be one. */
const views = new Set([
  'view',
  'reshape',
  '_unsafe_view',
  'view_as',
  'reshape_as',
  'flatten',
  'unflatten',
  'squeeze',
  'unsqueeze',
  'permute',
  'transpose',
  'swapaxes',
  'swapdims',
  't',
  'numpy_T',
  'mT',
  'adjoint',
  'movedim',
  'moveaxis',
  'expand',
  'expand_as',
  'broadcast_to',
  'split',
  'split_with_sizes',
  'chunk',
  'unbind',
  'slice',
  'narrow',
  'select',
  'detach',
  'alias',
  'contiguous',
  'to',
  'dropout',
  'feature_dropout',
])

/** Operators that run a part of the program under a setting that means nothing here. */
const wrappers = /(^|\.)wrap_with_(set_grad_enabled|autocast)$/

export function translate(program: Program, payload: Payload): Translated {
  return new Translator(program, payload).run()
}

class Translator {
  readonly #program: Program
  readonly #payload: Payload
  readonly #build: Emitter
  readonly #symbols: ReadonlyMap<string, string>
  /** The value that each name of the program stands for. */
  readonly #values = new Map<string, string>()
  /** The name whose memory each name is a view of. */
  readonly #roots = new Map<string, string>()
  /** The part of another name that a name is: what is written into it is written there. */
  readonly #parts = new Map<string, { readonly whole: string; readonly stretch: Stretch }>()
  /** Names whose memory was changed through another view, by what. */
  readonly #stale = new Map<string, string>()
  readonly #stored = new Map<string, StoredTensor>()
  readonly #byView = new Map<string, string>()
  #count = 0

  constructor(program: Program, payload: Payload) {
    this.#program = program
    this.#payload = payload
    this.#symbols = symbolsOf(program)
    const { tensor_values: values } = program.graph_module.graph
    this.#build = new Emitter([...values.keys(), ...payload.tensors.keys()])
  }

  run(): Translated {
    const { graph, signature } = this.#program.graph_module
    const inputs = signature.input_specs.flatMap((spec) => this.#input(spec, graph))
    this.#graph(graph, '')
    const outputs = signature.output_specs.flatMap((spec) => this.#output(spec, graph))
    if (outputs.length === 0)
      throw new UserError('the program has no output tensor; export a module that returns one')
    const { torch_version: version } = this.#program
    const build = this.#build
    const nodes = neededFor(
      outputs.map(({ name }) => name),
      build.nodes,
    )
    const read = new Set([...nodes.flatMap((node) => node.inputs), ...outputs.map(({ name }) => name)])
    const produced = new Set(nodes.flatMap((node) => node.outputs))
    const model: Model = {
      format: 'pt2',
      irVersion: 8,
      opsets: new Map([
        ['', opset],
        ...(nodes.some(({ domain }) => domain === opaqueDomain) ? [[opaqueDomain, 1] as const] : []),
      ]),
      graph: {
        name: 'main',
        nodes,
        inputs,
        outputs,
        initializers: new Map([...build.initializers].filter(([name]) => read.has(name))),
        types: new Map([...build.types].filter(([name]) => produced.has(name))),
      },
      functions: [],
      producer: version ? `PyTorch ${version}` : 'PyTorch',
    }
    const notes = nodes.flatMap((node) =>
      isOpaque(node)
        ? [`${labelOf(node)}: '${node.opType}' is not carried over (${stringAttribute(node, 'reason')})`]
        : [],
    )
    return { model, stored: this.#stored, notes: notes.length > 0 ? [...new Set(notes)] : undefined }
  }

  #type(meta: TensorMeta | undefined): TensorType {
    if (!meta) return {}
    return {
      dataType: dataTypeOf(meta.dtype),
      shape: meta.sizes.map((size): Dim => (typeof size === 'number' ? size : this.#symbols.get(size))),
    }
  }

  #bind(name: string, value: string, type: TensorType): void {
    this.#values.set(name, value)
    if (!this.#build.types.has(value)) this.#build.types.set(value, type)
  }

  #input([kind, held]: Argument, graph: ProgramGraph): ValueInfo[] {
    const spec = parseSpec(held)
    // Tokens, numbers and custom objects are no tensors.
    if (!spec) return []
    const name = nameOf(spec.arg)
    if (name === undefined) return []
    if (kind === 'user_input') {
      const type: TensorType =
        spec.arg[0] === 'as_sym_int'
          ? { dataType: 'int64', shape: [] }
          : this.#type(graph.tensor_values.get(name))
      this.#bind(name, name, type)
      return [{ name, type }]
    }
    const path = spec.parameter_name ?? spec.buffer_name ?? spec.tensor_constant_name
    if (path === undefined) return []
    const view = this.#payload.tensors.get(path)
    if (!view)
      throw new UserError(
        `the program reads '${path}', but the file holds no tensor of that name; export the model again`,
      )
    // A path may also be the name of a value; those of placeholders are unique.
    const own = graph.tensor_values.has(path) ? name : path
    this.#bind(name, this.#initializer(own, viewOf(view)), { dataType: view.dataType, shape: view.sizes })
    return []
  }

  /** One initializer for all names of the same tensor, so that what sets one sets all. */
  #initializer(name: string, view: StoredTensor): string {
    const key = `${view.storage.key} ${view.offset} ${view.sizes} ${view.strides}`
    const known = this.#byView.get(key)
    if (known !== undefined && isSameView(this.#stored.get(known)!, view)) return known
    this.#byView.set(key, name)
    this.#stored.set(name, view)
    this.#build.initializers.set(name, tensorOf(view))
    return name
  }

  #output([kind, held]: Argument, graph: ProgramGraph): ValueInfo[] {
    // What else the program returns is new contents of buffers, gradients, or a loss.
    if (kind !== 'user_output') return []
    const name = nameOf(parseSpec(held)?.arg)
    if (name === undefined || graph.tensor_values.get(name) === undefined) return []
    const found = this.#read(name)
    const build = this.#build
    // An output of its own name, that no input or other output has.
    const isOwn = build.nodes.some(({ outputs }) => outputs.includes(found)) && !this.#isOutput.has(found)
    const own = isOwn ? found : build.op('Identity', [found])
    this.#isOutput.add(own)
    return [{ name: own, type: this.#type(graph.tensor_values.get(name)) }]
  }

  readonly #isOutput = new Set<string>()

  #read(name: string): string {
    const changed = this.#stale.get(name)
    if (changed) throw new Untranslatable(`'${name}' was changed in place through a view, by ${changed}`)
    const value = this.#values.get(name)
    if (value === undefined) throw new Untranslatable(`'${name}' is no tensor`)
    return value
  }

  #graph(graph: ProgramGraph, prefix: string): void {
    for (const node of graph.nodes) {
      if (++this.#count > maxNodes)
        throw new UserError(
          `the program has more than ${maxNodes} nodes; export the model without unrolled loops`,
        )
      this.#node(node, graph, prefix)
    }
  }

  #node(node: ProgramNode, graph: ProgramGraph, prefix: string): void {
    const { op, overload, inPlace } = targetOf(node.target)
    if (checks.has(op)) return
    if (wrappers.test(node.target) && this.#inlined(node, graph, prefix)) return
    const outputs = node.outputs.flatMap(outputNames).map((name) => prefix + name)
    const args = new Map(node.inputs.map(({ name, arg }) => [name, arg]))
    const before = this.#build.nodes.length
    const types = outputs.map((name) => this.#type(graph.tensor_values.get(name.slice(prefix.length))))
    const read = (name: string) => this.#read(prefix + name)
    const call = new Call({ op, overload, args, outputs: types, read })
    let values: readonly (string | undefined)[] = []
    try {
      const unit = atenUnits.get(`${op}.${overload}`) ?? atenUnits.get(op)
      if (!unit) throw new Untranslatable('the operator is not known')
      values = [unit.emit(call, this.#build)].flat()
    } catch (error) {
      if (!(error instanceof Untranslatable)) throw error
      this.#build.nodes.length = before
      values = this.#opaque(node, outputs, read, error.message)
    }
    values = this.#named(values, outputs, before)
    this.#label(node, op, before)
    for (const [i, name] of outputs.entries()) {
      const value = values[i] ?? this.#build.fresh(`${name}_untranslated`)
      this.#bind(name, value, types[i]!)
    }
    const first = parseName(node.inputs[0]?.arg[1])
    const [output] = outputs
    if (first === undefined || output === undefined) return
    const root = this.#roots.get(prefix + first) ?? prefix + first
    const stretch = this.#stretchOf(op, call)
    if (stretch) this.#parts.set(output, { whole: prefix + first, stretch })
    const written = this.#build.nodes.length
    if (inPlace) this.#changed(prefix + first, root, output, node.target)
    this.#label(node, op, written)
    if (inPlace || views.has(op)) for (const name of outputs) this.#roots.set(name, root)
  }

  /**
   * After an operator wrote into `name`: names of the very same value have the new one, and so have those that it is a
   * part of; other views are stale.
   */
  #changed(name: string, root: string, output: string, target: string): void {
    const views = new Set([root, ...[...this.#roots].flatMap(([view, of]) => (of === root ? [view] : []))])
    const current = new Set<string>([output])
    const set = (changed: string, now: string) => {
      const old = this.#values.get(changed)!
      const type = this.#build.types.get(old)
      if (type && !this.#build.types.has(now)) this.#build.types.set(now, type)
      for (const view of [changed, ...views])
        if (this.#values.get(view) === old && !current.has(view)) {
          this.#values.set(view, now)
          current.add(view)
        }
    }
    set(name, this.#values.get(output)!)
    for (let inner = name, part = this.#parts.get(inner); part; part = this.#parts.get(inner)) {
      const { whole, stretch } = part
      set(whole, inserted(this.#build, this.#values.get(whole)!, this.#values.get(inner)!, stretch))
      inner = whole
    }
    for (const view of views) if (!current.has(view)) this.#stale.set(view, target)
  }

  /** Where in its whole a slice lies; undefined for steps and for places that depend on the input. */
  #stretchOf(op: string, call: Call): Stretch | undefined {
    if (op !== 'slice' && op !== 'select') return undefined
    try {
      return stretchOf(call, this.#build)
    } catch (error) {
      if (error instanceof Untranslatable) return undefined
      throw error
    }
  }

  /** Gives the values that the program names these names; values that it names already stay. */
  #named(
    values: readonly (string | undefined)[],
    names: readonly string[],
    from: number,
  ): (string | undefined)[] {
    const build = this.#build
    const renamed = new Map<string, string>()
    for (const [i, value] of values.entries()) {
      const name = names[i]
      const isNew = build.nodes
        .slice(from)
        .some(({ outputs }) => value !== undefined && outputs.includes(value))
      if (value && name && isNew && !renamed.has(value)) renamed.set(value, name)
    }
    const rename = (value: string) => renamed.get(value) ?? value
    for (let i = from; i < build.nodes.length; i++) {
      const node = build.nodes[i]!
      const outputs = node.outputs.map(rename)
      build.nodes[i] = {
        ...node,
        name: node.name === node.outputs[0] ? outputs[0]! : node.name,
        inputs: node.inputs.map(rename),
        outputs,
      }
    }
    return values.map((value) => value && rename(value))
  }

  #opaque(
    node: ProgramNode,
    outputs: readonly string[],
    read: (name: string) => string,
    reason: string,
  ): string[] {
    const inputs = node.inputs.flatMap(({ arg: [kind, held] }) => {
      const names =
        kind === 'as_tensor'
          ? [held]
          : kind === 'as_tensors'
            ? (held as unknown[])
            : kind === 'as_optional_tensor'
              ? [parseUnion(held)[1]]
              : []
      return names.flatMap((item) => {
        const name = parseName(item)
        // What is stale has no value; the node cannot be run as it is.
        return name !== undefined && this.#values.has(name) && !this.#stale.has(name) ? [read(name)] : []
      })
    })
    const attributes = new Map<string, Attribute>([['reason', { type: 'string', value: reason }]])
    this.#build.keep({
      name: outputs[0] ?? node.target,
      opType: node.target.replace(/^torch\.ops\./, ''),
      domain: opaqueDomain,
      inputs,
      outputs: [...outputs],
      attributes,
    })
    return [...outputs]
  }

  /** Labels what was written since `from`. */
  #label(node: ProgramNode, op: string, from: number): void {
    const { nodes } = this.#build
    const label = moduleOf(node, op)
    for (let i = from; i < nodes.length; i++) nodes[i] = { ...nodes[i]!, origin: { label } }
  }

  /** A `with torch.no_grad()` block and its like: its body stands where it is called. */
  #inlined(node: ProgramNode, graph: ProgramGraph, prefix: string): boolean {
    const at = node.inputs.findIndex(({ arg }) => arg[0] === 'as_graph')
    const body = parseGraph(node.inputs[at]?.arg[1])
    if (!body) return false
    const inner = `${prefix}${body.name}.`
    const given = node.inputs.slice(at + 1)
    for (const [i, argument] of body.graph.inputs.entries()) {
      const [name, outer] = [nameOf(argument), nameOf(given[i]?.arg)]
      if (name === undefined || outer === undefined) continue
      this.#bind(inner + name, this.#read(prefix + outer), {})
    }
    this.#graph(body.graph, inner)
    const outputs = node.outputs.flatMap(outputNames)
    for (const [i, argument] of body.graph.outputs.flatMap(outputNames).entries())
      if (outputs[i] !== undefined)
        this.#bind(
          prefix + outputs[i],
          this.#read(inner + argument),
          this.#type(graph.tensor_values.get(outputs[i])),
        )
    return true
  }
}

/** The domain of nodes whose operator has no counterpart in ONNX. */
const opaqueDomain = 'aten'

const nameOf = (argument: Argument | undefined): string | undefined => {
  if (!argument) return undefined
  const [kind, held] = argument
  if (kind === 'name') return String(held)
  if (kind === 'as_sym_int') return String(parseUnion(held)[1])
  return parseName(held)
}

const outputNames = ([kind, held]: Argument): string[] => {
  if (kind === 'as_tensors') return (held as unknown[]).flatMap((item) => parseName(item) ?? [])
  if (kind === 'as_none') return ['']
  return [nameOf([kind, held]) ?? '']
}

/** `torch.ops.aten.relu_.default` is `relu`, overload `default`, in place. */
function targetOf(target: string): { op: string; overload: string; inPlace: boolean } {
  const aten = /^torch\.ops\.(?:aten|prims|_c10d_functional|quantized)\.(.+)\.(\w+)$/.exec(target)
  if (!aten) return { op: target.replace(/^(_operator|torch)\./, 'operator.'), overload: '', inPlace: false }
  const [, name = '', overload = ''] = aten
  const inPlace = name.endsWith('_') && !name.endsWith('__')
  return { op: inPlace ? name.slice(0, -1) : name, overload, inPlace }
}

/** Names for the sizes that the file leaves open: `N` for that of the batch, else PyTorch's own. */
function symbolsOf({ graph_module: { graph, signature } }: Program): Map<string, string> {
  const symbols = new Map<string, string>()
  for (const meta of graph.tensor_values.values())
    for (const size of meta.sizes) if (typeof size === 'string' && /^\w+$/.test(size)) symbols.set(size, size)
  const batch = new Set<string>()
  for (const [kind, held] of signature.input_specs) {
    if (kind !== 'user_input') continue
    const size = graph.tensor_values.get(nameOf(parseSpec(held)?.arg) ?? '')?.sizes[0]
    if (typeof size === 'string' && symbols.has(size)) batch.add(size)
  }
  const [only] = batch
  if (only !== undefined && batch.size === 1) symbols.set(only, 'N')
  return symbols
}

/**
 * The module that a node belongs to, as the user's code calls it: `layer1.0.bn2`. A function called in a module of the
 * user's own is named after both: `layer1.0/dropout`.
 */
function moduleOf({ metadata, outputs }: ProgramNode, op: string): string {
  const name = outputs.flatMap(outputNames)[0] || op
  const innermost = metadata.nn_module_stack?.split(';').at(-1)
  if (innermost === undefined) return name
  // `key,path,type`, where the path of older releases is an expression with commas of its own.
  const [, ...rest] = innermost.split(',')
  const type = rest.at(-1) ?? ''
  const path = modulePath(rest.slice(0, -1).join(','))
  if (path === '') return name
  const isLayer = type.startsWith('torch.nn.modules.') && !type.startsWith('torch.nn.modules.container.')
  return isLayer ? path : `${path}/${name}`
}

/** `getattr(L['self'].layer1, '0').bn` is `layer1.0.bn`. */
function modulePath(path: string): string {
  let plain = path
  for (let before = ''; before !== plain; ) {
    before = plain
    plain = plain.replace(/getattr\(([^()]*), ['"](\w+)['"]\)/, '$1.$2')
  }
  return plain
    .replaceAll(/\[['"]?(\w+)['"]?\]/g, '.$1')
    .replace(/^(L\.\w+|L__self__|self)(\.|$)/, '')
    .replace(/^_modules\./, '')
    .replaceAll('._modules.', '.')
}

/** The nodes that the outputs depend on, in order. */
function neededFor(outputs: readonly string[], nodes: readonly Node[]): Node[] {
  const needed = new Set(outputs)
  const kept: Node[] = []
  for (const node of nodes.toReversed()) {
    if (!node.outputs.some((output) => needed.has(output))) continue
    for (const input of node.inputs) needed.add(input)
    kept.push(node)
  }
  return kept.reverse()
}
