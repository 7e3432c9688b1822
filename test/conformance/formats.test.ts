import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { afterAll, describe, expect, test } from 'vitest'
import { factsOf } from '../../src/analysis/index.ts'
import { save } from '../../src/commands/save.ts'
import type { ModelFile } from '../../src/formats/define-format.ts'
import { concat, encodeModel } from '../../src/formats/onnx/index.ts'
import * as schema from '../../src/formats/onnx/schema.ts'
import { type Field, fieldsOf, MessageWriter, payload, text } from '../../src/formats/onnx/wire.ts'
import { openModel, readModelBytes } from '../../src/formats/open-model.ts'
import { applyEdits, type Edit, type SetRunningStatistics } from '../../src/ir/edit.ts'
import { UserError } from '../../src/ir/errors.ts'
import { type Attribute, type Graph, type Model, opsetOf } from '../../src/ir/model.ts'
import { uniform } from '../../src/ir/random.ts'
import { Tensor } from '../../src/ir/tensor.ts'
import { parseModel } from '../../src/ir/text.ts'
import { nodeFiles } from '../../src/platform/node.ts'
import { type Mode, toMode } from '../../src/rewrite/modes/mode.ts'
import { evalMode } from '../../src/rewrite/repairs/eval-mode.ts'
import { gaussian } from '../../src/rewrite/repairs/gaussian.ts'
import { momentPreserving } from '../../src/rewrite/repairs/moment-preserving.ts'
import { moveDropoutAfterLastNorm } from '../../src/rewrite/repairs/move-dropout-after-last-norm.ts'
import { uout } from '../../src/rewrite/repairs/uout.ts'
import { createSession } from '../../src/runtime/session.ts'

const folder = mkdtempSync(join(tmpdir(), 'varshift-formats-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** What a model means, as plain values: order of names, places in the file and labels left out. */
function meaningOf({ irVersion, opsets, graph, functions }: Model): unknown {
  const tensor = ({ dataType, dims, bytes, strings }: Tensor) => ({
    dataType,
    dims: [...dims],
    contents: strings ?? Buffer.from(bytes).toString('base64'),
  })
  const attribute = (held: Attribute): unknown => {
    if (held.type === 'tensor') return tensor(held.value)
    if (held.type === 'graph') return ofGraph(held.value)
    if (held.type === 'graphs') return held.value.map(ofGraph)
    return held
  }
  const sorted = <V>(entries: Iterable<readonly [string, V]>) =>
    Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)))
  const ofGraph = ({ name, nodes, inputs, outputs, initializers, types }: Graph): unknown => ({
    name,
    nodes: nodes.map((node) => ({
      ...node,
      inputs: [...node.inputs],
      outputs: [...node.outputs],
      origin: undefined,
      attributes: sorted([...node.attributes].map(([key, held]) => [key, attribute(held)] as const)),
    })),
    inputs: sorted(inputs.map((input) => [input.name, { ...input, raw: undefined }])),
    outputs,
    initializers: sorted([...initializers].map(([key, value]) => [key, tensor(value)] as const)),
    types: sorted(types),
  })
  return { irVersion, opsets: sorted(opsets), graph: ofGraph(graph), functions: functions.length }
}

/** Messages of ONNX by the field that holds them, as far as they hold others. */
const messages = {
  model: { 7: 'graph', 8: 'leaf', 14: 'leaf', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph', 3: 'leaf', 4: 'leaf' },
  graph: { 1: 'node', 5: 'tensor', 11: 'value', 12: 'value', 13: 'value', 14: 'annotation', 16: 'leaf' },
  annotation: { 2: 'leaf' },
  node: { 5: 'attribute', 9: 'leaf' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph' },
  tensor: { 13: 'leaf', 16: 'leaf' },
  value: { 2: 'type', 4: 'leaf' },
  type: { 1: 'tensorType' },
  tensorType: { 2: 'shape' },
  shape: { 1: 'leaf' },
  function: { 7: 'node', 9: 'leaf', 11: 'attribute', 14: 'leaf' },
  leaf: {},
} as const
type Kind = keyof typeof messages
const kindOf = (kind: Kind, field: number): Kind | undefined =>
  (messages[kind] as Record<number, Kind>)[field]

/** Records of a tensor that hold its contents. */
const dataFields: readonly number[] = [4, 5, 7, 9, 10, 11, 13, 14]

/**
 * What differs between two files, in terms of what edits may do: a tensor has other contents, an input of a node is
 * another, a node lost an output or has another training_mode, something was added to the graph. Throws if any other byte differs, lengths of enclosing messages apart.
 */
function differencesOf(source: Uint8Array, written: Uint8Array): string[] {
  const found: string[] = []
  const nameIn = (bytes: Uint8Array, field: Field, number: number) => {
    for (const part of fieldsOf(bytes, field.valueStart, field.end))
      if (part.number === number) return text(bytes, part)
    return ''
  }
  const record = (bytes: Uint8Array, field: Field) => Buffer.from(bytes.subarray(field.start, field.end))
  const compare = (a: readonly Field[], b: readonly Field[], kind: Kind): void => {
    const old = [...a]
    const skipContents = () => {
      while (kind === 'tensor' && old[0] && dataFields.includes(old[0].number)) old.shift()
    }
    for (const field of b) {
      const [next] = old
      if (next && record(source, next).equals(record(written, field))) {
        old.shift()
        continue
      }
      if (kind === 'tensor' && dataFields.includes(field.number)) continue
      skipContents()
      const [now] = old
      const isSwitch = (part: Field) =>
        part.number === schema.node.attribute &&
        nameIn(source, part, schema.attribute.name) === 'training_mode'
      const isNew = (name: number) =>
        now?.number !== field.number || nameIn(source, now, name) !== nameIn(written, field, name)
      if (now && record(source, now).equals(record(written, field))) old.shift()
      else if (kind === 'graph' && field.number === schema.graph.initializer && isNew(schema.tensor.name))
        found.push(`added tensor ${nameIn(written, field, schema.tensor.name)}`)
      else if (kind === 'graph' && field.number === schema.graph.input && isNew(schema.valueInfo.name))
        found.push(`added input ${nameIn(written, field, schema.valueInfo.name)}`)
      else if (kind === 'node' && field.number === schema.node.input && now?.number === field.number) {
        found.push(`input ${text(source, now)} is ${text(written, field)}`)
        old.shift()
      } else if (kind === 'node' && now?.number === schema.node.output) {
        while (old[0]?.number === schema.node.output)
          found.push(`output ${text(source, old.shift()!)} is gone`)
        compare([...old], b.slice(b.indexOf(field)), kind)
        return
      } else if (kind === 'node' && now?.number === field.number && isSwitch(now)) {
        expect(nameIn(written, field, schema.attribute.name)).toBe('training_mode')
        found.push('attribute training_mode')
        old.shift()
      } else {
        const inner = kindOf(kind, field.number)
        if (!now || !inner || now.number !== field.number)
          throw new Error(`field ${field.number} of a ${kind} differs`)
        if (inner === 'tensor') found.push(`tensor ${nameIn(source, now, schema.tensor.name)}`)
        compare(
          [...fieldsOf(source, now.valueStart, now.end)],
          [...fieldsOf(written, field.valueStart, field.end)],
          inner,
        )
        old.shift()
      }
    }
    skipContents()
    if (old.length > 0) throw new Error(`field ${old[0]!.number} of a ${kind} is gone`)
  }
  compare([...fieldsOf(source)], [...fieldsOf(written)], 'model')
  return found.sort()
}

/** Other statistics for one norm of a model. */
function editFor(file: ModelFile, key: string, seed = 1): SetRunningStatistics {
  const channels = factsOf(file.model).norms.find((norm) => norm.key === key)!.mean!.length
  return {
    kind: 'set-running-statistics',
    node: key,
    mean: uniform(channels, -3, 3, seed),
    variance: uniform(channels, 0.1, 4, seed + 1),
  }
}

/** Whether an edit sets a tensor that the edit of a norm's statistics sets too. */
function isSetTwice({ graph }: Model, edit: Edit, edits: readonly Edit[]): boolean {
  if (edit.kind !== 'set-tensor') return false
  return graph.nodes.some(
    ({ outputs, inputs }) =>
      edits.some((other) => other.kind === 'set-running-statistics' && other.node === outputs[0]) &&
      inputs.slice(3, 5).includes(edit.value),
  )
}

const readAgain = (bytes: Uint8Array, file: ModelFile) => readModelBytes(bytes, file.path, nodeFiles)

/** Holds the laws of formats for one file and one list of edits, and returns the file written. */
async function expectRoundTrip(file: ModelFile, edits: readonly Edit[]): Promise<Uint8Array> {
  const written = concat(file.write(edits))
  const again = await readAgain(written, file)
  expect(meaningOf(again.model)).toEqual(meaningOf(applyEdits(file.model, edits)))
  for (const edit of edits) {
    if (edit.kind !== 'set-running-statistics') continue
    const norm = factsOf(again.model).norms.find(({ key }) => key === edit.node)!
    const wanted = factsOf(applyEdits(file.model, edits)).norms.find(({ key }) => key === edit.node)!
    expect(norm.mean).toEqual(wanted.mean)
    expect(norm.variance).toEqual(wanted.variance)
  }
  return written
}

/** Repairs that change noises leave a file that runs, and eval mode as it was; with other edits they go together. */
async function expectNoiseRepairs(file: ModelFile, others: readonly Edit[]): Promise<void> {
  const { model } = file
  for (const repair of [uout, gaussian, momentPreserving, moveDropoutAfterLastNorm]) {
    let edits: Edit[]
    try {
      edits = repair.plan({ model, facts: factsOf(model), statistics: new Map(), choices: {} })
    } catch (error) {
      expect(error).toBeInstanceOf(UserError)
      continue
    }
    if (edits.length === 0) continue
    await expectRoundTrip(file, [...others, ...edits])
    const written = await expectRoundTrip(file, edits)
    await (await createSession(written)).release()
    const { noises, paths } = factsOf((await readAgain(written, file)).model)
    if (repair === moveDropoutAfterLastNorm) expect(paths).toEqual([])
    else for (const { noise } of paths) expect(noise.kind).toBe(repair.id)
    expect(noises.length).toBeGreaterThan(0)
    repaired++
  }
}
let repaired = 0

/** The file set to eval mode runs as the model in eval mode does, and nothing else of it changes. */
async function expectEvalMode(file: ModelFile): Promise<void> {
  const { model } = file
  const facts = factsOf(model)
  const edits = evalMode.plan({ model, facts, statistics: new Map(), choices: {} })
  if (edits.length === 0) return
  const source = concat(file.write([]))
  const written = await expectRoundTrip(file, edits)
  const again = await readAgain(written, file)
  const { norms, noises } = factsOf(again.model)
  expect(norms.filter(({ batchStatistics }) => batchStatistics)).toEqual([])
  expect(noises.filter(({ active }) => active === 'always')).toEqual([])
  expect(
    evalMode.plan({ ...again, facts: factsOf(again.model), statistics: new Map(), choices: {} }),
  ).toEqual([])
  if (edits.every(({ kind }) => kind === 'set-eval-mode')) {
    expect(noises.map(({ label }) => label)).toEqual(facts.noises.map(({ label }) => label))
    for (const line of differencesOf(source, written))
      expect(line).toMatch(
        /^(attribute training_mode|output .* is gone|input .* is training_mode__off|added tensor training_mode__off)$/,
      )
  }
  const runs = (bytes: Uint8Array) =>
    createSession(bytes).then(
      (session) => session.release().then(() => true),
      () => false,
    )
  if (await runs(source)) expect(await runs(written)).toBe(true)
  switched++
}
let switched = 0

describe('recorded files', () => {
  const root = fileURLToPath(new URL('../oracle/', import.meta.url))
  const paths = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.onnx'))
    .map((name) => join(root, name))
    .sort()

  test('there are some', () => expect(paths.length).toBeGreaterThan(60))

  afterAll(() => {
    expect(repaired).toBeGreaterThan(20)
    expect(switched).toBeGreaterThan(20)
  })

  for (const path of paths)
    test(relative(root, path), async () => {
      const file = await openModel(path, nodeFiles)
      const source = readFileSync(path)
      expect(source.equals(concat(file.write([])))).toBe(true)
      const norms = factsOf(file.model).norms.filter(({ mean }) => mean)
      const lists = norms.length > 1 ? [norms, norms.slice(-1)] : [norms]
      for (const list of lists) {
        const edits = list.map(({ key }, i) => editFor(file, key, i))
        const written = await expectRoundTrip(file, edits)
        const differences = differencesOf(source, written)
        expect(differences.filter((line) => !line.startsWith('input')).length).toBe(2 * list.length)
      }
      // Every weight and every norm's statistics at once, as training writes them.
      const weights = [...file.model.graph.initializers].filter(([, { dataType }]) => dataType === 'float32')
      const all = [
        ...weights.map(([value, { dims, size }], i): Edit => {
          const tensor = Tensor.float32(dims, uniform(size, -1, 1, i + 1))
          return { kind: 'set-tensor', value, tensor }
        }),
        ...norms.map(({ key }, i) => editFor(file, key, i)),
      ]
      const own = all.filter((edit) => !isSetTwice(file.model, edit, all))
      expect(own.length).toBeGreaterThan(0)
      await expectRoundTrip(file, own)
      await expectNoiseRepairs(file, own)
      await expectEvalMode(file)
    })
})

const message = (write: (out: MessageWriter) => void): Uint8Array => {
  const out = new MessageWriter()
  write(out)
  return concat(out.finish())
}

/** The file with more records at the end of its graph, and behind the graph. */
function withRecords(
  file: Uint8Array,
  inGraph: Uint8Array,
  inModel: Uint8Array = new Uint8Array(0),
): Uint8Array {
  for (const field of fieldsOf(file))
    if (field.number === schema.model.graph) {
      const graph = concat([payload(file, field), inGraph])
      return concat([
        file.subarray(0, field.start),
        message((out) => out.bytes(schema.model.graph, graph)),
        file.subarray(field.end),
        inModel,
      ])
    }
  throw new Error('no graph')
}

const withoutTensors = (model: Model, names: readonly string[]): Model => ({
  ...model,
  graph: {
    ...model.graph,
    initializers: new Map([...model.graph.initializers].filter(([name]) => !names.includes(name))),
  },
})

const fileOf = (text: string) => encodeModel(parseModel(text))
const read = (bytes: Uint8Array, name = 'model.onnx') => readModelBytes(bytes, join(folder, name), nodeFiles)

/** A net whose norm reads `mean` and `variance`, with more tensors and nodes. */
const netText = ({
  type = 'float32',
  mean = 'mean',
  variance = 'variance',
  tensors = '',
  nodes = '',
} = {}) => `
  <ir_version: 10, opset_import: ["": 17]>
  net (${type}[N, 3, 2] x) => (${type}[N, 3, 2] y)
  <${type}[3] one = {1, 2, 0.5}, ${type}[3] zero = {0, 1, -1}, ${type}[3] mean = {0.5, -1, 3},
   ${type}[3] variance = {2, 3, 5} ${tensors}>
  {
    a = Relu(x)
    ${nodes}
    [bn] b = BatchNormalization <epsilon = 0.001> (a, one, zero, ${mean}, ${variance})
    y = Neg(b)
  }`

const values = { mean: [0.5, -1, 3], variance: [2, 3, 5] }
const code = { float32: 1, float16: 10, float64: 11, bfloat16: 16 }
const view = (array: { buffer: ArrayBufferLike }) => new Uint8Array(array.buffer)
const packedVarints = (numbers: ArrayLike<number>) => {
  const out = new BinaryWriter()
  for (const number of Array.from(numbers)) out.uint32(number)
  return out.finish()
}
const halves = (type: 'float16' | 'bfloat16', v: number[]) =>
  new Uint16Array(Tensor.of(type, [v.length], v).bytes.slice().buffer)

/** Ways in which exporters store the numbers of a tensor. */
const storages: Record<
  string,
  { type?: keyof typeof code; store: (out: MessageWriter, v: number[]) => void }
> = {
  raw_data: { store: (out, v) => out.bytes(9, view(Float32Array.from(v))) },
  'float_data, packed': { store: (out, v) => out.bytes(4, view(Float32Array.from(v))) },
  'float_data, one by one': { store: (out, v) => void v.map((value) => out.float(4, value)) },
  'float_data in two parts': {
    store: (out, v) => {
      out.bytes(4, view(Float32Array.from(v.slice(0, 2)))).string(12, 'documentation in between')
      out.bytes(4, view(Float32Array.from(v.slice(2))))
    },
  },
  'float16 in raw_data': { type: 'float16', store: (out, v) => out.bytes(9, view(halves('float16', v))) },
  'float16 in int32_data': {
    type: 'float16',
    store: (out, v) => out.bytes(5, packedVarints(halves('float16', v))),
  },
  'float16 in int32_data, one by one': {
    type: 'float16',
    store: (out, v) => void [...halves('float16', v)].map((half) => out.int(5, half)),
  },
  'double in double_data': { type: 'float64', store: (out, v) => out.bytes(10, view(Float64Array.from(v))) },
  'double in raw_data': { type: 'float64', store: (out, v) => out.bytes(9, view(Float64Array.from(v))) },
  'bfloat16 in raw_data': { type: 'bfloat16', store: (out, v) => out.bytes(9, view(halves('bfloat16', v))) },
  'bfloat16 in int32_data': {
    type: 'bfloat16',
    store: (out, v) => out.bytes(5, packedVarints(halves('bfloat16', v))),
  },
}

describe('statistics in every storage', () => {
  for (const [name, { type = 'float32', store }] of Object.entries(storages))
    test(name, async () => {
      const tensors = message((out) => {
        for (const [key, numbers] of Object.entries(values))
          out.message(schema.graph.initializer, (t) => {
            t.int(1, 3).int(2, code[type])
            store(t, numbers)
            t.string(8, key).string(12, 'what it is').string(901, 'from the future')
          })
      })
      const rest = encodeModel(withoutTensors(parseModel(netText({ type })), ['mean', 'variance']))
      const file = await read(withRecords(rest, tensors))
      const [norm] = factsOf(file.model).norms
      expect([...norm!.mean!]).toEqual(values.mean)
      expect([...norm!.variance!]).toEqual(values.variance)
      const written = await expectRoundTrip(file, [editFor(file, 'b')])
      expect(differencesOf(concat(file.write([])), written)).toEqual(['tensor mean', 'tensor variance'])
      // And once more, on what has been written.
      const again = await read(written)
      expect(differencesOf(written, await expectRoundTrip(again, [editFor(again, 'b', 9)]))).toEqual([
        'tensor mean',
        'tensor variance',
      ])
    })

  test('external data becomes embedded; what else the data file holds is copied along', async () => {
    const path = join(folder, 'external/model.onnx')
    mkdirSync(dirname(path), { recursive: true })
    const entries = { mean: ['data.bin', 4], variance: ['data.bin', 16], one: ['data.bin', 28] } as const
    writeFileSync(
      join(folder, 'external/data.bin'),
      view(Float32Array.from([7, ...values.mean, ...values.variance, 1, 2, 0.5])),
    )
    const tensors = message((out) => {
      for (const [name, [location, offset]] of Object.entries(entries))
        out.message(schema.graph.initializer, (t) => {
          t.int(1, 3).int(2, 1).string(8, name).int(14, 1)
          for (const [key, value] of Object.entries({
            location,
            offset: String(offset),
            length: '12',
            checksum: 'x',
          }))
            t.message(13, (e) => e.string(1, key).string(2, value))
        })
    })
    const rest = encodeModel(withoutTensors(parseModel(netText()), Object.keys(entries)))
    writeFileSync(path, withRecords(rest, tensors))
    const file = await openModel(path, nodeFiles)
    expect([...factsOf(file.model).norms[0]!.variance!]).toEqual(values.variance)
    expect(readFileSync(path).equals(concat(file.write([])))).toBe(true)
    const written = await expectRoundTrip(file, [editFor(file, 'b')])
    expect(differencesOf(concat(file.write([])), written)).toEqual(['tensor mean', 'tensor variance'])
    await save(file, [editFor(file, 'b')], join(folder, 'beside.onnx'), nodeFiles)
    expect(new Uint8Array(readFileSync(join(folder, 'beside.onnx')))).toEqual(written)
    expect(readFileSync(join(folder, 'data.bin'))).toEqual(readFileSync(join(folder, 'external/data.bin')))
    const moved = await openModel(join(folder, 'beside.onnx'), nodeFiles)
    expect([...factsOf(moved.model).norms[0]!.scale!]).toEqual([1, 2, 0.5])
    await (await createSession(encodeModel(moved.model))).release()
  })
})

interface Case {
  file: Uint8Array
  /** Keys of the norms that are set, each to other statistics; those with equal letters alike. */
  set?: Record<string, number>
  differences: string[]
}

const two = (first: string, second: string) => `
  <ir_version: 8, opset_import: ["": 17]>
  net (float32[N, 3] x) => (float32[N, 3] y)
  <float32[3] one = fill(1), float32[3] zero = fill(0), float32[3] mean = {0.5, -1, 3}>
  { b = BatchNormalization (x, one, zero, ${first})  y = BatchNormalization (b, one, zero, ${second}) }`

const cases: Record<string, Case> = {
  'Constant nodes': {
    file: fileOf(
      netText({
        mean: 'm',
        variance: 'v',
        nodes:
          'm = Constant <value = float32[3] {0.5, -1, 3}> ()  v = Constant <value = float32[3] {2, 3, 5}> ()',
      }),
    ),
    differences: ['tensor ', 'tensor '],
  },
  'Constant nodes with lists of floats': {
    file: fileOf(
      netText({
        mean: 'm',
        variance: 'v',
        nodes:
          'm = Constant <value_floats = [0.5, -1.0, 3.0]> ()  v = Constant <value_floats = [2.0, 3.0, 5.0]> ()',
      }),
    ),
    differences: [
      'added tensor m__b__mean',
      'added tensor v__b__variance',
      'input m is m__b__mean',
      'input v is v__b__variance',
    ],
  },
  ConstantOfShape: {
    file: fileOf(
      netText({
        mean: 'm',
        variance: 'v',
        tensors: ', int64[1] three = {3}',
        nodes: 'm = ConstantOfShape (three)  v = ConstantOfShape <value = float32[1] {1}> (three)',
      }),
    ),
    differences: [
      'added tensor m__b__mean',
      'added tensor v__b__variance',
      'input m is m__b__mean',
      'input v is v__b__variance',
    ],
  },
  Identity: {
    file: fileOf(
      netText({
        mean: 'm',
        variance: 'v',
        nodes: 'm = Identity(mean)  w = Identity(variance)  v = Identity(w)',
      }),
    ),
    differences: [
      'added tensor m__b__mean',
      'added tensor v__b__variance',
      'input m is m__b__mean',
      'input v is v__b__variance',
    ],
  },
  'tensors that two norms share, one set': {
    file: fileOf(two('mean, one', 'mean, one')),
    set: { b: 1 },
    differences: [
      'added tensor mean__b__mean',
      'added tensor one__b__variance',
      'input mean is mean__b__mean',
      'input one is one__b__variance',
    ],
  },
  'a tensor that two norms share, set alike': {
    file: fileOf(two('mean, one', 'mean, one').replace('(x, one', '(x, zero').replace('(b, one', '(b, zero')),
    set: { b: 1, y: 1 },
    differences: ['tensor mean', 'tensor one'],
  },
  'tensors that two norms share, set apart': {
    file: fileOf(two('zero, one', 'zero, one')),
    set: { b: 1, y: 2 },
    differences: [
      'added tensor one__b__variance',
      'added tensor one__y__variance',
      'added tensor zero__b__mean',
      'added tensor zero__y__mean',
      'input one is one__b__variance',
      'input one is one__y__variance',
      'input zero is zero__b__mean',
      'input zero is zero__y__mean',
    ],
  },
  'one tensor as mean and variance of one norm': {
    file: fileOf(two('one, one', 'zero, one')),
    set: { b: 1 },
    differences: [
      'added tensor one__b__mean',
      'added tensor one__b__variance',
      'input one is one__b__mean',
      'input one is one__b__variance',
    ],
  },
  'names that are taken': {
    file: fileOf(
      netText({
        nodes: 'mean__b__mean = Relu(mean)  r = ReduceMax <keepdims = 0> (mean__b__mean)',
        tensors: ', float32[1] variance__b__variance = {1}',
      }).replace('y = Neg(b)', 'c = Add(b, r)  y = Mul(c, variance__b__variance)'),
    ),
    differences: ['added tensor mean__b__mean_', 'input mean is mean__b__mean_', 'tensor variance'],
  },
  'a statistic that a branch reads too': {
    file: fileOf(`
      <ir_version: 8, opset_import: ["": 17]>
      net (float32[N, 3] x, bool flag) => (float32[N, 3] y)
      <float32[3] one = fill(1), float32[3] zero = fill(0), float32[3] mean = {0.5, -1, 3}, float32[3] variance = {2, 3, 5}>
      {
        b = BatchNormalization (x, one, zero, mean, variance)
        y = If <then_branch = t () => (p) { p = Add(b, mean) }, else_branch = e () => (q) { q = Identity(b) }> (flag)
      }`),
    differences: ['added tensor mean__b__mean', 'input mean is mean__b__mean', 'tensor variance'],
  },
  'a statistic that is an output too': {
    file: fileOf(
      netText().replace('=> (float32[N, 3, 2] y)', '=> (float32[N, 3, 2] y, float32[3] variance)'),
    ),
    differences: [
      'added tensor variance__b__variance',
      'input variance is variance__b__variance',
      'tensor mean',
    ],
  },
  'initializers that are inputs': {
    file: fileOf(
      netText().replace(
        '] x)',
        '] x, float32[3] one, float32[3] zero, float32[3] mean, float32[3] variance)',
      ),
    ),
    differences: ['tensor mean', 'tensor variance'],
  },
  'IR version 3, where all initializers are inputs': {
    file: fileOf(
      two('zero, one', 'zero, one')
        .replace('<ir_version: 8, opset_import: ["": 17]>', '<ir_version: 3, opset_import: ["": 9]>')
        .replace('] x)', '] x, float32[3] one, float32[3] zero, float32[3] mean)'),
    ),
    set: { y: 1 },
    differences: [
      'added input one__y__variance',
      'added input zero__y__mean',
      'added tensor one__y__variance',
      'added tensor zero__y__mean',
      'input one is one__y__variance',
      'input zero is zero__y__mean',
    ],
  },
  'a function that is given its statistics': {
    file: fileOf(`
      <ir_version: 10, opset_import: ["": 17, "local": 1]>
      net (float32[N, 3] x) => (float32[N, 3] y)
      <float32[3] one = fill(1), float32[3] zero = fill(0), float32[3] mean = {0.5, -1, 3}, float32[3] variance = {2, 3, 5}>
      { h = local.block(x, one, zero, mean, variance)  y = Relu(h) }
      <domain: "local", opset_import: ["": 17]>
      block (x, scale, shift, mean, variance) => (z) { t = Neg(x)  z = BatchNormalization (t, scale, shift, mean, variance) }`),
    set: { h: 1 },
    differences: ['tensor mean', 'tensor variance'],
  },
}

const editsOf = (file: ModelFile, { set }: Case): Edit[] =>
  Object.entries(set ?? { b: 1 }).map(([key, seed]) => editFor(file, key, seed))

describe('statistics of every kind', () => {
  for (const [name, given] of Object.entries(cases))
    test(name, async () => {
      const file = await read(given.file)
      const written = await expectRoundTrip(file, editsOf(file, given))
      expect(differencesOf(concat(file.write([])), written)).toEqual(given.differences)
      // What is written is a file that ONNX Runtime takes as it is.
      await (await createSession(written)).release()
    })

  test('a tensor that a norm shares with others is set for those, and the statistics are split off', async () => {
    const file = await read(fileOf(two('mean, one', 'zero, one')))
    const edits: Edit[] = [
      { kind: 'set-tensor', value: 'one', tensor: Tensor.float32([3], [4, 5, 6]) },
      editFor(file, 'b'),
      editFor(file, 'y', 7),
    ]
    const written = await expectRoundTrip(file, edits)
    const { norms } = factsOf((await read(written)).model)
    expect([...norms[0]!.scale!]).toEqual([4, 5, 6])
    expect([...norms[1]!.scale!]).toEqual([4, 5, 6])
  })

  test('statistics inside a function are refused, not guessed at', async () => {
    const shared = (block: string) => `
      <ir_version: 10, opset_import: ["": 17, "local": 1]>
      net (float32[N, 3] x) => (float32[N, 3] y)
      <float32[3] one = fill(1), float32[3] zero = fill(0)>
      { h = local.block(x, one, zero)  y = local.block(h, one, zero) }
      <domain: "local", opset_import: ["": 17]>
      block (x, one, zero) => (z) { ${block} }`
    for (const block of [
      'z = BatchNormalization (x, one, zero, zero, one)',
      'm = Constant <value = float32[3] {1, 2, 3}> ()  z = BatchNormalization (x, one, zero, m, one)',
    ]) {
      const file = await read(fileOf(shared(block)))
      expect(() => file.write([editFor(file, 'h')])).toThrow(
        /inside a function.*export the model without local functions/,
      )
    }
  })
})

/** What a reader may not know, in every wire type, before and behind what it knows. */
const unknown = {
  before: message((out) => out.string(901, 'from the future').int(900, -5).float(902, 1.5)),
  // A group (wire types 3 and 4) that holds a group and a number, and a fixed64.
  behind: concat([
    new BinaryWriter()
      .tag(903, WireType.StartGroup)
      .tag(904, WireType.StartGroup)
      .tag(904, WireType.EndGroup)
      .finish(),
    message((out) => out.int(905, 7)),
    new BinaryWriter().tag(903, WireType.EndGroup).tag(906, WireType.Bit64).fixed64(77).finish(),
  ]),
}

/** The message with fields that nobody knows in every message within. */
function decorated(bytes: Uint8Array, kind: Kind): Uint8Array {
  const inner = [...fieldsOf(bytes)].map((field) => {
    const nested = kindOf(kind, field.number)
    return nested
      ? message((out) => out.bytes(field.number, decorated(payload(bytes, field), nested)))
      : bytes.subarray(field.start, field.end)
  })
  // A file is told by its first field, so that one stays.
  return concat([...(kind === 'model' ? [] : [unknown.before]), ...inner, unknown.behind])
}

/** Documentation, metadata, training information, quantisation annotations: what is read over and has to survive. */
function furnished(bytes: Uint8Array): Uint8Array {
  const entry = (out: MessageWriter) => out.string(1, 'key').string(2, 'value ü')
  const inGraph = message((out) => {
    out.string(10, 'documentation of the graph').message(16, entry)
    out.message(14, (annotation) => annotation.string(1, 'y').message(2, entry))
    out.message(schema.graph.node, (node) => {
      node
        .string(2, 'documented')
        .string(4, 'LeakyRelu')
        .string(1, 'x')
        .string(3, 'late')
        .string(6, 'documentation')
      node
        .message(9, entry)
        .message(5, (a) => a.string(1, 'alpha').int(20, 1).float(2, 3).string(13, 'documentation'))
    })
    out.message(schema.graph.valueInfo, (value) =>
      value.string(1, 'b').string(3, 'documentation').message(4, entry),
    )
  })
  const inModel = message((out) => {
    out.string(3, '1.2.3').string(4, 'com.example').int(5, 77).string(6, 'documentation of the model')
    out.message(14, entry).message(14, (e) => e.string(1, 'author').string(2, 'someone'))
    out.message(20, (training) =>
      training
        .message(1, (g) => g.string(2, 'initialization'))
        .message(3, (e) => e.string(1, 'a').string(2, 'b')),
    )
  })
  return withRecords(bytes, inGraph, inModel)
}

describe('what is not understood survives', () => {
  for (const [name, given] of Object.entries(cases))
    test(name, async () => {
      const plain = await read(given.file)
      const bytes = decorated(furnished(given.file), 'model')
      const file = await read(bytes)
      expect(concat(file.write([]))).toBe(bytes)
      expect(file.model.graph.nodes.length).toBe(plain.model.graph.nodes.length + 1)
      const written = await expectRoundTrip(file, editsOf(file, given))
      expect(differencesOf(bytes, written)).toEqual(given.differences)
      expect(written.length - bytes.length).toBeLessThan(400 * given.differences.length)
      const future = message((out) => out.string(901, 'from the future'))
      const count = (all: Uint8Array, part: Uint8Array) =>
        Buffer.from(all).toString('latin1').split(Buffer.from(part).toString('latin1')).length - 1
      expect(count(written, future)).toBe(count(bytes, future))
      expect(count(written, unknown.behind)).toBe(count(bytes, unknown.behind))
      await (await createSession(written)).release()
    })

  test('the check itself finds a single changed byte', async () => {
    const bytes = decorated(furnished(cases['Constant nodes']!.file), 'model')
    let found = 0
    for (let at = 0; at < bytes.length; at += 7) {
      const other = new Uint8Array(bytes)
      other[at]! ^= 1
      try {
        if (differencesOf(bytes, other).length > 0) found++
      } catch {
        found++
      }
    }
    expect(found).toBe(Math.ceil(bytes.length / 7))
  })
})

/** A small network in the words of an operator set version, and what every mode has to make of it. */
function netOfOpset(opset: number): string {
  const irVersion = opset < 9 ? 3 : opset < 13 ? 6 : opset < 19 ? 8 : 10
  const dropout = opset < 12 ? 'd = Dropout <ratio = 0.5> (c)' : 'd = Dropout (c, ratio, training)'
  const outputs = opset < 14 ? 'b, m, v, sm, sv' : 'b, m, v'
  const attributes = opset < 9 ? ', spatial = 1' : opset < 14 ? '' : ', training_mode = 1'
  const inputs =
    opset < 9
      ? ', float32[4, 2, 1, 1] w, float32[4] scale, float32[4] shift, float32[4] mean, float32[4] variance'
      : ''
  return `
    <ir_version: ${irVersion}, opset_import: ["": ${opset}]>
    net (float32[N, 2, 5, 5] x${inputs}) => (float32[N, 4, 5, 5] y)
    <float32[4, 2, 1, 1] w = {2, 1, -1, 2, 3, 0, 1, -3}, float32[4] scale = {1, 2, 3, 0.5}, float32[4] shift = {0, 1, -2, 5},
     float32[4] mean = {0.5, -1, 0, 2}, float32[4] variance = {1, 2, 3, 4}
     ${opset < 12 ? '' : ', float32 ratio = {0.5}, bool training = {1}'}>
    {
      c = Conv <kernel_shape = [1, 1]> (x, w)
      ${dropout}
      ${outputs} = BatchNormalization <epsilon = 0.001, momentum = 0.9${attributes}> (d, scale, shift, mean, variance)
      y = Identity(b)
    }`
}

describe('operator sets', () => {
  const input = uniform(64 * 50, -1, 1, 4)
  const x = Tensor.float32([64, 2, 5, 5], input)
  const outputsOf = async (model: Model, mode: Mode, runs = 1) => {
    const session = await createSession(encodeModel(toMode(model, mode, { seed: 3 })), { threads: 1 })
    const outputs: Float64Array[] = []
    for (let i = 0; i < runs; i++) {
      const [y] = (await session.run(new Map([['x', x]]))).values()
      outputs.push(y!.toNumbers())
    }
    await session.release()
    return outputs
  }
  /** Moments of the channels of an output of 64 x 4 x 25. */
  const momentsOf = (values: Float64Array) =>
    [0, 1, 2, 3].map((c) => {
      const own = values.filter((_, i) => Math.floor(i / 25) % 4 === c)
      const mean = own.reduce((sum, v) => sum + v, 0) / own.length
      return { mean, variance: own.reduce((sum, v) => sum + (v - mean) ** 2, 0) / own.length }
    })
  const [scale, shift] = [
    [1, 2, 3, 0.5],
    [0, 1, -2, 5],
  ] as const
  const w = [2, 1, -1, 2, 3, 0, 1, -3]
  // Computed here: convolution 1 x 1, then the stored statistics.
  const evalMode = Float64Array.from({ length: 64 * 100 }, (_, i) => {
    const [n, c, p] = [Math.floor(i / 100), Math.floor(i / 25) % 4, i % 25]
    const at = (k: number) => input[(n * 2 + k) * 25 + p]!
    const conv = w[c * 2]! * at(0) + w[c * 2 + 1]! * at(1)
    const [mean, variance] = [[0.5, -1, 0, 2][c]!, [1, 2, 3, 4][c]!]
    return ((conv - mean) / Math.sqrt(variance + 0.001)) * scale[c]! + shift[c]!
  })

  for (let opset = 7; opset <= 26; opset++)
    test(`opset ${opset}`, async () => {
      const { model } = await read(fileOf(netOfOpset(opset)))
      expect(opsetOf(model)).toBe(opset)
      const facts = factsOf(model)
      expect(facts.noises.map(({ kind, parameter }) => [kind, parameter.value])).toEqual([['dropout', 0.5]])
      expect(facts.norms[0]?.batchStatistics).toBe(true)

      const [evaluated] = await outputsOf(model, 'eval')
      expect(largestDifference(evaluated!, evalMode)).toBeLessThan(1e-5)

      for (const mode of ['train', 'calibrate'] as const) {
        const [output] = await outputsOf(model, mode)
        momentsOf(output!).forEach(({ mean, variance }, c) => {
          expect(Math.abs(mean - shift[c]!)).toBeLessThan(1e-4)
          // The variance of the input is above 1 here, so epsilon takes less than a thousandth.
          expect(Math.abs(variance / scale[c]! ** 2 - 1)).toBeLessThan(2e-3)
        })
      }
      const [first, second] = await outputsOf(model, 'sample', 2)
      const [again] = await outputsOf(model, 'sample')
      expect(first).toEqual(again)
      expect(first).not.toEqual(second)
    })
})

function largestDifference(a: Float64Array, b: Float64Array): number {
  expect(a.length).toBe(b.length)
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)
}
