import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { applyEdits, type Edit } from '../../ir/edit.ts'
import { UserError } from '../../ir/errors.ts'
import { inlineFunctions } from '../../ir/inline-functions.ts'
import { keyOf } from '../../ir/model.ts'
import { dataTypes, Tensor } from '../../ir/tensor.ts'
import { parseModel, printModel } from '../../ir/text.ts'
import { readModel } from './read.ts'
import { concat, MessageWriter } from './wire.ts'
import { applyToFile, encodeModel } from './write.ts'

const net = parseModel(`
<ir_version: 8, opset_import: ["": 17, "com.example": 3]>
net (float32[N, 2, 4, 4] x, bool flag) => (float32[N, 2, 4, 4] y)
<float32[2] one = fill(1), float32[2] zero = fill(0), float32[2] mean = {0.5, -1}, float32[2] variance = {2, 3},
 float32[2, 2, 1, 1] w = uniform(-1, 1, 3), int64[3] index = {1, -2, 3}, string[2] words = {"a", "ü"}>
{
  [conv] c = Conv <kernel_shape = [1, 1]> (x, w)
  [bn1] a = BatchNormalization <epsilon = 0.0009765625> (c, one, zero, mean, variance)
  [bn2] b = BatchNormalization (a, one, zero, mean, variance)
  [bn3] d = BatchNormalization (b, one, zero, zero, one)
  e = com.example.Thing <alpha = 0.5, name = "t", sizes = [1, 2], scales = [0.5, 1.5]> (d, words)
  y = If <then_branch = t () => (p) { p = Relu(e) }, else_branch = f () => (q) { q = Identity(e) }> (flag)
}
`)
const bytes = encodeModel(net)
const { model, locations } = readModel(bytes)

const setStatistics = (node: string, mean: number[], variance: number[]): Edit => ({
  kind: 'set-running-statistics',
  node,
  mean: Float64Array.from(mean),
  variance: Float64Array.from(variance),
})

test('what is encoded is read back', () => {
  expect(printModel({ ...model, format: 'text' })).toBe(printModel(net))
  expect(model.graph.nodes.map((node) => node.origin?.label)).toEqual(['conv', 'bn1', 'bn2', 'bn3', '', ''])
})

test('tensors of every element type survive', () => {
  for (const [dataType, { bits }] of Object.entries(dataTypes)) {
    if (dataType === 'string') continue
    const data = Uint8Array.from({ length: Math.ceil((bits * 3) / 8) }, (_, i) => i + 1)
    const tensor = new Tensor(dataType as keyof typeof dataTypes, [3], data)
    const graph = { ...net.graph, initializers: new Map([...net.graph.initializers, ['extra', tensor]]) }
    const read = readModel(encodeModel({ ...net, graph })).model.graph.initializers.get('extra')
    expect(read?.dataType).toBe(dataType)
    expect(read?.bytes).toEqual(data)
  }
})

test('the largest integer, which stands for "to the end", survives', () => {
  const text =
    'g (float32[4] x) => (float32[3] y) { y = Slice <starts = [1], ends = [9223372036854775807]> (x) }'
  const [slice] = readModel(encodeModel(parseModel(text))).model.graph.nodes
  expect(slice?.attributes.get('ends')?.value).toEqual([2 ** 63])
  // Byte for byte: 2^63 - 1 takes nine bytes of seven ones.
  expect(Buffer.from(encodeModel(parseModel(text))).toString('hex')).toContain('ffffffffffffffff7f')
})

test('fields of a node are read in any order', () => {
  const tensor = (out: MessageWriter) =>
    out.int(1, 2).int(2, 1).bytes(9, new Uint8Array(8)).string(8, 'inner')
  const graph = new MessageWriter()
    .message(1, (node) => {
      node.message(5, (attribute) => attribute.message(5, tensor).int(20, 4).string(1, 'value'))
      node.string(4, 'Constant').string(2, 'm')
    })
    .message(12, (output) => output.string(1, 'm'))
  const read = readModel(concat(new MessageWriter().int(1, 8).bytes(7, concat(graph.finish())).finish()))
  expect([...read.locations.tensors.keys()]).toEqual(['m'])
  expect(read.model.graph.nodes[0]?.attributes.get('value')?.type).toBe('tensor')
})

test('overloads of a local function are told apart', () => {
  const { model: flat } = parsed(
    (out) =>
      out.message(7, (graph) => {
        for (const overload of ['', 'other'])
          graph.message(1, (node) => {
            node.string(1, 'x').string(2, `y${overload}`).string(4, 'f').string(7, 'local')
            if (overload) node.string(8, overload)
          })
        graph.message(11, (input) => input.string(1, 'x')).message(12, (output) => output.string(1, 'yother'))
      }),
    (out) => {
      for (const [overload, opType] of [
        ['', 'Relu'],
        ['other', 'Neg'],
      ] as const)
        out.message(25, (f) => {
          f.string(1, 'f').string(10, 'local').string(4, 'a').string(5, 'b')
          f.message(7, (node) => node.string(1, 'a').string(2, 'b').string(4, opType))
          if (overload) f.string(13, overload)
        })
    },
  )
  expect(inlineFunctions(flat).graph.nodes.map(({ opType }) => opType)).toEqual(['Relu', 'Neg'])
})

test('a second graph is refused', () => {
  expect(() =>
    parsed(
      (out) => out.message(7, (graph) => graph.string(2, 'a')),
      (out) => out.message(7, (graph) => graph.string(2, 'b')),
    ),
  ).toThrow(/holds a second graph at byte 7, expected one/)
})

function parsed(...parts: ((out: MessageWriter) => void)[]) {
  const out = new MessageWriter().int(1, 8)
  for (const part of parts) part(out)
  return readModel(concat(out.finish()))
}

describe('edits', () => {
  const edits = {
    none: [],
    'a statistic of its own': [setStatistics('d', [7, 8], [9, 10])],
    'a tensor that two norms share': [setStatistics('a', [1, 2], [3, 4])],
    'two norms that share tensors, set apart': [
      setStatistics('a', [1, 2], [3, 4]),
      setStatistics('b', [5, 6], [7, 8]),
    ],
    'two norms that share tensors, set alike': [
      setStatistics('a', [1, 2], [3, 4]),
      setStatistics('b', [1, 2], [3, 4]),
    ],
  }
  for (const [name, list] of Object.entries(edits))
    test(`reading the edited file equals editing what was read: ${name}`, () => {
      const written = concat(applyToFile(bytes, model, locations, list))
      const parts = ({ graph }: typeof model) => ({
        inputs: graph.nodes.map(({ outputs, inputs }) => [outputs, inputs]),
        tensors: Object.fromEntries(
          [...graph.initializers].map(([key, tensor]) => [key, tensor.strings ?? [...tensor.toNumbers()]]),
        ),
      })
      expect(parts(readModel(written).model)).toEqual(parts(applyEdits(model, list)))
    })

  test('no edits give the very bytes of the source', () => {
    expect(concat(applyToFile(bytes, model, locations, []))).toBe(bytes)
  })

  test('only the bytes of the statistics change', () => {
    const written = concat(applyToFile(bytes, model, locations, [setStatistics('d', [7, 8], [9, 10])]))
    expect(keyOf(model.graph.nodes[3]!)).toBe('d')
    // bn3 shares `zero` and `one` with others, so it gets two initializers of its own and two longer input names.
    const sizes = readModel(written).model.graph.initializers.size - model.graph.initializers.size
    expect(sizes).toBe(2)
    expect(written.length).toBeGreaterThan(bytes.length)
  })

  test('a node that is not there is refused', () => {
    expect(() => applyToFile(bytes, model, locations, [setStatistics('nope', [1, 2], [1, 2])])).toThrow(
      /no node with that output/,
    )
  })
})

describe('bad input', () => {
  test('any truncation is refused with one line', () => {
    for (let length = 0; length < bytes.length - 1; length++) {
      try {
        readModel(bytes.subarray(0, length))
      } catch (error) {
        expect(error).toBeInstanceOf(UserError)
        expect((error as Error).message).not.toContain('\n')
      }
    }
    expect(() => readModel(bytes.subarray(0, bytes.length - 40))).toThrow(UserError)
  })

  test('mutated and arbitrary bytes are read or refused, nothing else', () => {
    const tryRead = (data: Uint8Array) => {
      try {
        const read = readModel(data).model
        for (const tensor of read.graph.initializers.values()) void tensor.bytes
      } catch (error) {
        if (!(error instanceof UserError)) throw error
      }
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), tryRead), { numRuns: 2000 })
    const mutation = fc.record({ at: fc.nat(bytes.length - 1), value: fc.integer({ min: 0, max: 255 }) })
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 8 }), (changes) => {
        const copy = bytes.slice()
        for (const { at, value } of changes) copy[at] = value
        tryRead(copy)
      }),
      { numRuns: 5000 },
    )
  })

  const refuse = (text: string) => () => readModel(encodeModel(parseModel(text)))

  test('cyclic graphs', () => {
    expect(
      refuse('g (float32[1] x) => (float32[1] y)\n{ a = Add(x, b)\n b = Relu(a)\n y = Relu(b) }'),
    ).toThrow("cyclic or out of order: node 'a' (Add) reads 'b'")
  })
  test('values from nowhere and outputs from nowhere', () => {
    expect(refuse('g (float32[1] x) => (float32[1] y) { y = Add(x, nowhere) }')).toThrow(
      "reads 'nowhere', which nothing",
    )
    expect(refuse('g (float32[1] x) => (float32[1] y) { z = Relu(x) }')).toThrow(
      "output 'y' is computed by no node",
    )
  })
  test('a tensor whose data do not fill its shape', () => {
    const graph = {
      ...net.graph,
      initializers: new Map([
        ...net.graph.initializers,
        ['one', new Tensor('float32', [1e9], new Uint8Array(8))],
      ]),
    }
    expect(() => readModel(encodeModel({ ...net, graph }))).toThrow(
      /'one'.*needs 4000000000 bytes, the file holds 8/,
    )
  })
  test('subgraphs nested without end', () => {
    let record: number[] = []
    const wrap = (tag: number, inner: number[]) => {
      const length: number[] = []
      for (let n = inner.length; ; n >>>= 7) {
        length.push(n < 128 ? n : (n & 127) | 128)
        if (n < 128) break
      }
      return [tag, ...length, ...inner]
    }
    // graph { node { op_type 'If', attribute { type GRAPH, g: graph } } }
    for (let depth = 0; depth < 200; depth++)
      record = wrap(0x0a, [
        ...wrap(0x22, [0x49, 0x66]),
        ...wrap(0x2a, [0xa0, 0x01, 5, ...wrap(0x32, record)]),
      ])
    expect(() => readModel(Uint8Array.from([8, 8, ...wrap(0x3a, record)]))).toThrow(/nests subgraphs/)
  })
})
