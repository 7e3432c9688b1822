import { expect, test } from 'vitest'
import { type Column, memoryColumn } from './column.ts'
import { columnDataset, withLabels } from './column-dataset.ts'
import type { Dataset } from './dataset.ts'

const x = memoryColumn('x', 'a.npz:x', Int32Array.of(10, 11, 12, 13, 14))
const y = memoryColumn('y', 'a.npz:y', Int32Array.of(0, 1, 2, 3, 4))

async function read(
  dataset: Dataset,
  batchSize: number,
  start = 0,
): Promise<[number[], number[] | undefined][]> {
  const all: [number[], number[] | undefined][] = []
  for await (const { inputs, labels } of dataset.batches({ batchSize, start }))
    all.push([[...inputs.get('x')!.toNumbers()], labels && [...labels]])
  return all
}

test('columns are read side by side, again and again', async () => {
  const dataset = columnDataset('a.npz', [x], y, ['a', 'b'])
  expect(dataset).toMatchObject({ name: 'a.npz', size: 5, labelled: true, classNames: ['a', 'b'] })
  for (let pass = 0; pass < 2; pass++)
    expect(await read(dataset, 3, 1)).toEqual([
      [
        [11, 12, 13],
        [1, 2, 3],
      ],
      [[14], [4]],
    ])
  expect(await read(columnDataset('a.npz', [x], undefined), 9)).toEqual([[[10, 11, 12, 13, 14], undefined]])
})

test('labels of their own take the place of others', async () => {
  const other = memoryColumn('labels', 'y.txt', Int32Array.of(5, 6, 7, 8, 9))
  for (const dataset of [columnDataset('a.npz', [x], y), columnDataset('a.npz', [x], undefined)])
    expect(await read(withLabels(dataset, other), 2, 2)).toEqual([
      [
        [12, 13],
        [7, 8],
      ],
      [[14], [9]],
    ])
})

test('columns of unlike length are refused', () => {
  const short = memoryColumn('z', 'a.npz:z', Int32Array.of(1, 2))
  expect(() => columnDataset('a.npz', [x, short], y)).toThrow(
    /a.npz:z holds 2 samples, expected 5 as in a.npz:x/,
  )
  expect(() => columnDataset('a.npz', [x], short)).toThrow(/a.npz:z holds 2 labels, expected 5/)
  expect(() => columnDataset('a.npz', [], y)).toThrow(/only labels/)
  expect(() => withLabels(columnDataset('a.npz', [x], y), short)).toThrow(/holds 2 labels, expected 5/)
})

test('readers are closed however the reading ends', async () => {
  let open = 0
  const counted = (column: Column): Column => ({
    ...column,
    async rows(from) {
      const rows = await column.rows(from)
      open++
      return {
        take: (count) => (from === 4 ? Promise.reject(new Error('damaged')) : rows.take(count)),
        async close() {
          open--
        },
      }
    },
  })
  const dataset = withLabels(columnDataset('a.npz', [counted(x)], counted(y)), counted(y))
  for await (const _ of dataset.batches({ batchSize: 1 })) break
  await expect(read(dataset, 1, 4)).rejects.toThrow('damaged')
  expect(open).toBe(0)
})
