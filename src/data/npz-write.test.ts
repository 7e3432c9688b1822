import { unzipSync } from 'fflate'
import { expect, test } from 'vitest'
import { Tensor } from '../ir/tensor.ts'
import { encodeNpy } from './npy-write.ts'
import { encodeNpz } from './npz-write.ts'

const x = Tensor.float32([2, 2], [1, 2, 3, 4])

test('members are .npy files in the order given', () => {
  for (const deflate of [0, 9] as const) {
    const members = unzipSync(
      encodeNpz(
        new Map([
          ['x', x],
          ['labels', x],
        ]),
        { deflate },
      ),
    )
    expect(Object.keys(members)).toEqual(['x.npy', 'labels.npy'])
    expect(Buffer.from(members['x.npy']!)).toEqual(Buffer.concat(encodeNpy(x)))
  }
})

test('the same tensors give the same bytes', () => {
  expect(encodeNpz(new Map([['x', x]]))).toEqual(encodeNpz(new Map([['x', x]])))
})
