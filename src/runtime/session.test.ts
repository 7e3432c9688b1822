import { expect, test } from 'vitest'
import { encodeModel } from '../formats/onnx/index.ts'
import { Tensor } from '../ir/tensor.ts'
import { parseModel } from '../ir/text.ts'
import { createSession } from './session.ts'

const counter = encodeModel(
  parseModel(`
    <ir_version: 10, opset_import: ["": 21]>
    g (float32[3] x, float32[] one) => (float32[3] y, float32[3] z, float32[] sum)
    { y = Add(x, one)  z = Mul(y, y)  sum = ReduceSum<keepdims = 0>(y) }`),
)

test('results go into memory that the caller holds, back and forth', async () => {
  const session = await createSession(counter)
  try {
    const buffers = [Tensor.float32([3], [1, 2, 3]), Tensor.float32([3], [0, 0, 0])] as const
    const sum = Tensor.float32([], [0])
    const one = Tensor.float32([], [1])
    for (let step = 0; step < 101; step++) {
      const [from, to] = step % 2 === 0 ? buffers : ([buffers[1], buffers[0]] as const)
      const fetches = new Map([
        ['y', to],
        ['sum', sum],
      ])
      expect(
        await session.run(
          new Map([
            ['x', from],
            ['one', one],
          ]),
          fetches,
        ),
      ).toBe(fetches)
    }
    expect([...buffers[1].toNumbers()]).toEqual([102, 103, 104])
    expect([...buffers[0].toNumbers()]).toEqual([101, 102, 103])
    expect([...sum.toNumbers()]).toEqual([309])
  } finally {
    await session.release()
  }
})

test('results that do not fit the memory are refused', async () => {
  const session = await createSession(counter, { name: 'the counter' })
  const feeds = new Map([
    ['x', Tensor.float32([3], [1, 2, 3])],
    ['one', Tensor.float32([], [1])],
  ])
  await expect(session.run(feeds, new Map([['y', Tensor.float32([2], [0, 0])]]))).rejects.toThrow(
    /ONNX Runtime failed while running the counter/,
  )
  await session.release()
})
