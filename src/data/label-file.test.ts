import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'fflate'
import { afterAll, expect, test } from 'vitest'
import { Tensor } from '../ir/tensor.ts'
import { nodeFiles } from '../platform/node.ts'
import { readLabels } from './label-file.ts'
import { toLabels } from './labels.ts'
import { encodeNpy } from './npy-write.ts'
import { encodeNpz } from './npz-write.ts'

const folder = mkdtempSync(join(tmpdir(), 'varshift-labels-'))
afterAll(() => rmSync(folder, { recursive: true }))
const put = (name: string, bytes: Uint8Array | string): string => {
  writeFileSync(join(folder, name), bytes)
  return join(folder, name)
}

const x = Tensor.float32([3, 2], [1, 2, 3, 4, 5, 6])
const labels = Tensor.int64([3], [7, 8, 9])

test.each([
  ['text', '7\n8\n 9 \r\n'],
  ['npy', Buffer.concat(encodeNpy(labels))],
  ['npz of one array', encodeNpz(new Map([['anything', labels]]))],
  [
    'npz of labels and more',
    encodeNpz(
      new Map([
        ['x', x],
        ['y', labels],
      ]),
    ),
  ],
  ['packed idx', gzipSync(Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9))],
])('labels as %s', async (name, bytes) => {
  const column = await readLabels(put(name, bytes), nodeFiles)
  expect(column.size).toBe(3)
  const rows = await column.rows(1)
  expect(toLabels(await rows.take(2), column.where, 1)).toEqual(Int32Array.of(8, 9))
  await rows.close()
})

test.each([
  ['words', '1\ncat\n3', /words, line 2: 'cat' is not a label/],
  ['fractions', '1\n2.5\n3', /line 2/],
  ['numbers too large', '1\n2\n99999999999', /line 3/],
  ['nothing', '', /line 1/],
  [
    'a table',
    Buffer.concat(encodeNpy(Tensor.float32([1, 1, 2], [0, 1]))),
    /1 x 1 x 2 float32, expected labels/,
  ],
  [
    'several arrays',
    encodeNpz(
      new Map([
        ['a', x],
        ['b', x],
      ]),
    ),
    /holds a, b, expected one array/,
  ],
])('%s: refused', async (name, bytes, message) => {
  await expect(readLabels(put(name, bytes), nodeFiles)).rejects.toThrow(message)
  await expect(readLabels(put(name, bytes), nodeFiles)).rejects.toHaveProperty('name', 'UserError')
})
