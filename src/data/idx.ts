import { UserError } from '../ir/errors.ts'
import type { DataType } from '../ir/tensor.ts'
import { type ByteSource, openSource, readFrom } from '../platform/byte-source.ts'
import type { Files } from '../platform/files.ts'
import { arrayColumn, type Column } from './column.ts'
import { columnDataset } from './column-dataset.ts'
import type { Dataset } from './dataset.ts'
import { checkLabelColumn } from './labels.ts'

const dataTypeOfCode: Record<number, DataType> = {
  8: 'uint8',
  9: 'int8',
  11: 'int16',
  12: 'int32',
  13: 'float32',
  14: 'float64',
}

/** Whether a file that begins with `bytes` can be IDX: two zero bytes, an element type, and 1 to 8 axes. */
export const isIdx = (bytes: Uint8Array): boolean =>
  bytes[0] === 0 && bytes[1] === 0 && bytes[2]! in dataTypeOfCode && bytes[3]! >= 1 && bytes[3]! <= 8

/** The file names in which the labels to the pictures called `name` are found, packed or not. */
export function idxLabelNames(name: string): string[] {
  const labels = name.replace(/\.gz$/, '').replace('images', 'labels').replace(/idx\d/, 'idx1')
  return labels === name.replace(/\.gz$/, '') ? [] : [labels, `${labels}.gz`]
}

/**
 * The IDX file (also packed as .gz) at `path`, of MNIST and its like, as the field `x` of N x H x W, with the labels
 * of the file beside it: `train-labels-idx1-ubyte` to `train-images-idx3-ubyte`. Without one it is unlabelled.
 * Throws a UserError if a file is damaged or the labels do not belong to the pictures.
 * Source: LeCun, Cortes and Burges, "The MNIST database", section on the file format.
 */
export async function openIdx(path: string, files: Files): Promise<Dataset> {
  const source = await openSource(path, files)
  const pictures = await idxColumn(source, 'x', source.name)
  for (const name of idxLabelNames(source.name)) {
    const beside = files.join(files.folderOf(path), name)
    if (!(await files.stat(beside))) continue
    const labels = await idxColumn(await openSource(beside, files), 'labels', name)
    return columnDataset(source.name, [pictures], checkLabelColumn(labels))
  }
  return columnDataset(source.name, [pictures], undefined)
}

/** The array of an IDX file as a column called `name`. */
export async function idxColumn(source: ByteSource, name: string, where: string): Promise<Column> {
  const reader = await readFrom(source, 0)
  try {
    const start = await reader.take(4)
    if (!isIdx(start))
      throw new UserError(
        `${where} is not an IDX file: it begins with ${[...start].join(' ')}, expected 0 0, an element type and 1 to 8 axes; ` +
          'give a file such as train-images-idx3-ubyte.gz',
      )
    const axes = start[3]!
    const sizes = await reader.take(axes * 4)
    const view = new DataView(sizes.buffer, sizes.byteOffset)
    const shape = Array.from({ length: axes }, (_, axis) => view.getUint32(axis * 4))
    if (!Number.isSafeInteger(shape.reduce((n, size) => n * size, 8)))
      throw new UserError(
        `${where}: its header claims ${shape.join(' x ')} numbers; it is damaged: fetch it again`,
      )
    return arrayColumn(source, name, where, {
      dataType: dataTypeOfCode[start[2]!]!,
      littleEndian: false,
      fortranOrder: false,
      shape,
      offset: 4 + axes * 4,
    })
  } finally {
    await reader.close()
  }
}
