import { UserError } from '../ir/errors.ts'
import type { Tensor } from '../ir/tensor.ts'
import type { Column, RowReader } from './column.ts'
import { type Batch, batchRanges, type Dataset } from './dataset.ts'
import { toLabels } from './labels.ts'

/**
 * The dataset whose samples are the rows of `columns`, read side by side.
 * Throws a UserError if they, or the labels, do not have the same number of rows.
 */
export function columnDataset(
  name: string,
  columns: readonly Column[],
  labels: Column | undefined,
  classNames?: readonly string[],
): Dataset {
  const [first] = columns
  if (!first)
    throw new UserError(`${name} holds no samples, only labels; expected an array of inputs, for example x`)
  for (const column of labels ? [...columns, labels] : columns)
    if (column.size !== first.size)
      throw new UserError(
        `${column.where} holds ${column.size} ${column === labels ? 'labels' : 'samples'}, ` +
          `expected ${first.size} as in ${first.where}; give arrays of one length`,
      )
  return {
    name,
    size: first.size,
    fields: columns.map(({ name, dataType, sampleShape, layout }) => ({
      name,
      dataType,
      sampleShape,
      ...(layout && { layout }),
    })),
    labelled: labels !== undefined,
    seekable: [...columns, ...(labels ? [labels] : [])].every(({ seekable }) => seekable),
    ...(classNames && { classNames }),
    async *batches(options) {
      const readers: RowReader[] = []
      try {
        for (const [from, to] of batchRanges(first.size, options)) {
          if (readers.length === 0)
            for (const column of labels ? [...columns, labels] : columns)
              readers.push(await column.rows(from))
          const size = to - from
          const inputs = new Map<string, Tensor>()
          for (const [i, column] of columns.entries()) inputs.set(column.name, await readers[i]!.take(size))
          const batch: Batch = { inputs, size }
          if (!labels) yield batch
          else yield { ...batch, labels: toLabels(await readers.at(-1)!.take(size), labels.where, from) }
        }
      } finally {
        await Promise.all(readers.map((reader) => reader.close()))
      }
    },
  }
}

/** `dataset` with the rows of `labels` as its labels, in place of any that it has. */
export function withLabels(dataset: Dataset, labels: Column): Dataset {
  if (labels.size !== dataset.size)
    throw new UserError(
      `${labels.where} holds ${labels.size} labels, expected ${dataset.size} as many as ${dataset.name} has samples; ` +
        'give the labels of this data',
    )
  return {
    ...dataset,
    labelled: true,
    seekable: dataset.seekable === true && labels.seekable,
    async *batches(options) {
      let reader: RowReader | undefined
      let at = options.start ?? 0
      try {
        for await (const { inputs, size } of dataset.batches(options)) {
          reader ??= await labels.rows(at)
          yield { inputs, size, labels: toLabels(await reader.take(size), labels.where, at) }
          at += size
        }
      } finally {
        await reader?.close()
      }
    },
  }
}
