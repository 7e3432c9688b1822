import { UserError } from '../ir/errors.ts'
import { openSource, peek } from '../platform/byte-source.ts'
import type { Files } from '../platform/files.ts'
import { isZip } from '../platform/zip.ts'
import { type Column, memoryColumn } from './column.ts'
import { idxColumn, isIdx } from './idx.ts'
import { checkLabelColumn } from './labels.ts'
import { npyColumn } from './npy.ts'
import { isNpy } from './npy-header.ts'
import { defaultLabelKeys, npzColumns } from './npz.ts'

/**
 * Labels of their own: an .npy or .npz file, IDX (also .gz), or a text of one whole number a line.
 * Throws a UserError if the file is none of these.
 */
export async function readLabels(path: string, files: Files): Promise<Column> {
  const source = await openSource(path, files)
  const start = await peek(source, 16)
  if (isNpy(start)) return checkLabelColumn(await npyColumn(source, 'labels', source.name))
  if (isIdx(start)) return checkLabelColumn(await idxColumn(source, 'labels', source.name))
  if (isZip(start)) {
    const columns = await npzColumns(source)
    const named = defaultLabelKeys.map((key) => columns.find(({ name }) => name === key))
    const column = named.find((found) => found) ?? (columns.length === 1 ? columns[0] : undefined)
    if (column) return checkLabelColumn(column)
    throw new UserError(
      `${source.name} holds ${columns.map(({ name }) => name).join(', ')}, expected one array, ` +
        `or one called ${defaultLabelKeys.join(', ')}; give a file of labels`,
    )
  }
  return textLabels(path, files)
}

/** A line holds a number and its end, so a larger file is not a list of labels that anyone has. */
const maxTextBytes = 2 ** 28

async function textLabels(path: string, files: Files): Promise<Column> {
  const name = files.nameOf(path)
  const { sizeBytes = 0 } = (await files.stat(path)) ?? {}
  if (sizeBytes > maxTextBytes)
    throw new UserError(
      `${name} has ${sizeBytes} bytes, expected labels in at most ${maxTextBytes}; give an .npy file`,
    )
  const lines = new TextDecoder()
    .decode(await files.read(path))
    .trimEnd()
    .split('\n')
  const labels = new Int32Array(lines.length)
  for (const [i, line] of lines.entries()) {
    const label = /^\s*-?\d+\s*$/.test(line) ? Number(line) : Number.NaN
    if (label !== (label | 0))
      throw new UserError(
        `${name}, line ${i + 1}: '${line.trim().slice(0, 40)}' is not a label; ` +
          'expected a whole number a line, in the order of the samples (or an .npy, .npz or IDX file)',
      )
    labels[i] = label
  }
  return memoryColumn('labels', name, labels)
}
