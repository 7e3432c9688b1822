import { UserError } from '../ir/errors.ts'
import { byteLengthOf, type DataType, dataTypes, elementCount, Tensor } from '../ir/tensor.ts'
import { type ByteSource, inMemory, readFrom } from '../platform/byte-source.ts'
import type { RandomAccess } from '../platform/files.ts'
import type { Field } from './dataset.ts'

/** One array whose first axis counts the samples: what a dataset is put together from. */
export interface Column extends Field {
  /** For messages: file and array, for example `images.npz:x`. */
  readonly where: string
  /** Number of samples. */
  readonly size: number
  /** Whether `rows` can begin anywhere at no cost. */
  readonly seekable: boolean
  /** Reads on from sample `from`. */
  rows(from: number): Promise<RowReader>
}

export interface RowReader {
  /** The next `count` samples: a tensor of `count` x sampleShape. A UserError if the file is damaged. */
  take(count: number): Promise<Tensor>
  close(): Promise<void>
}

/** How the numbers of an array lie in a source. */
export interface ArrayForm {
  readonly dataType: DataType
  readonly littleEndian: boolean
  readonly fortranOrder: boolean
  /** Samples first. */
  readonly shape: readonly number[]
  /** Bytes before the first number. */
  readonly offset: number
}

/** More than this in one tensor is refused: typed arrays end there on some machines. */
const maxTensorBytes = 2 ** 31 - 1

/** Arrays in Fortran order up to this size are read whole, which is much faster than picking their samples out. */
const smallBytes = 2 ** 28

/** Packed arrays in Fortran order have to be held in memory; larger ones are refused. */
const maxHeldBytes = 2 ** 30

/**
 * The array of form `form` in `source`, read a few samples at a time. Arrays in C order take no memory but that;
 * arrays in Fortran order are held in memory if they are packed or small.
 * Throws a UserError if the sizes that the form claims do not fit what the source holds, before using them.
 */
export function arrayColumn(source: ByteSource, name: string, where: string, form: ArrayForm): Column {
  const { dataType, littleEndian, fortranOrder, shape, offset } = form
  const [size, ...sampleShape] = shape
  const total = byteLengthOf(dataType, shape)
  const expected = offset + total
  const text = `${shape.join(' x ')} ${dataType}`
  if (size === undefined)
    throw new UserError(
      `${where} is a single number, expected an array of samples; give it an axis of samples first`,
    )
  if (total === 0)
    throw new UserError(`${where} is empty: its shape is ${shape.join(' x ')}; give at least one sample`)
  if (expected !== (source.sizeBytes ?? expected) || expected > source.maxBytes)
    throw new UserError(
      `${where}: its header tells ${text}, ${expected} bytes, but it holds ` +
        `${source.sizeBytes ?? `at most ${source.maxBytes}`}; it is cut short or damaged: ` +
        'fetch or save it again',
    )
  const rowBytes = total / size
  const itemBytes = dataTypes[dataType].bits / 8
  const tensor = (count: number, bytes: Uint8Array): Tensor => {
    if (!littleEndian) swapBytes(bytes, itemBytes)
    return new Tensor(dataType, [count, ...sampleShape], bytes)
  }
  const checkCount = (count: number): void => {
    if (count * rowBytes > maxTensorBytes)
      throw new UserError(
        `${where}: ${count} samples of ${rowBytes} bytes are too much for one batch of at most ${maxTensorBytes} bytes; ` +
          'try a smaller batch size',
      )
  }

  async function rowsInOrder(from: number): Promise<RowReader> {
    const reader = await readFrom(source, offset + from * rowBytes)
    let at = from
    return {
      async take(count) {
        checkCount(count)
        const bytes = await reader.take(count * rowBytes)
        at += count
        if (at === size) await reader.finish()
        return tensor(count, bytes)
      },
      close: () => reader.close(),
    }
  }

  async function rowsOfColumnMajor(from: number): Promise<RowReader> {
    const file = await randomAccess(source, expected)
    const places = rowMajorPlaces(sampleShape)
    let at = from
    return {
      async take(count) {
        checkCount(count)
        const bytes = new Uint8Array(count * rowBytes)
        for (let j = 0; j < places.length; j++) {
          const run = await file.read(offset + (j * size! + at) * itemBytes, count * itemBytes)
          for (let i = 0; i < count; i++)
            for (let byte = 0; byte < itemBytes; byte++)
              bytes[i * rowBytes + places[j]! * itemBytes + byte] = run[i * itemBytes + byte]!
        }
        at += count
        return tensor(count, bytes)
      },
      close: () => file.close(),
    }
  }

  const isColumnMajor = fortranOrder && shape.length > 1
  return {
    name,
    where,
    size,
    dataType,
    sampleShape,
    seekable: source.random !== undefined && !isColumnMajor,
    rows: isColumnMajor ? rowsOfColumnMajor : rowsInOrder,
  }
}

async function randomAccess(source: ByteSource, sizeBytes: number): Promise<RandomAccess> {
  if (source.random && sizeBytes > smallBytes) return source.random()
  const remedy = 'save it in C order (numpy.ascontiguousarray)'
  const bytes = await inMemory(source, maxHeldBytes, remedy)
  if (bytes.length !== sizeBytes)
    throw new UserError(
      `${source.name}: expected ${sizeBytes} bytes, got ${bytes.length}; fetch or save it again`,
    )
  return {
    sizeBytes,
    read: async (offset, length) => bytes.subarray(offset, offset + length),
    close: async () => {},
  }
}

/** Place in row-major order of each element of a sample, in column-major order. */
function rowMajorPlaces(shape: readonly number[]): Int32Array {
  const strides = shape.map((_, axis) => elementCount(shape.slice(axis + 1)))
  return Int32Array.from({ length: elementCount(shape) }, (_, element) => {
    let rest = element
    let place = 0
    for (let axis = 0; axis < shape.length; axis++) {
      place += (rest % shape[axis]!) * strides[axis]!
      rest = Math.floor(rest / shape[axis]!)
    }
    return place
  })
}

function swapBytes(bytes: Uint8Array, itemBytes: number): void {
  if (itemBytes > 1)
    for (let at = 0; at < bytes.length; at += itemBytes) bytes.subarray(at, at + itemBytes).reverse()
}

/** Numbers that are in memory already, one a sample. */
export function memoryColumn(name: string, where: string, values: Int32Array): Column {
  return {
    name,
    where,
    size: values.length,
    seekable: true,
    dataType: 'int32',
    sampleShape: [],
    async rows(from) {
      let at = from
      return {
        async take(count) {
          at += count
          return Tensor.of('int32', [count], values.subarray(at - count, at))
        },
        close: async () => {},
      }
    },
  }
}
