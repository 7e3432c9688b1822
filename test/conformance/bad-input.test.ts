import { execFile } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'vite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { check } from '../../src/commands/check.ts'
import { fix } from '../../src/commands/fix.ts'
import { measure } from '../../src/commands/measure.ts'
import { save } from '../../src/commands/save.ts'
import { encodeNpz } from '../../src/data/npz-write.ts'
import { concat, encodeModel } from '../../src/formats/onnx/index.ts'
import * as schema from '../../src/formats/onnx/schema.ts'
import { fieldsOf, MessageWriter, payload } from '../../src/formats/onnx/wire.ts'
import { openModel } from '../../src/formats/open-model.ts'
import { UserError } from '../../src/ir/errors.ts'
import { uniform } from '../../src/ir/random.ts'
import { Tensor } from '../../src/ir/tensor.ts'
import { parseModel } from '../../src/ir/text.ts'
import { nodeFiles } from '../../src/platform/node.ts'

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'varshift-bad-input-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (...names: string[]): string => join(folder, ...names)

/** Writes a file, and the folders on its way. */
function put(name: string, contents: Uint8Array | string): string {
  mkdirSync(dirname(at(name)), { recursive: true })
  writeFileSync(at(name), contents)
  return at(name)
}

function bytesOf(path: string): string {
  try {
    return readFileSync(path).toString('base64')
  } catch {
    return 'may not be read'
  }
}

/** Everything below a folder: bytes and times of files, targets of links are not followed. */
function contentsOf(root: string): Record<string, string> {
  const found: Record<string, string> = {}
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    found[relative(root, path)] = entry.isFile() ? `${statSync(path).mtimeMs} ${bytesOf(path)}` : 'no file'
  }
  return found
}

/** The work is refused by one line for the user, which matches; and no file anywhere has changed. */
async function refused(work: () => Promise<unknown>, message: RegExp): Promise<void> {
  const before = contentsOf(folder)
  const error = await work().then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(UserError)
  const text = (error as UserError).message
  expect(text).toMatch(message)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  expect(text).not.toMatch(/[\u0000-\u001f]/)
  expect(contentsOf(folder)).toEqual(before)
}

const open = (name: string) => openModel(at(name), nodeFiles)

const netText = `
  <ir_version: 8, opset_import: ["": 17]>
  net (float32[N, 3] x) => (float32[N, 2] y)
  <float32[3] one = fill(1), float32[3] zero = fill(0), float32[3] mean = {0.5, -1, 3},
   float32[3] variance = {2, 3, 5}, float32[3, 2] w = uniform(-1, 1, 3)>
  {
    [bn] n = BatchNormalization (x, one, zero, mean, variance)
    r = Relu (n)
    y = MatMul (r, w)
  }`
const net = encodeModel(parseModel(netText))
const samples = (rows: number, columns = 3) =>
  Tensor.float32([rows, columns], uniform(rows * columns, -2, 2, 5))
const npz = (arrays: Record<string, Tensor>) => encodeNpz(new Map(Object.entries(arrays)))

beforeAll(() => {
  put('net.onnx', net)
  put('x.npz', npz({ x: samples(100) }))
})

const measured = async (model: string, data: string, options = {}) =>
  measure(await open(model), { data: at(data), modeSamples: 0, ...options }, nodeFiles)

test('what these tests break works', async () => {
  const { measurement } = await measured('net.onnx', 'x.npz')
  expect(measurement?.layers).toHaveLength(1)
})

const message = (write: (out: MessageWriter) => void): Uint8Array => {
  const out = new MessageWriter()
  write(out)
  return concat(out.finish())
}
const empty = new Uint8Array(0)
const modelOf = (graph: Uint8Array) =>
  message((out) => out.int(schema.model.irVersion, 8).bytes(schema.model.graph, graph))
/** `count` times the same records. */
const repeated = (count: number, record: Uint8Array) => {
  const all = new Uint8Array(Math.round(count) * record.length)
  for (let i = 0; i < Math.round(count); i++) all.set(record, i * record.length)
  return all
}
const numbered = (count: number, record: (i: number) => Uint8Array) =>
  concat(Array.from({ length: count }, (_, i) => record(i)))
const graphOf = (records: Uint8Array) => modelOf(message((out) => out.raw(records)))
const tensorOf = (records: Uint8Array) =>
  graphOf(
    message((out) =>
      out.message(schema.graph.initializer, (t) => t.int(schema.tensor.dataType, 1).raw(records)),
    ),
  )
const attributeOf = (records: Uint8Array) =>
  graphOf(
    message((out) =>
      out.message(schema.graph.node, (node) =>
        node
          .string(schema.node.opType, 'Relu')
          .string(schema.node.output, 'y')
          .message(schema.node.attribute, (a) => a.string(schema.attribute.name, 'a').raw(records)),
      ),
    ),
  )

/** A chain of messages, each holding the next, `depth` deep, written from the inside out without copying. */
function nested(depth: number, fields: readonly number[], inner: Uint8Array): Uint8Array {
  const heads: Uint8Array[] = []
  let length = inner.length
  for (let i = depth - 1; i >= 0; i--) {
    const tag = (fields[i % fields.length]! << 3) | 2
    const head = [tag]
    for (let n = length; ; n >>>= 7) {
      head.push(n < 128 ? n : (n & 127) | 128)
      if (n < 128) break
    }
    heads.push(Uint8Array.from(head))
    length += head.length
  }
  return concat([...heads.reverse(), inner])
}

/** Functions of which each calls the one before twice. */
const laughs = (count: number) => {
  const text = [
    '<ir_version: 8, opset_import: ["": 17, "local": 1]>',
    `net (float32[2] x) => (float32[2] y) { y = local.f${count}(x) }`,
    '<domain: "local", opset_import: ["": 17]> f0 (x) => (y) { y = Relu(x) }',
  ]
  for (let i = 1; i <= count; i++)
    text.push(
      `<domain: "local", opset_import: ["": 17, "local": 1]> f${i} (x) => (y) { t = local.f${i - 1}(x) y = local.f${i - 1}(t) }`,
    )
  return encodeModel(parseModel(text.join('\n')))
}

describe('files that are no models', () => {
  const notModels: Record<string, { contents: Uint8Array | string; message: RegExp }> = {
    'empty.onnx': { contents: '', message: /the file is empty; / },
    'text.onnx': {
      contents: 'The model is in the other folder.\n',
      message: /this is a text file.*give the model file/,
    },
    'html.onnx': {
      contents: '\n <!DOCTYPE html><html><body>404</body></html>',
      message: /web page.*download/,
    },
    'xml.onnx': { contents: '<?xml version="1.0"?><Error/>', message: /web page.*download/ },
    'json.onnx': { contents: '{"model": [1, 2, 3]}', message: /this is a text file/ },
    'lfs.onnx': {
      contents: `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 12345\n`,
      message: /Git LFS pointer.*git lfs pull/,
    },
    'zip.onnx': { contents: npz({ x: samples(2) }), message: /NumPy archive.*--data/ },
    'hdf5.onnx': {
      contents: Uint8Array.of(0x89, 72, 68, 70, 13, 10, 26, 10, 0, 0),
      message: /the HDF5 file is damaged or cut short/,
    },
    'pickle.onnx': {
      contents: Uint8Array.of(0x80, 2, 99, 111, 115, 10),
      message: /Python pickle.*which is never opened/,
    },
    'gzip.onnx': { contents: Uint8Array.of(0x1f, 0x8b, 8, 0), message: /gzip archive; unpack it/ },
    'zeros.onnx': { contents: new Uint8Array(1000), message: /not a model that varshift reads.*00 00 00 00/ },
    'letters.onnx': {
      contents: Uint8Array.from({ length: 500 }, (_, i) => 0x08 + (i % 7) * 31),
      message: /not a valid ONNX file|not an ONNX model|no graph/,
    },
    'picture.onnx': {
      contents: Uint8Array.of(0x89, 80, 78, 71, 13, 10, 26, 10),
      message: /not a model that varshift/,
    },
    'version-only.onnx': {
      contents: Uint8Array.of(8, 8),
      message: /has no graph; the file may be truncated/,
    },
    'old.onnx': {
      contents: concat([Uint8Array.of(8, 2), net.subarray(2)]),
      message: /IR version 2 is not supported: expected 3 or newer; export/,
    },
  }
  for (const [name, { contents, message }] of Object.entries(notModels))
    test(name, async () => {
      put(name, contents)
      await refused(() => open(name), new RegExp(`${name}: .*(${message.source})`))
    })

  test('a folder, nothing, a link to nothing, an impossible name', async () => {
    mkdirSync(at('folder.onnx'), { recursive: true })
    await refused(() => open('folder.onnx'), /cannot read .*folder\.onnx: it is a folder, expected a file/)
    await refused(() => open('missing.onnx'), /cannot read .*missing\.onnx: no such file.*check the path/)
    if (!existsSync(at('broken.onnx'))) symlinkSync(at('nowhere'), at('broken.onnx'))
    await refused(() => open('broken.onnx'), /cannot read .*broken\.onnx: no such file/)
    await refused(() => open('net.onnx/inside'), /a part of the path is not a folder/)
    await refused(() => open('zero\0byte.onnx'), /the name holds a zero byte/)
    await refused(() => open('x'.repeat(5000)), /the name is too long/)
  })

  test.skipIf(process.platform === 'win32')('a file that may not be read', async () => {
    put('secret.onnx', net)
    chmodSync(at('secret.onnx'), 0)
    await refused(
      () => withoutPrivileges(() => open('secret.onnx')),
      /cannot read .*secret\.onnx: permission denied; check/,
    )
    rmSync(at('secret.onnx'))
  })
})

/** Does the work as a user who may not do everything: root may. */
async function withoutPrivileges<T>(work: () => Promise<T>): Promise<T> {
  const root = process.geteuid?.() === 0
  const nobody = 65534
  if (root) {
    chmodSync(folder, 0o755)
    process.seteuid!(nobody)
  }
  try {
    return await work()
  } finally {
    if (root) process.seteuid!(0)
  }
}

describe('damaged models', () => {
  const fixture = fileURLToPath(new URL('../oracle/networks/mlp/model.onnx', import.meta.url))

  test('cut short at many places', async () => {
    const whole = readFileSync(fixture)
    const lengths = Array.from({ length: 60 }, (_, i) => 1 + Math.floor((i / 60) ** 2 * (whole.length - 200)))
    for (const length of [...lengths, whole.length - 150]) {
      put('cut.onnx', whole.subarray(0, length))
      await refused(() => open('cut.onnx'), /cut\.onnx: .*(truncated|no graph|not a model)/)
    }
  })

  test('a stretch overwritten', async () => {
    const whole = readFileSync(fixture)
    for (let i = 1; i < 40; i++) {
      const damaged = Uint8Array.from(whole)
      damaged.fill(i * 6 + 3, Math.floor((whole.length * i) / 40), Math.floor((whole.length * i) / 40) + 64)
      put('damaged.onnx', damaged)
      // Bytes in the middle of weights cannot be told from weights.
      const error = await open('damaged.onnx')
        .then(check)
        .then(
          () => undefined,
          (reason: unknown) => reason,
        )
      if (error !== undefined) expect(error).toBeInstanceOf(UserError)
    }
  })

  const graphs: Record<string, { text: string; message: RegExp }> = {
    cyclic: {
      text: 'g (float32[1] x) => (float32[1] y) { a = Add(x, b)  b = Relu(a)  y = Relu(b) }',
      message: /cyclic or out of order: node 'a' \(Add\) reads 'b' before it is computed; export/,
    },
    'a node that reads itself': {
      text: 'g (float32[1] x) => (float32[1] y) { [loop] y = Add(x, y) }',
      message: /cyclic or out of order: node 'loop' \(Add\) reads 'y'/,
    },
    'cyclic in a branch': {
      text: `g (bool c, float32[1] x) => (float32[1] y)
        { y = If <then_branch = t () => (u) { v = Relu(u)  u = Relu(v) }, else_branch = e () => (w) { w = Relu(x) }> (c) }`,
      message: /cyclic or out of order: node 'v' \(Relu\) reads 'u'/,
    },
    'functions in a circle': {
      text: `<ir_version: 8, opset_import: ["": 17, "local": 1]>
        g (float32[1] x) => (float32[1] y) { y = local.a(x) }
        <domain: "local", opset_import: ["": 17, "local": 1]> a (x) => (y) { y = local.b(x) }
        <domain: "local", opset_import: ["": 17, "local": 1]> b (x) => (y) { y = local.a(x) }`,
      message: /local functions call each other in a circle: a -> b -> a/,
    },
    'a value from nowhere': {
      text: 'g (float32[1] x) => (float32[1] y) { [sum] y = Add(x, nothing) }',
      message: /node 'sum' \(Add\) reads 'nothing', which nothing in the ONNX graph provides/,
    },
    'a value computed twice': {
      text: 'g (float32[1] x) => (float32[1] y) { y = Relu(x)  [again] y = Neg(x) }',
      message: /computes 'y' twice \(again in node 'again', Neg\)/,
    },
    'an output from nowhere': {
      text: 'g (float32[1] x) => (float32[1] y) { z = Relu(x) }',
      message: /output 'y' is computed by no node/,
    },
  }
  for (const [name, { text, message }] of Object.entries(graphs))
    test(name, async () => {
      put('graph.onnx', encodeModel(parseModel(text)))
      await refused(() => open('graph.onnx'), message)
    })

  test('line breaks and control characters in names stay on one line', async () => {
    const text = 'g (float32[1] x) => (float32[1] y) { y = Add(x, x) }'
    const model = parseModel(text)
    const [node] = model.graph.nodes
    const named = { ...node!, name: 'a\nb\u001b[31m', inputs: ['x', 'q\r\n\u0000'] }
    put('names.onnx', encodeModel({ ...model, graph: { ...model.graph, nodes: [named] } }))
    await refused(
      () => open('names.onnx'),
      /node 'a\\u000ab\\u001b\[31m' \(Add\) reads 'q\\u000d\\u000a\\u0000'/,
    )
  })

  const shapes: Record<string, { dims: number[]; message: RegExp }> = {
    'a shape that overflows': {
      dims: [2 ** 40, 2 ** 40],
      message: /tensor 'w' .*impossible shape \[1099511627776/,
    },
    'a shape beyond all integers': { dims: [2 ** 62], message: /impossible shape/ },
    'a negative shape': { dims: [-3, 2], message: /impossible shape \[-3, 2\]/ },
    'more elements than bytes': {
      dims: [2 ** 30],
      message: /'w'.*needs 4294967296 bytes, the file holds 24; it may be truncated/,
    },
    'fewer elements than bytes': { dims: [3], message: /'w'.*needs 12 bytes, the file holds 24/ },
  }
  for (const [name, { dims, message }] of Object.entries(shapes))
    test(name, async () => {
      const model = parseModel(netText)
      const initializers = new Map(model.graph.initializers)
      initializers.set('w', new Tensor('float32', dims, new Uint8Array(24)))
      put('shape.onnx', encodeModel({ ...model, graph: { ...model.graph, initializers } }))
      await refused(() => open('shape.onnx'), message)
    })
})

describe('external data', () => {
  /** The net with its weights in the file `location`, as a file of its own folder. */
  function putExternal(model: string, location: string, entries: Record<string, string> = {}): string {
    const parsed = parseModel(netText)
    const initializers = new Map(parsed.graph.initializers)
    initializers.delete('w')
    const graph = {
      ...parsed.graph,
      initializers,
      nodes: parsed.graph.nodes.slice(0, 2),
      outputs: [{ name: 'r' }],
    }
    const external = message((out) =>
      out.message(schema.model.graph, (g) =>
        g.message(schema.graph.initializer, (t) => {
          t.int(schema.tensor.dims, 3).int(schema.tensor.dims, 2).int(schema.tensor.dataType, 1)
          t.string(schema.tensor.name, 'w').int(schema.tensor.dataLocation, 1)
          for (const [key, value] of Object.entries({ location, ...entries }))
            t.message(schema.tensor.externalData, (e) =>
              e.string(schema.entry.key, key).string(schema.entry.value, value),
            )
        }),
      ),
    )
    return put(model, mergedGraphs(encodeModel({ ...parsed, graph }), external))
  }

  test('what these tests break works', async () => {
    putExternal('external/net.onnx', 'weights.bin', { offset: '8', length: '24' })
    put('external/weights.bin', new Uint8Array(32))
    put('x.npz', npz({ x: samples(100) }))
    expect((await open('external/net.onnx')).companions.map(({ name }) => name)).toEqual(['weights.bin'])
    expect((await measured('external/net.onnx', 'x.npz')).measurement?.layers).toHaveLength(1)
  })

  const cases: Record<string, { location: string; entries?: Record<string, string>; message: RegExp }> = {
    missing: {
      location: 'none.bin',
      message: /data file '.*none\.bin' of tensor 'w' is missing; copy it beside the model/,
    },
    'an absolute path': {
      location: '/etc/passwd',
      message: /'w' points to the external file '\/etc\/passwd', outside the model's folder/,
    },
    'a path of Windows': { location: 'C:\\secret.bin', message: /outside the model's folder/ },
    'a way out': { location: '../net.onnx', message: /'\.\.\/net\.onnx', outside the model's folder/ },
    'a hidden way out': { location: 'folder/../../net.onnx', message: /outside the model's folder/ },
    'a way out of Windows': { location: '..\\net.onnx', message: /outside the model's folder/ },
    'no location': { location: '', message: /outside the model's folder/ },
    'a zero byte': {
      location: 'weights.bin\0.txt',
      message: /weights\.bin\\u0000\.txt' of tensor 'w' is missing/,
    },
    'a line break': { location: 'weights\n.bin', message: /weights\\u000a\.bin' of tensor 'w' is missing/ },
    'a long name': { location: 'w'.repeat(5000), message: /is missing/ },
    'a folder': {
      location: 'folder',
      message: /data file '.*folder' of tensor 'w' is a folder, expected a file/,
    },
    'a link that leads out': {
      location: 'link.bin',
      message: /link\.bin' of tensor 'w' is a link that leads out/,
    },
    'a folder that leads out': { location: 'way/net.onnx', message: /is a link that leads out/ },
    'a short file': {
      location: 'short.bin',
      message: /'w' needs bytes 0 to 24 of '.*short\.bin', which has 23; the file may be truncated/,
    },
    'an offset at the end': {
      location: 'weights.bin',
      entries: { offset: '9' },
      message: /needs bytes 9 to 33 of '.*', which has 32/,
    },
    'an offset that overflows': {
      location: 'weights.bin',
      entries: { offset: '18446744073709551615' },
      message: /starts at offset '18446744073709551615'/,
    },
    'a large offset': {
      location: 'weights.bin',
      entries: { offset: String(2 ** 53 - 1) },
      message: /which has 32/,
    },
    'a negative offset': {
      location: 'weights.bin',
      entries: { offset: '-8' },
      message: /starts at offset '-8' of 'weights\.bin', expected a whole number/,
    },
    'an offset that is no number': {
      location: 'weights.bin',
      entries: { offset: 'here' },
      message: /starts at offset 'here'/,
    },
    'a length too short': {
      location: 'weights.bin',
      entries: { length: '20' },
      message: /needs 24 bytes, the file holds '20'/,
    },
    'a length that is no number': {
      location: 'weights.bin',
      entries: { length: 'all' },
      message: /needs 24 bytes, the file holds 'all'/,
    },
  }
  for (const [name, { location, entries, message }] of Object.entries(cases))
    test(name, async () => {
      put('external/weights.bin', new Uint8Array(32))
      put('external/short.bin', new Uint8Array(23))
      mkdirSync(at('external/folder'), { recursive: true })
      if (!existsSync(at('external/link.bin'))) symlinkSync(at('net.onnx'), at('external/link.bin'))
      if (!existsSync(at('external/way'))) symlinkSync(at('.'), at('external/way'))
      putExternal('external/bad.onnx', location, entries)
      await refused(() => open('external/bad.onnx'), message)
    })

  test('a file that vanishes after the model was read', async () => {
    const model = putExternal('external/gone.onnx', 'gone.bin')
    put('external/gone.bin', new Uint8Array(24))
    const file = await openModel(model, nodeFiles)
    rmSync(at('external/gone.bin'))
    await refused(
      async () => file.model.graph.initializers.get('w')?.bytes,
      /cannot read .*gone\.bin: no such file/,
    )
  })
})

/** Two files whose graphs are to be one: records of the second one's graph are appended to the first one's. */
function mergedGraphs(first: Uint8Array, second: Uint8Array): Uint8Array {
  const graphs = [first, second].map((bytes) => {
    for (const field of fieldsOf(bytes)) if (field.number === schema.model.graph) return field
    throw new Error('no graph')
  })
  const inner = concat([payload(first, graphs[0]!), payload(second, graphs[1]!)])
  return concat([
    first.subarray(0, graphs[0]!.start),
    message((out) => out.bytes(schema.model.graph, inner)),
    first.subarray(graphs[0]!.end),
  ])
}

describe('data', () => {
  const float = (dims: number[], values: number[]) => Tensor.float32(dims, values)
  const labels = (values: number[], dataType: 'int64' | 'float32' = 'int64') =>
    Tensor.of(dataType, [values.length], values)
  const classes = (count: number, from: (i: number) => number) =>
    Array.from({ length: count }, (_, i) => from(i))
  const cases: Record<string, { data: () => Uint8Array; message: RegExp }> = {
    'a wrong shape': {
      data: () => npz({ x: samples(10, 4) }),
      message: /input 'x' of the model wants N x 3, .*data\.npz:x holds 10 x 4; /,
    },
    'too many axes': {
      data: () =>
        npz({
          x: float(
            [2, 2, 3],
            classes(12, (i) => i),
          ),
        }),
      message: /wants N x 3, .* holds 2 x 2 x 3/,
    },
    'a missing input': {
      data: () => npz({ labels: labels([1, 0]) }),
      message: /holds no samples, only labels/,
    },
    'two arrays of other names': {
      data: () => npz({ a: samples(4), b: samples(4) }),
      message: /wants inputs 'x', .*data\.npz holds 'a', 'b'; name the arrays as the inputs/,
    },
    'arrays of other lengths': {
      data: () => npz({ x: samples(4), z: samples(5) }),
      message: /z holds 5 samples, expected 4/,
    },
    NaN: {
      data: () => npz({ x: float([2, 3], [1, 2, 3, 4, Number.NaN, 6]) }),
      message: /data\.npz:x holds NaN in sample 1, expected finite numbers; /,
    },
    infinity: {
      data: () => npz({ x: float([2, 3], [1, 2, Infinity, 4, 5, 6]) }),
      message: /holds Infinity in sample 0/,
    },
    'no samples': {
      data: () => npz({ x: float([0, 3], []) }),
      message: /data\.npz:x is empty: its shape is 0 x 3; give at least one sample/,
    },
    'an empty file': { data: () => empty, message: /data\.npz is empty/ },
    'a single number': {
      data: () => npz({ x: float([], [1]) }),
      message: /is a single number, expected an array of samples/,
    },
    'a file cut short': { data: () => npz({ x: samples(100) }).subarray(0, 700), message: /data\.npz.*/ },
    'a web page': {
      data: () => new TextEncoder().encode('<html></html>'),
      message: /not data that varshift knows \(a web page/,
    },
    'labels too large': {
      data: () => npz({ x: samples(4), labels: labels([0, 1, 2, 0]) }),
      message: /sample 2 has label 2, expected 0 to 1 as the model has 2 classes; /,
    },
    'negative labels': {
      data: () => npz({ x: samples(4), labels: labels([0, 1, 1, -1]) }),
      message: /sample 3 has label -1, expected 0 to 1/,
    },
    'labels in the last batch': {
      data: () => npz({ x: samples(200), labels: labels(classes(200, (i) => (i === 150 ? 7 : 1))) }),
      message: /sample 150 has label 7, expected 0 to 1/,
    },
    'labels that are no whole numbers': {
      data: () => npz({ x: samples(2), labels: labels([0, 0.5], 'float32') }),
      message: /labels holds 0\.5 for sample 1, expected class numbers/,
    },
    'too few labels': {
      data: () => npz({ x: samples(4), labels: labels([0, 1]) }),
      message: /labels holds 2 labels, expected 4/,
    },
    'labels of two axes': {
      data: () => npz({ x: samples(2), labels: float([2, 2], [0.5, 0.5, 1, 0]) }),
      message: /one-hot/,
    },
  }
  for (const [name, { data, message }] of Object.entries(cases))
    test(name, async () => {
      put('data.npz', data())
      await refused(() => measured('net.onnx', 'data.npz'), message)
      await refused(
        async () => fix(await open('net.onnx'), { data: at('data.npz'), modeSamples: 0 }, nodeFiles),
        message,
      )
    })

  test('data that is not there', async () => {
    await refused(
      () => measured('net.onnx', 'nothing.npz'),
      /nothing\.npz: no such file or folder; check the path/,
    )
  })

  test('the wrong element type', async () => {
    put(
      'integers.onnx',
      encodeModel(
        parseModel(
          netText.replace('float32[N, 3] x', 'int64[N, 3] i').replace('{\n', '{ x = Cast <to = 1> (i)\n'),
        ),
      ),
    )
    put('data.npz', npz({ i: samples(4) }))
    await refused(() => measured('integers.onnx', 'data.npz'), /input 'i' of type int64/)
  })
})

describe('models that cannot be measured', () => {
  const header = '<ir_version: 8, opset_import: ["": 17]>'
  const cases: Record<string, { text: string; message: RegExp }> = {
    'no BatchNormalization': {
      text: `${header} g (float32[N, 3] x) => (float32[N, 3] y) { y = Relu(x) }`,
      message:
        /no BatchNormalization with running statistics: nothing to measure.*export it in training mode/,
    },
    'an input of text': {
      text: netText
        .replace('float32[N, 3] x', 'float32[N, 3] x, string[N] s')
        .replace('{\n', '{ e = Equal(s, s)  q = Cast <to = 1> (e)\n')
        .replace('float32[N, 2] y', 'float32[N, 2] y, float32[N] q'),
      message: /input 's' of the model takes string, to which data cannot be converted; export/,
    },
    'statistics of another length': {
      text: netText.replace('float32[3] mean = {0.5, -1, 3}', 'float32[2] mean = {0.5, -1}'),
      message: /mean.*3|channels|ONNX Runtime/,
    },
    'an operator that ONNX Runtime does not know': {
      text: netText.replace('Relu (n)', 'Relic (n)'),
      message: /ONNX Runtime cannot load .*Relic/,
    },
    'a custom operator': {
      text: netText
        .replace('["": 17]', '["": 17, "com.example": 1]')
        .replace('Relu (n)', 'com.example.Relu (n)'),
      message: /ONNX Runtime cannot load .*com\.example/,
    },
    'shapes that do not go together': {
      text: netText.replace('float32[3, 2] w', 'float32[4, 2] w'),
      message: /ONNX Runtime (cannot load|failed while running)/,
    },
    'an opset from the future': {
      text: netText.replace('["": 17]', '["": 999]'),
      message: /ONNX Runtime cannot load .*opset/,
    },
  }
  for (const [name, { text, message }] of Object.entries(cases))
    test(name, async () => {
      put('unfit.onnx', encodeModel(parseModel(text)))
      put(
        'data.npz',
        npz({
          x: samples(8),
          ...(text.includes('string[N] s') && { s: Tensor.float32([8], uniform(8, 0, 1, 1)) }),
        }),
      )
      await refused(() => measured('unfit.onnx', 'data.npz'), message)
      await refused(
        async () => fix(await open('unfit.onnx'), { data: at('data.npz'), modeSamples: 0 }, nodeFiles),
        message,
      )
    })

  test('an input that is no tensor', async () => {
    const model = parseModel(netText)
    // A sequence of float32 tensors.
    const raw = Uint8Array.of(0x22, 6, 0x0a, 4, 0x0a, 2, 0x08, 1)
    const inputs = [...model.graph.inputs, { name: 'list', raw }]
    const nodes = [
      {
        name: '',
        opType: 'SequenceLength',
        domain: '',
        inputs: ['list'],
        outputs: ['l'],
        attributes: new Map(),
      },
      ...model.graph.nodes,
    ]
    const outputs = [...model.graph.outputs, { name: 'l', type: { dataType: 'int64' as const, shape: [] } }]
    put('sequence.onnx', encodeModel({ ...model, graph: { ...model.graph, inputs, nodes, outputs } }))
    await refused(() => measured('sequence.onnx', 'x.npz'), /input 'list' of the model is no tensor/)
  })
})

describe('output', () => {
  const fixedNet = async (name = 'net.onnx') => {
    const file = await open(name)
    const { edits } = await fix(file, { data: at('x.npz'), modeSamples: 0, force: true }, nodeFiles)
    return { file, edits }
  }

  test('the input itself, however it is spelled', async () => {
    const { file, edits } = await fixedNet()
    if (!existsSync(at('same.onnx'))) symlinkSync(at('net.onnx'), at('same.onnx'))
    if (!existsSync(at('here'))) symlinkSync(at('.'), at('here'))
    mkdirSync(at('sub'), { recursive: true })
    for (const spelled of [
      at('net.onnx'),
      `${folder}/./net.onnx`,
      `${folder}/sub/../net.onnx`,
      `${folder}//net.onnx`,
      at('same.onnx'),
      at('here/net.onnx'),
      relative(process.cwd(), at('net.onnx')),
    ])
      await refused(() => save(file, edits, spelled, nodeFiles), /is the model itself; give another name/)
  })

  test('a folder, and a folder that is not there', async () => {
    const { file, edits } = await fixedNet()
    mkdirSync(at('sub'), { recursive: true })
    await refused(() => save(file, edits, at('sub'), nodeFiles), /it is a folder; give a file name/)
    await refused(
      () => save(file, edits, at('none/fixed.onnx'), nodeFiles),
      /there is no folder '.*none'; create it first/,
    )
    await refused(() => save(file, edits, at('net.onnx/fixed.onnx'), nodeFiles), /there is no folder/)
    await refused(() => save(file, edits, at('n'.repeat(300)), nodeFiles), /the name is too long/)
  })

  test('a data file of the model', async () => {
    const { file, edits } = await fixedNet('external/net.onnx')
    await refused(
      () => save(file, edits, at('external/weights.bin'), nodeFiles),
      /is a data file of the model/,
    )
    mkdirSync(at('sub'), { recursive: true })
    await refused(
      () => save(file, edits, at('sub/weights.bin'), nodeFiles),
      /is the name of a data file of the model/,
    )
    put('taken/weights.bin', 'something else')
    await refused(
      () => save(file, edits, at('taken/fixed.onnx'), nodeFiles),
      /would overwrite '.*weights\.bin'/,
    )
  })

  test.skipIf(process.platform === 'win32')('a folder that may not be written to', async () => {
    const { file, edits } = await fixedNet()
    mkdirSync(at('locked'), { recursive: true })
    chmodSync(at('locked'), 0o555)
    await refused(
      () => withoutPrivileges(() => save(file, edits, at('locked/fixed.onnx'), nodeFiles)),
      /cannot write .*: permission denied/,
    )
  })

  test('a full disk', async (context) => {
    const small = at('small')
    mkdirSync(small)
    const mounted = await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small]).then(
      () => true,
      () => false,
    )
    if (!mounted) return context.skip('a full disk needs a small file system to be mounted, which takes root')
    try {
      const fixture = fileURLToPath(new URL('../oracle/networks/mlp/model.onnx', import.meta.url))
      put('large.onnx', readFileSync(fixture))
      const file = await open('large.onnx')
      writeFileSync(join(small, 'old.onnx'), 'old')
      for (const output of ['fixed.onnx', 'old.onnx'])
        await refused(
          () => save(file, [], join(small, output), nodeFiles),
          /cannot write .*: the disk is full; free some space.*nothing was changed/,
        )
    } finally {
      await run('umount', [small])
    }
  })

  test('what the model was read from stays when it is replaced in place only', async () => {
    copyFileSync(at('net.onnx'), at('mine.onnx'))
    const { file, edits } = await fixedNet('mine.onnx')
    await save(file, edits, at('mine.onnx'), nodeFiles, { inPlace: true })
    expect(new Uint8Array(readFileSync(at('mine.onnx')))).toEqual(concat(file.write(edits)))
    expect(new Uint8Array(readFileSync(at('net.onnx')))).toEqual(net)
  })
})

const million = 1_000_000
/** What exhausts a reader that trusts it, and what is said instead; `read` where nothing is wrong with it. */
const bombs: Record<string, { bytes: () => Uint8Array; message: RegExp }> = {
  'groups in groups': {
    bytes: () => concat([Uint8Array.of(8, 8), repeated(2.2 * million, Uint8Array.of(0x7b))]),
    message: /protobuf ends or breaks/,
  },
  'graphs in graphs': {
    bytes: () =>
      modelOf(nested(300_000, [schema.graph.node, schema.node.attribute, schema.attribute.g], empty)),
    message: /no operator|nests subgraphs/,
  },
  'unknown fields': {
    bytes: () => modelOf(repeated(3 * million, Uint8Array.of(0x18, 1))),
    message: /more than 1000000 nodes/,
  },
  'unknown fields of the model': {
    bytes: () => concat([Uint8Array.of(8, 8), repeated(9 * million, Uint8Array.of(0x48, 1))]),
    message: /too many records/,
  },
  'small nodes': {
    bytes: () => graphOf(repeated(1.2 * million, Uint8Array.of(0x0a, 3, 0x22, 1, 65))),
    message: /more than 1000000 nodes/,
  },
  'nodes with outputs': {
    bytes: () => graphOf(repeated(1.2 * million, Uint8Array.of(0x0a, 8, 0x12, 3, 97, 97, 97, 0x22, 1, 65))),
    message: /more than 1000000 nodes/,
  },
  'inputs of a graph': {
    bytes: () => graphOf(repeated(2.2 * million, Uint8Array.of(0x5a, 4, 0x12, 2, 0x0a, 0))),
    message: /more than 1000000 nodes/,
  },
  'small tensors': {
    bytes: () => graphOf(repeated(2.2 * million, Uint8Array.of(0x2a, 4, 0x08, 0, 0x10, 1))),
    message: /more than 1000000 nodes/,
  },
  'empty attributes': {
    bytes: () =>
      graphOf(
        message((out) =>
          out.message(schema.graph.node, (n) => n.raw(repeated(2.2 * million, Uint8Array.of(0x2a, 0)))),
        ),
      ),
    message: /more than 1000000 nodes/,
  },
  'sparse tensors': {
    bytes: () => graphOf(repeated(2.2 * million, Uint8Array.of(0x7a, 0))),
    message: /more than 1000000 nodes/,
  },
  'operator sets': {
    bytes: () => concat([Uint8Array.of(8, 8), repeated(2.2 * million, Uint8Array.of(0x42, 0))]),
    message: /more than 1000000 nodes/,
  },
  'names of inputs': {
    bytes: () =>
      graphOf(
        message((out) =>
          out.message(schema.graph.node, (n) =>
            n.string(schema.node.opType, 'A').raw(repeated(4.1 * million, Uint8Array.of(0x0a, 0))),
          ),
        ),
      ),
    message: /more than 4000000 names/,
  },
  'a long name': {
    bytes: () =>
      graphOf(message((out) => out.bytes(schema.graph.name, repeated(20 * million, Uint8Array.of(97))))),
    message: /^read$/,
  },
  'a long name in a message': {
    bytes: () =>
      graphOf(
        message((out) =>
          out.message(schema.graph.output, (o) =>
            o.bytes(schema.valueInfo.name, repeated(20 * million, Uint8Array.of(97))),
          ),
        ),
      ),
    message: /output 'a+ \.\.\. a+' is computed by no node/,
  },
  'packed dimensions': {
    bytes: () =>
      tensorOf(message((out) => out.bytes(schema.tensor.dims, repeated(20 * million, Uint8Array.of(1))))),
    message: /more than 256 axes/,
  },
  dimensions: {
    bytes: () => tensorOf(repeated(5 * million, Uint8Array.of(8, 1))),
    message: /more than 256 axes/,
  },
  'dimensions of a type': {
    bytes: () => {
      const shape = message((out) =>
        out.bytes(schema.tensorType.shape, repeated(3 * million, Uint8Array.of(0x0a, 0))),
      )
      const type = message((out) => out.bytes(schema.type.tensor, shape))
      return graphOf(
        message((out) => out.message(schema.graph.input, (i) => i.bytes(schema.valueInfo.type, type))),
      )
    },
    message: /more than 256 axes/,
  },
  'floats one by one': {
    bytes: () => tensorOf(repeated(3 * million, Uint8Array.of(0x25, 0, 0, 0, 0))),
    message: /needs 4 bytes, the file holds 12000000/,
  },
  'integers one by one': {
    bytes: () =>
      tensorOf(concat([Uint8Array.of(0x10, 6, 0x08, 1), repeated(3 * million, Uint8Array.of(0x28, 1))])),
    message: /^read$/,
  },
  strings: {
    bytes: () =>
      tensorOf(concat([Uint8Array.of(0x10, 8, 0x08, 1), repeated(3 * million, Uint8Array.of(0x32, 0))])),
    message: /needs 0 bytes, the file holds 3000000 strings/,
  },
  'packed integers that claim more than there is': {
    bytes: () =>
      tensorOf(
        concat([
          Uint8Array.of(0x10, 7),
          message((out) => out.int(1, 2 ** 46).bytes(7, repeated(100, Uint8Array.of(1)))),
        ]),
      ),
    message: /needs 562949953421312 bytes, the file holds at most 100 integers/,
  },
  'integers of an attribute': {
    bytes: () =>
      attributeOf(
        message((out) => out.bytes(schema.attribute.ints, repeated(9 * million, Uint8Array.of(1)))),
      ),
    message: /too many records/,
  },
  'floats of an attribute': {
    bytes: () => attributeOf(repeated(3 * million, Uint8Array.of(0x3d, 0, 0, 0, 0))),
    message: /^read$/,
  },
  'strings of an attribute': {
    bytes: () => attributeOf(repeated(4.1 * million, Uint8Array.of(0x4a, 1, 65))),
    message: /more than 4000000 names/,
  },
  'graphs of an attribute': {
    bytes: () => attributeOf(repeated(2.2 * million, Uint8Array.of(0x5a, 0))),
    message: /more than 1000000 nodes/,
  },
  'many subgraphs among many values': {
    bytes: () =>
      graphOf(
        concat([
          numbered(100_000, (i) =>
            message((out) =>
              out.message(schema.graph.input, (v) => v.string(schema.valueInfo.name, `v${i}`)),
            ),
          ),
          numbered(100_000, (i) =>
            message((out) =>
              out.message(schema.graph.node, (n) =>
                n
                  .string(schema.node.output, `o${i}`)
                  .string(schema.node.opType, 'If')
                  .message(schema.node.attribute, (a) => a.raw(Uint8Array.of(0x32, 0))),
              ),
            ),
          ),
        ]),
      ),
    message: /more than 1000000 nodes/,
  },
  'functions that call functions': { bytes: () => laughs(40), message: /amounts to \d{13} nodes and names/ },
  'functions in a long chain': { bytes: () => laughs(5000), message: /more than 64 deep/ },
  'many external files': {
    bytes: () =>
      graphOf(
        numbered(30_000, (i) =>
          message((out) =>
            out.message(schema.graph.initializer, (t) =>
              t
                .int(schema.tensor.dims, 0)
                .int(schema.tensor.dataType, 1)
                .string(schema.tensor.name, `t${i}`)
                .message(schema.tensor.externalData, (e) =>
                  e.string(schema.entry.key, 'location').string(schema.entry.value, `w${i}`),
                )
                .int(schema.tensor.dataLocation, 1),
            ),
          ),
        ),
      ),
    message: /more than 20000 external files/,
  },
  'a declared length beyond the file': {
    bytes: () =>
      concat([Uint8Array.of(8, 8, 0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f), repeated(100, Uint8Array.of(1))]),
    message: /does not fit into the 100 that are left/,
  },
}

describe('files that were made to exhaust time or memory', () => {
  // Opens a small model and then the large file in a process of its own, whose memory tells what the file cost.
  const source = (path: string) => JSON.stringify(fileURLToPath(new URL(path, import.meta.url)))
  beforeAll(async () => {
    put(
      'child/entry.ts',
      `import { existsSync, readFileSync } from 'node:fs'
       import { openModel } from ${source('../../src/formats/open-model.ts')}
       import { nodeFiles } from ${source('../../src/platform/node.ts')}
       const [small, large] = process.argv.slice(2)
       await openModel(small, nodeFiles)
       // Largest resident memory so far. On Linux that of resourceUsage is inherited from the parent.
       const peak = () => {
         const status = existsSync('/proc/self/status') ? readFileSync('/proc/self/status', 'utf8') : ''
         return Number(/VmHWM:\\s*(\\d+) kB/.exec(status)?.[1] ?? process.resourceUsage().maxRSS) / 1024
       }
       const before = peak()
       const start = process.cpuUsage()
       const message = await openModel(large, nodeFiles).then(
         () => 'read',
         (error) => error.name + ' ' + error.message,
       )
       // Of the processor: time on the clock tells what else the machine was at.
       const { user, system } = process.cpuUsage(start)
       const seconds = (user + system) / 1e6
       console.log(JSON.stringify({ message, seconds, megabytes: peak() - before }))`,
    )
    await build({
      configFile: false,
      logLevel: 'silent',
      root: at('child'),
      ssr: { noExternal: true, external: ['sharp'] },
      build: { ssr: at('child/entry.ts'), outDir: at('child/out'), minify: false },
    })
  })

  for (const [name, bomb] of Object.entries(bombs))
    test(name, async () => {
      const path = put('bomb.onnx', bomb.bytes())
      const fileMegabytes = statSync(path).size / 2 ** 20
      const child = at('child/out', readdirSync(at('child/out')).find((file) => /\.m?js$/.test(file))!)
      const { stdout } = await run(process.execPath, [child, at('net.onnx'), path])
      const { message, seconds, megabytes } = JSON.parse(stdout) as {
        message: string
        seconds: number
        megabytes: number
      }
      expect(message.replace(/^UserError .*?bomb\.onnx: /, '')).toMatch(bomb.message)
      if (message !== 'read') expect(message).toMatch(/^UserError /)
      expect(message.length).toBeLessThan(2500)
      expect(seconds).toBeLessThan(5)
      expect(megabytes).toBeLessThan(6 * fileMegabytes + 200)
    })
})
