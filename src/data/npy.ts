import type { ByteSource } from '../platform/byte-source.ts'
import { readFrom } from '../platform/byte-source.ts'
import { arrayColumn, type Column } from './column.ts'
import { columnDataset } from './column-dataset.ts'
import type { Dataset } from './dataset.ts'
import { npyHeaderLength, parseNpyHeader } from './npy-header.ts'

/**
 * An .npy file (versions 1 to 3, plain numbers of either byte order, C or Fortran order) whose first axis counts
 * the samples, as the unlabelled field `x`. Throws a UserError if it is damaged or holds Python objects.
 */
export async function openNpy(source: ByteSource): Promise<Dataset> {
  return columnDataset(source.name, [await npyColumn(source, 'x', source.name)], undefined)
}

/** The array of an .npy file as a column called `name`. */
export async function npyColumn(source: ByteSource, name: string, where: string): Promise<Column> {
  const reader = await readFrom(source, 0)
  try {
    const start = await reader.take(12)
    const offset = npyHeaderLength(start, where)
    const rest = await reader.take(Math.max(0, offset - 12))
    const header = new Uint8Array(12 + rest.length)
    header.set(start)
    header.set(rest, 12)
    return arrayColumn(source, name, where, { ...parseNpyHeader(header.subarray(0, offset), where), offset })
  } finally {
    await reader.close()
  }
}
