import { expect, test } from 'vitest'
import { encodeInMemory, encodeModel } from '../formats/onnx/index.ts'
import { uniform } from '../ir/random.ts'
import { Tensor } from '../ir/tensor.ts'
import { parseModel } from '../ir/text.ts'
import { createSession } from './session.ts'

const counter = encodeModel(
  parseModel(`
    <ir_version: 10, opset_import: ["": 21]>
    g (float32[3] x, float32[] one) => (float32[3] y, float32[3] z, float32[] sum)
    { y = Add(x, one)  z = Mul(y, y)  sum = ReduceSum<keepdims = 0>(y) }`),
)

test.each([false, true])(
  'results go into memory that the caller holds, back and forth (only ever: %s)',
  async (writesInPlace) => {
    const session = await createSession(counter, { writesInPlace })
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
  },
)

test('a session that only writes into memory of the caller takes none for results', async () => {
  const count = 2 ** 20
  const model = parseModel(
    `<ir_version: 8, opset_import: ["": 17]> g (float32[${count}] x) => (float32[${count}] y) { y = Add(x, x) }`,
  )
  const session = await createSession(encodeModel(model), { writesInPlace: true })
  const [x, y] = [1, 0].map((value) => Tensor.float32([count], new Float32Array(count).fill(value)))
  const before = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 5; i++) await session.run(new Map([['x', x!]]), new Map([['y', y!]]))
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(count)
  expect(y!.toNumbers().at(-1)).toBe(2)
  await session.release()
})

test.each([false, true])(
  'results that do not fit the memory are refused (only ever: %s)',
  async (writesInPlace) => {
    const session = await createSession(counter, { name: 'the counter', writesInPlace })
    const feeds = new Map([
      ['x', Tensor.float32([3], [1, 2, 3])],
      ['one', Tensor.float32([], [1])],
    ])
    await expect(session.run(feeds, new Map([['y', Tensor.float32([2], [0, 0])]]))).rejects.toThrow(
      /ONNX Runtime failed while running the counter/,
    )
    await session.release()
  },
)

test('a model whose large tensors lie beside it computes what its file does', async () => {
  const model = parseModel(`
    <ir_version: 8, opset_import: ["": 17]>
    g (float32[N, 128] x) => (float32[N, 256] y)
    <float32[128, 256] w = uniform(-1, 1, 1), float32[256, 256] v = uniform(-1, 1, 2), float16[256, 256] h = fill(0.25), float32[256] b = uniform(-1, 1, 3)>
    { a = MatMul(x, w) r = Relu(a) c = MatMul(r, v) k = Cast <to = 1> (h) d = MatMul(c, k) y = Add(d, b) }`)
  const { bytes, externalData } = encodeInMemory(model)
  expect(externalData.map(({ data }) => data.length)).toEqual([4 * 128 * 256, 4 * 256 * 256, 2 * 256 * 256])
  expect(bytes.length).toBeLessThan(4096)
  // No copies: what is given away are the bytes of the model's own tensors.
  expect(externalData[0]!.data).toBe(model.graph.initializers.get('w')!.bytes)
  const feeds = new Map([['x', Tensor.float32([3, 128], uniform(384, -1, 1, 9))]])
  const outputs: Float64Array[] = []
  for (const given of [model, encodeModel(model)]) {
    const session = await createSession(given, { threads: 1 })
    outputs.push((await session.run(feeds)).get('y')!.toNumbers())
    await session.release()
  }
  expect(outputs[0]).toEqual(outputs[1])
  expect(outputs[0]!.some((y) => Math.abs(y) > 1)).toBe(true)
})

test('ONNX Runtime is told to send nothing home', () => {
  expect(process.env.ORT_DISABLE_TELEMETRY).toBe('1')
})
