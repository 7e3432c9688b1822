import { UserError } from '../ir/errors.ts'
import type { ByteSource } from '../platform/byte-source.ts'
import { readZipDirectory, zipMember } from '../platform/zip.ts'
import type { Column } from './column.ts'
import { columnDataset } from './column-dataset.ts'
import type { Dataset } from './dataset.ts'
import { checkLabelColumn } from './labels.ts'
import { npyColumn } from './npy.ts'

/** Names of the array of labels, in the order in which they are looked for. */
export const defaultLabelKeys: readonly string[] = ['labels', 'label', 'y']

/**
 * An .npz file (stored or deflated, zip64 too): each array is a field under its name, and the first of `labelKeys`
 * that there is holds the labels: whole numbers, N or N x 1, or one-hot rows, N x C.
 * Throws a UserError if the file is damaged or its arrays do not agree on the number of samples.
 */
export async function openNpz(
  source: ByteSource,
  { labelKeys = defaultLabelKeys }: { labelKeys?: readonly string[] } = {},
): Promise<Dataset> {
  const columns = await npzColumns(source)
  const key = labelKeys.find((key) => columns.some(({ name }) => name === key))
  const labels = columns.find(({ name }) => name === key)
  return columnDataset(
    source.name,
    columns.filter((column) => column !== labels),
    labels && checkLabelColumn(labels),
  )
}

/** The arrays of an .npz file, in its order. */
export async function npzColumns(source: ByteSource): Promise<Column[]> {
  const columns = new Map<string, Column>()
  const entries = await readZipDirectory(source)
  for (const entry of entries) {
    if (!entry.name.endsWith('.npy')) continue
    const name = entry.name.slice(0, -4)
    const where = `${source.name}:${name}`
    if (columns.has(name))
      throw new UserError(`${where} is there twice; save the file again with numpy.savez`)
    columns.set(name, await npyColumn(await zipMember(source, entry, where), name, where))
  }
  if (columns.size > 0) return [...columns.values()]
  const first = entries[0]
  throw new UserError(
    `${source.name} is a zip file without arrays (${first ? `it holds ${first.name}` : 'it is empty'}), expected an ` +
      ".npz file; save one with numpy.savez('data.npz', x=pictures, labels=labels)",
  )
}
