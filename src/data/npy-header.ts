import { UserError } from '../ir/errors.ts'
import { type DataType, elementCount } from '../ir/tensor.ts'

/** What stands before the numbers of an .npy file. */
export interface NpyHeader {
  readonly dataType: DataType
  readonly littleEndian: boolean
  /** Column-major: the first index varies fastest. */
  readonly fortranOrder: boolean
  /** Sizes of the axes, at most 2^53 - 1 elements in all. */
  readonly shape: readonly number[]
}

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]

/** Whether a file that begins with `bytes` calls itself .npy. */
export const isNpy = (bytes: Uint8Array): boolean => magic.every((byte, i) => bytes[i] === byte)

/** Header texts that NumPy writes for plain arrays have about 100 bytes; this is its own limit, ten times over. */
const maxHeaderBytes = 100_000

/**
 * Bytes of the whole header (magic, version, length, text) as told by its first 12 bytes.
 * Versions 1.0, 2.0 and 3.0. Throws a UserError for anything else.
 * Source: NumPy, "NEP 1: a simple file format for NumPy arrays".
 */
export function npyHeaderLength(start: Uint8Array, where: string): number {
  if (!isNpy(start))
    throw new UserError(
      `${where} is not an .npy array: it does not begin with \\x93NUMPY; save it with numpy.save`,
    )
  const version = start[6]!
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength)
  if (version < 1 || version > 3 || start.length < 12)
    throw new UserError(
      `${where}: .npy version ${version}.${start[7]} is unknown, expected 1.0 to 3.0; save it with numpy.save`,
    )
  const length = version === 1 ? 10 + view.getUint16(8, true) : 12 + view.getUint32(8, true)
  if (length > maxHeaderBytes)
    throw new UserError(
      `${where}: its header claims ${length} bytes, at most ${maxHeaderBytes} are read; ` +
        'the file is damaged or holds a structured array: save a plain array of numbers',
    )
  return length
}

const kinds: Record<string, DataType> = {
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  b1: 'bool',
}

/** NumPy's name of an element type without byte order, for example `f4`; undefined if NumPy has none. */
export const npyKindOf = (dataType: DataType): string | undefined =>
  Object.keys(kinds).find((kind) => kinds[kind] === dataType)

/** Reads a whole header of `npyHeaderLength` bytes. Throws a UserError naming `where`. */
export function parseNpyHeader(bytes: Uint8Array, where: string): NpyHeader {
  npyHeaderLength(bytes, where)
  const text = new TextDecoder().decode(bytes.subarray(bytes[6] === 1 ? 10 : 12)).trim()
  const damaged = (what: string): UserError =>
    new UserError(
      `${where}: its .npy header ${what}: ${text.slice(0, 80)}; save the array anew with numpy.save`,
    )
  if (!text.startsWith('{') || !text.endsWith('}')) throw damaged('is not a dictionary')

  const descr = /'descr'\s*:\s*(?:'([^']*)'|"([^"]*)"|(\[))/.exec(text)
  const order = /'fortran_order'\s*:\s*(True|False)\b/.exec(text)
  const shape = /'shape'\s*:\s*\(([^()]*)\)/.exec(text)
  if (!descr || !order || !shape) throw damaged('lacks descr, fortran_order or shape')
  const type = descr[1] ?? descr[2] ?? 'structured'
  const parts = /^([<>=|]?)(.*)$/.exec(type)!
  const dataType = Object.hasOwn(kinds, parts[2]!) ? kinds[parts[2]!] : undefined
  if (!dataType)
    throw new UserError(
      `${where} holds elements of NumPy type '${type}'${parts[2]!.startsWith('O') ? ' (pickled Python objects)' : ''}, ` +
        `expected plain numbers (${Object.keys(kinds).join(', ')}); convert it, for example with .astype('float32')`,
    )

  const axes = shape[1]!.split(',').map((axis) => axis.trim())
  if (axes.at(-1) === '') axes.pop()
  // Python 2 wrote sizes as 3L.
  if (!axes.every((axis) => /^\d{1,16}L?$/.test(axis))) throw damaged('has a shape that is not whole numbers')
  const sizes = axes.map((axis) => Number.parseInt(axis, 10))
  if (sizes.length > 32 || !Number.isSafeInteger(elementCount(sizes) * 8))
    throw damaged('has an impossible shape')
  return { dataType, littleEndian: parts[1] !== '>', fortranOrder: order[1] === 'True', shape: sizes }
}
