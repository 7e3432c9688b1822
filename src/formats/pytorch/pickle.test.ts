import { expect, test } from 'vitest'
import { PickledTensor, readPickle } from './pickle.ts'

const bytes = (...parts: (string | number[])[]) =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === 'string' ? [...Buffer.from(part)] : part)))

const read = (pickle: Uint8Array) =>
  readPickle(pickle, {
    name: 'a.pt',
    storage: (key) => ({ key, sizeBytes: 16, read: () => new Uint8Array(16) }),
  })

const proto = [0x80, 2]
const text = (value: string) => bytes([0x58, value.length, 0, 0, 0], value)

test('plain containers and values are read', () => {
  // {'a': [1, -2, 2.5, None, True, 300], 'b': (7, 'x')}
  const half = [0x47, 0x40, 0x04, 0, 0, 0, 0, 0, 0]
  const list = bytes([
    0x5d,
    0x28,
    0x4b,
    1,
    0x4a,
    0xfe,
    0xff,
    0xff,
    0xff,
    ...half,
    0x4e,
    0x88,
    0x8a,
    2,
    0x2c,
    1,
    0x65,
  ])
  const pair = bytes([0x4b, 7], [...text('x')], [0x86])
  const value = read(
    bytes(proto, [0x7d, 0x28], [...text('a')], [...list], [...text('b')], [...pair], [0x75, 0x2e]),
  )
  expect(value).toEqual(
    new Map<string, unknown>([
      ['a', [1, -2, 2.5, null, true, 300]],
      ['b', [7, 'x']],
    ]),
  )
})

test('a tensor is a view of the storage that the pickle names', () => {
  const ints = (...values: number[]) => [0x28, ...values.flatMap((value) => [0x4b, value]), 0x74]
  const id = bytes(
    [0x28],
    [...text('storage')],
    'ctorch\nFloatStorage\n',
    [...text('0')],
    [...text('cpu')],
    [0x4b, 4, 0x74, 0x51],
  )
  const tensor = read(
    bytes(
      proto,
      'ctorch._utils\n_rebuild_tensor_v2\n',
      [0x28],
      [...id],
      [0x4b, 1],
      ints(3),
      ints(1),
      [0x89],
      'ccollections\nOrderedDict\n',
      [0x29, 0x52, 0x74, 0x52, 0x2e],
    ),
  ) as PickledTensor
  expect(tensor).toBeInstanceOf(PickledTensor)
  expect(tensor.view).toMatchObject({
    dataType: 'float32',
    sizes: [3],
    strides: [1],
    offset: 1,
    storage: { key: '0' },
  })
})

test.each([
  [
    'a function of the system',
    bytes(proto, 'cos\nsystem\n', [...text('rm -rf /')], [0x85, 0x52, 0x2e]),
    "'os.system'",
  ],
  [
    'the same by name',
    bytes([0x80, 4], [...text('builtins')], [...text('eval')], [0x93, 0x2e]),
    "'builtins.eval'",
  ],
  ['a module of the user', bytes(proto, 'c__main__\nNet\n', [0x29, 0x81, 0x2e]), "'__main__.Net'"],
  ['an object built by an opcode', bytes(proto, [0x29, 0x81, 0x2e]), 'opcode 0x81'],
  ['an extension', bytes(proto, [0x82, 1, 0x2e]), 'opcode 0x82'],
  [
    'a call of a storage',
    bytes(proto, 'ctorch\nFloatStorage\n', [0x29, 0x52, 0x2e]),
    "a call of 'torch.FloatStorage'",
  ],
  ['attributes of a list', bytes(proto, [0x5d, 0x7d, 0x62, 0x2e]), 'attributes of an object'],
  ['a string longer than the file', bytes(proto, [0x58, 255, 255, 255, 127]), 'cut short'],
  ['no end', bytes(proto, [0x7d]), 'cut short'],
  ['an empty stack', bytes(proto, [0x2e]), 'its stack is empty'],
  ['a memo that was never written', bytes(proto, [0x68, 3, 0x2e]), 'recalls'],
  ['items without a beginning', bytes(proto, [0x4e, 0x74, 0x2e]), 'no beginning'],
  ['a function as its value', bytes(proto, 'ccollections\nOrderedDict\n.'), 'stands for no value'],
])('%s is refused', (_, pickle, reason) => {
  expect(() => read(pickle)).toThrow(reason)
})
