import { UserError } from '../../ir/errors.ts'
import type { DataType } from '../../ir/tensor.ts'
import type { Storage, StoredTensor } from './storage.ts'

/**
 * Reads the pickles that torch.save writes for dictionaries of tensors, without executing anything: the opcodes that
 * build containers and plain values, and of all functions that a pickle may name those that rebuild tensors. Any other
 * name or opcode is refused.
 * Source: CPython's pickletools (protocols 2 to 5); torch/_utils.py and torch/serialization.py.
 */

/** What a pickle may hold here. Lists and tuples are arrays, dictionaries are maps. */
export type Pickled =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Pickled[]
  | ReadonlyMap<Pickled, Pickled>
  | PickledTensor
  | Storage

export class PickledTensor {
  readonly view: Omit<StoredTensor, 'name'>

  constructor(view: Omit<StoredTensor, 'name'>) {
    this.view = view
  }
}

/** A function or type that the pickle names, until it is called. */
class Global {
  readonly name: string

  constructor(name: string) {
    this.name = name
  }
}

const storageTypes: Readonly<Record<string, DataType>> = {
  'torch.FloatStorage': 'float32',
  'torch.DoubleStorage': 'float64',
  'torch.HalfStorage': 'float16',
  'torch.BFloat16Storage': 'bfloat16',
  'torch.LongStorage': 'int64',
  'torch.IntStorage': 'int32',
  'torch.ShortStorage': 'int16',
  'torch.CharStorage': 'int8',
  'torch.ByteStorage': 'uint8',
  'torch.BoolStorage': 'bool',
}

const dictionary = 'collections.OrderedDict'
const rebuildTensor = 'torch._utils._rebuild_tensor_v2'
const rebuildParameter = 'torch._utils._rebuild_parameter'
const size = 'torch.Size'

const allowed = new Set([dictionary, rebuildTensor, rebuildParameter, size, ...Object.keys(storageTypes)])

/** Stands on the stack where a container's items begin. */
const mark = Symbol('mark')

/** A storage and the element type that the pickle gives it. */
class TypedStorage {
  readonly storage: Storage
  readonly dataType: DataType

  constructor(storage: Storage, dataType: DataType) {
    this.storage = storage
    this.dataType = dataType
  }
}

type Item = Pickled | Global | TypedStorage | typeof mark | Map<Pickled, Pickled> | Pickled[]

export interface PickleOptions {
  /** Names the pickle in messages. */
  readonly name: string
  /** The storage that the pickle calls `key`. */
  storage(key: string): Storage
}

/** What the pickle stands for. Throws a UserError for whatever would have to be executed. */
export function readPickle(bytes: Uint8Array, options: PickleOptions): Pickled {
  return new Machine(bytes, options).run()
}

class Machine {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #options: PickleOptions
  readonly #stack: Item[] = []
  readonly #memo = new Map<number, Item>()
  #at = 0

  constructor(bytes: Uint8Array, options: PickleOptions) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#options = options
  }

  run(): Pickled {
    for (;;) {
      const opcode = this.take(1)[0]!
      if (opcode === 0x2e) {
        const result = this.pop()
        if (result instanceof Global || result instanceof TypedStorage || result === mark)
          throw this.damaged('it stands for no value')
        return result
      }
      const operation = operations[opcode]
      if (!operation) throw this.refused(`opcode 0x${opcode.toString(16).padStart(2, '0')}`)
      operation(this)
    }
  }

  take(length: number): Uint8Array {
    if (!(length <= this.#bytes.length - this.#at)) throw this.damaged('it is cut short')
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  uint(width: 1 | 2 | 4): number {
    const at = this.#at
    this.take(width)
    if (width === 1) return this.#view.getUint8(at)
    return width === 2 ? this.#view.getUint16(at, true) : this.#view.getUint32(at, true)
  }

  int(): number {
    const at = this.#at
    this.take(4)
    return this.#view.getInt32(at, true)
  }

  /** A length of 8 bytes. */
  wide(): number {
    const at = this.#at
    this.take(8)
    return Number(this.#view.getBigUint64(at, true))
  }

  float(): number {
    const at = this.#at
    this.take(8)
    return this.#view.getFloat64(at, false)
  }

  line(): string {
    const end = this.#bytes.indexOf(10, this.#at)
    if (end < 0) throw this.damaged('it is cut short')
    const text = this.text(end - this.#at)
    this.#at++
    return text
  }

  text(length: number): string {
    return new TextDecoder().decode(this.take(length))
  }

  push(item: Item): void {
    this.#stack.push(item)
  }

  pop(): Item {
    const item = this.#stack.pop()
    if (item === undefined) throw this.damaged('its stack is empty')
    return item
  }

  /** Functions and storages pass for values inside the tuples that call for them; nothing else looks into those. */
  value(): Pickled {
    const item = this.pop()
    if (item === mark) throw this.damaged('a value is missing')
    return item as Pickled
  }

  /** What was pushed since the last mark. */
  items(): Pickled[] {
    const from = this.#stack.lastIndexOf(mark)
    if (from < 0) throw this.damaged('a container has no beginning')
    const items = this.#stack.splice(from + 1)
    this.#stack.pop()
    return items as Pickled[]
  }

  top(): Item {
    const top = this.#stack.at(-1)
    if (top === undefined) throw this.damaged('its stack is empty')
    return top
  }

  remember(key = this.#memo.size): void {
    this.#memo.set(key, this.top())
  }

  recall(key: number): void {
    const item = this.#memo.get(key)
    if (item === undefined) throw this.damaged('it recalls what it never said')
    this.#stack.push(item)
  }

  global(name: string): void {
    if (!allowed.has(name)) throw this.refused(`'${name}'`)
    this.#stack.push(new Global(name))
  }

  call(): void {
    const parameters: unknown = this.pop()
    const called = this.pop()
    if (!(called instanceof Global)) throw this.refused('a call of what is no function')
    if (!Array.isArray(parameters)) throw this.damaged('a call has no arguments')
    switch (called.name) {
      case dictionary:
        if (parameters.length > 0) throw this.refused(`${dictionary} with arguments`)
        this.#stack.push(new Map())
        return
      case size:
        this.#stack.push(isNumbers(parameters[0]) ? parameters[0] : [])
        return
      case rebuildParameter:
        if (!(parameters[0] instanceof PickledTensor)) throw this.damaged('a parameter is no tensor')
        this.#stack.push(parameters[0])
        return
      case rebuildTensor: {
        const [typed, offset, sizes, strides] = parameters as unknown[]
        if (
          !(typed instanceof TypedStorage) ||
          typeof offset !== 'number' ||
          !isNumbers(sizes) ||
          !isNumbers(strides)
        )
          throw this.damaged('a tensor is described by something else')
        const { storage, dataType } = typed
        this.#stack.push(new PickledTensor({ dataType, sizes, strides, offset, storage }))
        return
      }
      default:
        throw this.refused(`a call of '${called.name}'`)
    }
  }

  /** The storage that a persistent id names: ('storage', type, key, location, number of elements). */
  load(): void {
    const id: unknown = this.pop()
    if (!Array.isArray(id) || id[0] !== 'storage' || !(id[1] instanceof Global) || typeof id[2] !== 'string')
      throw this.damaged('it names no storage where one is expected')
    const dataType = storageTypes[id[1].name]
    if (!dataType) throw this.refused(`a storage of type '${id[1].name}'`)
    this.#stack.push(new TypedStorage(this.#options.storage(id[2]), dataType))
  }

  damaged(reason: string): UserError {
    return new UserError(
      `${this.#options.name}: the pickle is damaged: ${reason} (at byte ${this.#at}); save the model again`,
    )
  }

  refused(what: string): UserError {
    return new UserError(
      `${this.#options.name}: the pickle asks for ${what}, which is more than tensors and is never executed; ` +
        'save `model.state_dict()` with safetensors or torch.save, or the whole model with `torch.export.save(torch.export.export(model, (example,)), "model.pt2")`',
    )
  }
}

const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'number')

/** A little-endian two's complement number of any length; beyond 2^53 digits are lost. */
function long(bytes: Uint8Array): number {
  let value = 0n
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!)
  return Number(bytes.length > 0 ? BigInt.asIntN(8 * bytes.length, value) : 0n)
}

/** Puts pairs into the dictionary on top of the stack. */
function setItems(machine: Machine, items: readonly Pickled[]): void {
  const target = machine.top()
  if (!(target instanceof Map) || items.length % 2 !== 0)
    throw machine.damaged('items are set in what is no dictionary')
  for (let i = 0; i < items.length; i += 2) target.set(items[i]!, items[i + 1]!)
}

function append(machine: Machine, items: readonly Pickled[]): void {
  const target = machine.top()
  if (!Array.isArray(target)) throw machine.damaged('items are appended to what is no list')
  for (const item of items) target.push(item)
}

const tuple = (length: number) => (machine: Machine) => {
  const items = Array.from({ length }, () => machine.value())
  machine.push(items.reverse())
}

/** What each opcode does; those that are missing are refused. */
const operations: Readonly<Record<number, (machine: Machine) => void>> = {
  128: (machine) => void machine.take(1), // PROTO
  149: (machine) => void machine.wide(), // FRAME
  40: (machine) => machine.push(mark), // MARK
  125: (machine) => machine.push(new Map()), // EMPTY_DICT
  93: (machine) => machine.push([]), // EMPTY_LIST
  41: (machine) => machine.push([]), // EMPTY_TUPLE
  78: (machine) => machine.push(null), // NONE
  136: (machine) => machine.push(true), // NEWTRUE
  137: (machine) => machine.push(false), // NEWFALSE
  74: (machine) => machine.push(machine.int()), // BININT
  75: (machine) => machine.push(machine.uint(1)), // BININT1
  77: (machine) => machine.push(machine.uint(2)), // BININT2
  138: (machine) => machine.push(long(machine.take(machine.uint(1)))), // LONG1
  71: (machine) => machine.push(machine.float()), // BINFLOAT
  88: (machine) => machine.push(machine.text(machine.uint(4))), // BINUNICODE
  140: (machine) => machine.push(machine.text(machine.uint(1))), // SHORT_BINUNICODE
  141: (machine) => machine.push(machine.text(machine.wide())), // BINUNICODE8
  85: (machine) => machine.push(machine.text(machine.uint(1))), // SHORT_BINSTRING
  84: (machine) => machine.push(machine.text(machine.uint(4))), // BINSTRING
  67: (machine) => machine.push(machine.take(machine.uint(1))), // SHORT_BINBYTES
  66: (machine) => machine.push(machine.take(machine.uint(4))), // BINBYTES
  116: (machine) => machine.push(machine.items()), // TUPLE
  133: tuple(1), // TUPLE1
  134: tuple(2), // TUPLE2
  135: tuple(3), // TUPLE3
  97: (machine) => {
    const item = machine.value() // APPEND
    append(machine, [item])
  },
  101: (machine) => {
    const items = machine.items() // APPENDS
    append(machine, items)
  },
  115: (machine) => {
    const value = machine.value() // SETITEM
    const key = machine.value()
    setItems(machine, [key, value])
  },
  117: (machine) => {
    const items = machine.items() // SETITEMS
    setItems(machine, items)
  },
  113: (machine) => machine.remember(machine.uint(1)), // BINPUT
  114: (machine) => machine.remember(machine.uint(4)), // LONG_BINPUT
  148: (machine) => machine.remember(), // MEMOIZE
  104: (machine) => machine.recall(machine.uint(1)), // BINGET
  106: (machine) => machine.recall(machine.uint(4)), // LONG_BINGET
  99: (machine) => {
    const module = machine.line() // GLOBAL
    machine.global(`${module}.${machine.line()}`)
  },
  147: (machine) => {
    const name = machine.value() // STACK_GLOBAL
    const module = machine.value()
    machine.global(`${String(module)}.${String(name)}`)
  },
  82: (machine) => machine.call(), // REDUCE
  81: (machine) => machine.load(), // BINPERSID
  98: (machine) => {
    // BUILD: attributes of a dictionary (state_dict's _metadata) say nothing of tensors.
    machine.pop()
    if (!(machine.top() instanceof Map)) throw machine.refused('attributes of an object')
  },
}
