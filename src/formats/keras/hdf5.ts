import type { File } from 'h5wasm'
import { UserError } from '../../ir/errors.ts'
import { byteLengthOf, type DataType } from '../../ir/tensor.ts'
import type { Parts } from '../../platform/parts.ts'

/** The eight bytes that an HDF5 file begins with. */
export const isHdf5 = (bytes: Uint8Array): boolean =>
  [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a].every((byte, i) => bytes[i] === byte)

/** One array of the file. */
export interface Dataset {
  readonly path: string
  readonly dims: readonly number[]
  /** Undefined for what has no plain numbers. */
  readonly dataType: DataType | undefined
  readonly littleEndian: boolean
}

/** A file among those of the library. */
interface Mounted {
  readonly file: File
  readonly path: string
  isOpen: boolean
  /** Lets go of what it is read from. */
  readonly release: () => void
}

/** What packed arrays may unpack to, as a multiple of the file. */
const maxGrowth = 200
/** Arrays are brought over in pieces of this size, so that no second copy of a large one is made. */
const pieceBytes = 2 ** 22
/** What the HDF5 library itself needs beyond the arrays, for any file. */
const spareBytes = 2 ** 26
const maxLinks = 1_000_000

type H5wasm = typeof import('h5wasm').default
type H5Module = Awaited<H5wasm['ready']>

/** Loaded when the first such file is read: it is 4 MB. */
let library: Promise<{ h5: H5wasm; module: H5Module }> | undefined
const loaded = () => {
  library ??= import('h5wasm').then(async ({ default: h5 }) => ({ h5, module: await h5.ready }))
  return library
}

/** The project is typed without the interfaces that browsers and Node share here. */
const wasm = (globalThis as unknown as { WebAssembly: Wasm }).WebAssembly
interface WasmMemory {
  readonly buffer: ArrayBuffer
  grow(pages: number): number
}
interface Wasm {
  readonly Memory: { readonly prototype: WasmMemory }
  readonly RuntimeError: new () => Error
}

let files = 0

const damaged = (reason: string, cause?: unknown): UserError =>
  new UserError(`the HDF5 file is damaged or cut short: ${reason}; save or fetch it again`, { cause })

/**
 * An HDF5 file. Arrays are read when asked for, from where the file lies. Damage is told by UserErrors; what a damaged file makes
 * the library allocate is bounded by the size of the file.
 */
export class Hdf5File {
  readonly #h5: H5wasm
  readonly #module: H5Module
  readonly #source: Parts
  #open: Mounted | undefined
  #links = 0

  private constructor(h5: H5wasm, module: H5Module, source: Parts) {
    this.#h5 = h5
    this.#module = module
    this.#source = source
  }

  /** Opens `source` until `close`; arrays can be read after that too. */
  static async open(source: Parts): Promise<Hdf5File> {
    checkHeaps(source)
    const { h5, module } = await loaded()
    const file = new Hdf5File(h5, module, source)
    file.#guarded(() => {
      file.#open = file.#mountSource()
    })
    return file
  }

  close(): void {
    const open = this.#open
    this.#open = undefined
    if (open) this.#guarded(() => this.#unmount(open))
  }

  /** Names of the groups and arrays in the group at `path`; empty if it is none. */
  children(path: string): { groups: string[]; arrays: string[] } {
    return this.#use((file) => {
      const groups: string[] = []
      const arrays: string[] = []
      if (path !== '/' && this.#kindOf(file, path) !== 'group') return { groups, arrays }
      const names = this.#module.get_names(file.file_id, path, false)
      this.#links += names.length
      if (this.#links > maxLinks) throw damaged('it holds more groups than any model')
      for (const name of names) {
        const kind = this.#kindOf(file, join(path, name))
        if (kind === 'group') groups.push(name)
        if (kind === 'array') arrays.push(name)
      }
      return { groups, arrays }
    })
  }

  /** The text or texts in an attribute of the object at `path`; undefined if there is none. */
  texts(path: string, attribute: string): string[] | undefined {
    return this.#use((file) => {
      const module = this.#module
      if (path !== '/' && this.#kindOf(file, path) === undefined) return undefined
      if (!module.get_attribute_names(file.file_id, path).includes(attribute)) return undefined
      const { shape, size, total_size, vlen, type } = module.get_attribute_metadata(
        file.file_id as never,
        path,
        attribute,
      )
      if (!shape || type !== module.H5T_class_t.H5T_STRING.value) return undefined
      const length = size * total_size
      this.#check(`attribute '${attribute}'`, length)
      return this.#inMemory(length, (at) => {
        module.get_attribute_data(file.file_id as never, path, attribute, BigInt(at) as never)
        const heap = module.HEAPU8
        if (!vlen)
          return Array.from({ length: total_size }, (_, i) =>
            textAt(heap, at + i * size, at + (i + 1) * size),
          )
        const pointers = new DataView(heap.buffer, at, length)
        return Array.from({ length: total_size }, (_, i) => {
          const pointer = pointers.getUint32(4 * i, true)
          return pointer === 0 ? '' : textAt(heap, pointer, heap.length)
        })
      })
    })
  }

  /** The array at `path`; undefined if there is none. */
  dataset(path: string): Dataset | undefined {
    return this.#use((file) => {
      if (this.#kindOf(file, path) !== 'array') return undefined
      const { shape, type, size, signed, littleEndian } = this.#module.get_dataset_metadata(
        file.file_id,
        path,
      )
      if (!shape) return undefined
      const { H5T_FLOAT, H5T_INTEGER } = this.#module.H5T_class_t
      const dataType =
        type === H5T_FLOAT.value
          ? floats[size]
          : type === H5T_INTEGER.value
            ? (signed ? signedIntegers : unsignedIntegers)[size]
            : undefined
      return { path, dims: shape, dataType, littleEndian }
    })
  }

  /** The elements of an array, row-major and little-endian; in the memory `into`, if it is given. */
  read(dataset: Dataset, into?: Uint8Array): Uint8Array {
    const { path, dims, littleEndian } = dataset
    const dataType = numeric(dataset)
    const length = byteLengthOf(dataType, dims)
    this.#check(`'${path}'`, length)
    const bytes = into ?? new Uint8Array(length)
    if (length === 0) return bytes
    this.#use((file) => {
      this.#pieces(dataset, (at, part, count, offset) =>
        this.#inMemory(part, (pointer) => {
          const strides = dims.map(() => 1n)
          const status = this.#module.get_dataset_data(
            file.file_id,
            path,
            dims.length === 0 ? null : count,
            dims.length === 0 ? null : offset,
            dims.length === 0 ? null : strides,
            BigInt(pointer),
          )
          if (status < 0) throw damaged(`its array '${path}' cannot be read`)
          bytes.set(this.#module.HEAPU8.subarray(pointer, pointer + part), at)
        }),
      )
    })
    return littleEndian ? bytes : swapped(bytes, length / elementCountOf(dims))
  }

  /**
   * The file with new contents (little-endian) for the arrays given, and new texts for attributes of the whole file;
   * everything else in it stays.
   */
  write(
    contents: ReadonlyMap<Dataset, Uint8Array>,
    texts: ReadonlyMap<string, string> = new Map(),
  ): Uint8Array {
    return this.#guarded(() => {
      const open = this.#mountCopy()
      try {
        for (const [dataset, bytes] of contents) {
          const { path, dims, littleEndian } = dataset
          const stored = littleEndian ? bytes : swapped(bytes.slice(), bytes.length / elementCountOf(dims))
          this.#pieces(dataset, (at, part, count, offset) =>
            this.#inMemory(part, (pointer) => {
              this.#module.HEAPU8.set(stored.subarray(at, at + part), pointer)
              const whole = dims.length === 0
              const status = this.#module.set_dataset_data(
                open.file.file_id,
                path,
                whole ? null : count,
                whole ? null : offset,
                whole ? null : dims.map(() => 1n),
                BigInt(pointer),
              )
              if (status < 0) throw damaged(`its array '${path}' cannot be written`)
            }),
          )
        }
        for (const [name, text] of texts) {
          open.file.delete_attribute(name)
          open.file.create_attribute(name, text)
        }
        // What is written last reaches the file when it is closed.
        this.#shut(open)
        return contentsOf(this.#module, open.path)
      } finally {
        this.#unmount(open)
      }
    })
  }

  /** Calls `use` for pieces of whole rows along the first axis: where each begins, its bytes, and its place. */
  #pieces(
    dataset: Dataset,
    use: (at: number, bytes: number, count: bigint[], offset: bigint[]) => void,
  ): void {
    const { dims } = dataset
    const total = byteLengthOf(numeric(dataset), dims)
    const [rows = 1, ...others] = dims
    if (total === 0) return
    const rowBytes = total / rows
    const rowsAtOnce = Math.max(1, Math.floor(pieceBytes / rowBytes))
    for (let row = 0; row < rows; row += rowsAtOnce) {
      const count = Math.min(rowsAtOnce, rows - row)
      use(
        row * rowBytes,
        count * rowBytes,
        [count, ...others].map(BigInt),
        [row, ...others.map(() => 0)].map(BigInt),
      )
    }
  }

  #kindOf(file: File, path: string): 'group' | 'array' | undefined {
    const { H5G_GROUP, H5G_DATASET } = this.#module
    // Links to other files are not followed.
    let type: number
    try {
      type = this.#module.get_type(file.file_id, path)
    } catch (error) {
      if (error instanceof wasm.RuntimeError) throw error
      return undefined
    }
    return type === H5G_GROUP ? 'group' : type === H5G_DATASET ? 'array' : undefined
  }

  #check(what: string, bytes: number): void {
    if (!(bytes <= this.#source.sizeBytes * maxGrowth))
      throw damaged(`its ${what} claims ${bytes} bytes in a file of ${this.#source.sizeBytes}`)
  }

  /** Memory of the library for the time that `use` takes. */
  #inMemory<T>(bytes: number, use: (at: number) => T): T {
    const module = this.#module as H5Module & { _malloc(n: number): number; _free(at: number): void }
    const at = module._malloc(Math.max(1, bytes))
    if (at === 0) throw damaged(`${bytes} bytes of it do not fit into memory`)
    try {
      return use(at)
    } finally {
      module._free(at)
    }
  }

  #use<T>(work: (file: File) => T): T {
    const { file } = this.#open ?? {}
    if (file) return this.#guarded(() => work(file))
    return this.#guarded(() => {
      const open = this.#mountSource()
      try {
        return work(open.file)
      } finally {
        this.#unmount(open)
      }
    })
  }

  /** The source among the files of the library, which reads of it what it asks for. */
  #mountSource(): Mounted {
    const path = `/varshift-${files++}.h5`
    const { sizeBytes } = this.#source
    const source = this.#source.open()
    this.#module.FS.writeFile(path, new Uint8Array(0))
    const node = nodeOf(this.#module, path)
    Object.defineProperty(node, 'usedBytes', { value: sizeBytes })
    node.stream_ops = {
      ...node.stream_ops,
      read(_stream, heap, at, length, position) {
        const count = Math.max(0, Math.min(length, sizeBytes - position))
        source.fill(new Uint8Array(heap.buffer, heap.byteOffset + at, count), position)
        return count
      },
    }
    return this.#opened(path, 'r', () => source.close())
  }

  /** A copy of the source, to be changed. */
  #mountCopy(): Mounted {
    const path = `/varshift-${files++}.h5`
    const bytes = new Uint8Array(this.#source.sizeBytes)
    const source = this.#source.open()
    try {
      source.fill(bytes, 0)
    } finally {
      source.close()
    }
    // The library changes the very bytes given: no other copy is made.
    this.#module.FS.writeFile(path, bytes, { canOwn: true } as never)
    return this.#opened(path, 'a', () => {})
  }

  #opened(path: string, mode: 'r' | 'a', release: () => void): Mounted {
    try {
      return { file: new this.#h5.File(path, mode), path, isOpen: true, release }
    } catch (error) {
      this.#module.FS.unlink(path)
      release()
      throw error
    }
  }

  #shut(mounted: Mounted): void {
    if (mounted.isOpen) {
      mounted.isOpen = false
      mounted.file.close()
    }
  }

  #unmount(mounted: Mounted): void {
    try {
      this.#shut(mounted)
    } finally {
      this.#module.FS.unlink(mounted.path)
      mounted.release()
    }
  }

  /** Tells what goes wrong inside the library as a UserError, and keeps what a damaged file makes it allocate small. */
  #guarded<T>(work: () => T): T {
    const module = this.#module
    const { grow } = wasm.Memory.prototype
    const most = module.HEAPU8.length + Math.min(this.#source.sizeBytes * 2, 2 ** 31) + spareBytes
    wasm.Memory.prototype.grow = function (this: WasmMemory, pages: number) {
      if (this.buffer === module.HEAPU8.buffer && this.buffer.byteLength + pages * 2 ** 16 > most)
        throw new RangeError('more memory than the file can need')
      return grow.call(this, pages)
    }
    module.activate_throwing_error_handler()
    try {
      return work()
    } catch (error) {
      throw error instanceof UserError ? error : damaged(reasonOf(error), error)
    } finally {
      wasm.Memory.prototype.grow = grow
      module.deactivate_throwing_error_handler()
    }
  }
}

/** "GCOL", as a little-endian number. */
const heapSignature = 0x4c4f4347

/**
 * Throws a UserError if the objects in a heap of texts do not lie in it one behind the other: the library, whose sizes
 * have 32 bits here, would walk some of them without end.
 * Source: HDF5 file format specification 3.0, section III.E.
 */
function checkHeaps(source: Parts): void {
  const { sizeBytes } = source
  const file = source.open()
  try {
    const piece = new Uint8Array(Math.min(pieceBytes, sizeBytes))
    let heapBytes = 0
    for (let from = 0; from < sizeBytes; from += pieceBytes) {
      const bytes = piece.subarray(0, Math.min(pieceBytes, sizeBytes - from))
      file.fill(bytes, from)
      for (const start of heapsIn(bytes, from, sizeBytes)) {
        const head = viewOf(new Uint8Array(16))
        file.fill(new Uint8Array(head.buffer), start)
        const length = Number(head.getBigUint64(8, true))
        if (start + length > sizeBytes) throw damaged('a heap of texts does not lie inside it')
        heapBytes += length
        if (heapBytes > 2 * sizeBytes) throw damaged('its heaps of texts overlap')
        const heap = new Uint8Array(length)
        file.fill(heap, start)
        checkHeap(viewOf(heap))
      }
    }
  } finally {
    file.close()
  }
}

/** Where heaps begin in a piece: at multiples of 8 bytes, with version 1 and three zeros. */
function* heapsIn(piece: Uint8Array, from: number, sizeBytes: number): Generator<number> {
  const view = viewOf(piece)
  for (let at = piece.indexOf(0x47); at >= 0; at = piece.indexOf(0x47, at + 1)) {
    if (at % 8 !== 0 || from + at + 16 > sizeBytes || view.getUint32(at, true) !== heapSignature) continue
    if (view.getUint32(at + 4, true) === 1) yield from + at
  }
}

function checkHeap(heap: DataView): void {
  for (let at = 16; at + 16 <= heap.byteLength; ) {
    const isFree = heap.getUint16(at, true) === 0
    const size = Number(heap.getBigUint64(at + 8, true))
    const next = at + (isFree ? size : 16 + Math.ceil(size / 8) * 8)
    if (next <= at || next > heap.byteLength) throw damaged('a text does not lie in its heap')
    at = next
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const floats: Readonly<Record<number, DataType>> = { 2: 'float16', 4: 'float32', 8: 'float64' }
const signedIntegers: Readonly<Record<number, DataType>> = { 1: 'int8', 2: 'int16', 4: 'int32', 8: 'int64' }
const unsignedIntegers: Readonly<Record<number, DataType>> = {
  1: 'uint8',
  2: 'uint16',
  4: 'uint32',
  8: 'uint64',
}

function numeric({ dataType, path }: Dataset): DataType {
  if (!dataType) throw damaged(`its array '${path}' holds no plain numbers`)
  return dataType
}

const elementCountOf = (dims: readonly number[]) =>
  Math.max(
    1,
    dims.reduce((n, dim) => n * dim, 1),
  )

export const join = (folder: string, name: string): string =>
  folder === '/' || folder === '' ? name : `${folder}/${name}`

function textAt(heap: Uint8Array, from: number, most: number): string {
  const zero = heap.indexOf(0, from)
  return new TextDecoder().decode(heap.slice(from, zero < 0 ? most : Math.min(zero, most)))
}

/** Reverses the bytes of every element. */
function swapped(bytes: Uint8Array, size: number): Uint8Array {
  for (let at = 0; at < bytes.length; at += size) bytes.subarray(at, at + size).reverse()
  return bytes
}

/** A file of the library's own, as Emscripten keeps it in memory. */
interface FsNode {
  readonly contents: Uint8Array
  readonly usedBytes: number
  stream_ops: {
    read(stream: unknown, heap: Int8Array, at: number, length: number, position: number): number
  }
}

const nodeOf = (module: H5Module, path: string): FsNode =>
  (module.FS as unknown as { lookupPath(path: string): { node: FsNode } }).lookupPath(path).node

/** The bytes of a file of the library's own, not copied. */
function contentsOf(module: H5Module, path: string): Uint8Array {
  const { contents, usedBytes } = nodeOf(module, path)
  return contents.subarray(0, usedBytes)
}

/** The innermost of the reasons that HDF5 tells, in one line. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  const lines = [...message.matchAll(/in (\w+)\(\): ([^\n]+)/g)]
  return lines.at(-1)?.[2] ?? message.split('\n')[0]!.slice(0, 200)
}
