import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { strToU8, unzipSync, zipSync } from 'fflate'
import { describe, expect, test } from 'vitest'
import { factsOf } from '../../src/analysis/index.ts'
import { readModelBytes } from '../../src/formats/open-model.ts'
import { UserError } from '../../src/ir/errors.ts'
import { nodeFiles } from '../../src/platform/node.ts'

const recorded = unzipSync(readFileSync(fileURLToPath(new URL('../oracle/pytorch.zip', import.meta.url))))
const archive = recorded['mobile/train.pt2']!
const older = recorded['older/train.pt2']!
const state = recorded['older/state.pt']!
const safe = recorded['preresnet/state.safetensors']!
const read = (bytes: Uint8Array) => readModelBytes(bytes, 'model', nodeFiles)

type Members = Record<string, Uint8Array>

/** The archive with some members other than they are; undefined leaves one out. */
function changed(source: Uint8Array, changes: Record<string, Uint8Array | undefined>): Uint8Array {
  const members: Members = { ...unzipSync(source) }
  for (const [name, contents] of Object.entries(changes)) {
    if (contents) members[name] = contents
    else delete members[name]
  }
  return zipSync(members, { level: 0 })
}

const program = 'archive/models/model.json'
const config = 'archive/data/weights/model_weights_config.json'
const textOf = (name: string, source = archive) => Buffer.from(unzipSync(source)[name]!).toString()
interface Size {
  as_int: number
}
/** What the tests change of a program or of a list of weights. */
interface Json {
  schema_version: { major: number }
  graph_module: { graph: { nodes: { target: string }[] } }
  config: Record<
    string,
    {
      use_pickle: boolean
      tensor_meta: { dtype: number; layout: number; sizes: Size[]; strides: Size[]; storage_offset: Size }
    }
  >
}
const edited = (name: string, edit: (json: Json) => void, source = archive) => {
  const json = JSON.parse(textOf(name, source)) as Json
  edit(json)
  return changed(source, { [name]: strToU8(JSON.stringify(json)) })
}
const firstOf = (json: Json) => Object.values(json.config)[0]!

const header = (json: unknown, data = new Uint8Array(0)): Uint8Array => {
  const text = strToU8(JSON.stringify(json))
  const bytes = new Uint8Array(8 + text.length + data.length)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true)
  bytes.set(text, 8)
  bytes.set(data, 8 + text.length)
  return bytes
}

const norm = { dtype: 'F32', shape: [2], data_offsets: [0, 8] }

describe('one line says what is wrong', () => {
  const cases: Record<string, [Uint8Array, RegExp]> = {
    'an archive that is cut short': [archive.subarray(0, archive.length - 300), /damaged zip file/],
    'a program that is no JSON': [
      changed(archive, { [program]: strToU8('{"graph_module": ') }),
      /model\.json' is no JSON/,
    ],
    'a program of another shape': [
      changed(archive, { [program]: strToU8('{"graph_module": 3}') }),
      /no exported program.*graph_module/,
    ],
    'JSON that is nested too deep': [
      changed(archive, { [program]: strToU8('['.repeat(300_000)) }),
      /model\.json' is no (JSON|exported)/,
    ],
    'a newer schema': [
      edited(program, (json) => {
        json.schema_version.major = 99
      }),
      /schema version 99.*newer/,
    ],
    'a member that is missing': [
      changed(archive, { 'archive/data/weights/weight_3': undefined }),
      /weight_3' is missing/,
    ],
    'weights that are missing': [
      changed(archive, { [config]: strToU8('{"config": {}}') }),
      /reads '.*', but the file holds no tensor/,
    ],
    'weights that are short': [
      changed(archive, { 'archive/data/weights/weight_0': new Uint8Array(4) }),
      /needs \d+ bytes of its storage, which holds 4/,
    ],
    'an unknown element type': [
      edited(config, (json) => {
        firstOf(json).tensor_meta.dtype = 77
      }),
      /element type 77/,
    ],
    'sparse weights': [
      edited(config, (json) => {
        firstOf(json).tensor_meta.layout = 1
      }),
      /sparse/,
    ],
    'pickled weights': [
      edited(config, (json) => {
        firstOf(json).use_pickle = true
      }),
      /pickled as a tensor of a class/,
    ],
    'negative strides': [
      edited(config, (json) => {
        firstOf(json).tensor_meta.strides[0]!.as_int = -1
      }),
      /impossible strides/,
    ],
    'a view beyond its storage': [
      edited(config, (json) => {
        firstOf(json).tensor_meta.storage_offset.as_int = 1e9
      }),
      /needs \d+ bytes of its storage/,
    ],
    'a tensor of many copies of one number': [
      edited(config, (json) => {
        const meta = firstOf(json).tensor_meta
        meta.sizes = [{ as_int: 1e6 }, { as_int: 1e5 }]
        meta.strides = [{ as_int: 0 }, { as_int: 0 }]
      }),
      /spread out of a storage/,
    ],
    'a path that climbs out': [changed(archive, { '../../evil': strToU8('x') }), /leads out of the archive/],
    'a program that is a zip bomb': [
      zipSync({ ...unzipSync(archive), [program]: new Uint8Array(8e7) }, { level: 9 }),
      /more than a model file unpacks to/,
    ],
    'two programs': [changed(archive, { 'archive/models/other.json': strToU8('{}') }), /holds 2 programs/],
    'an older archive without weights': [
      changed(older, { 'serialized_state_dict.pt': undefined }),
      /holds no tensor of that name/,
    ],
    'an older archive whose weights are none': [
      changed(older, { 'serialized_state_dict.pt': strToU8('weights') }),
      /serialized_state_dict\.pt' is a damaged zip/,
    ],
    'a state dictionary that calls a function': [
      changed(state, {
        'archive/data.pkl': Buffer.from('\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.', 'latin1'),
      }),
      /'posix\.system'.*never executed/,
    ],
    'a state dictionary without its numbers': [
      changed(state, { 'archive/data/0': undefined }),
      /data\/0' is missing/,
    ],
    'big-endian numbers': [changed(state, { 'archive/byteorder': strToU8('big') }), /big-endian/],
    'a state dictionary without norms': [
      header({ weight: norm }, new Uint8Array(8)),
      /holds 1 tensors but no running statistics/,
    ],
    'a header that claims more than the file': [
      header({ a: norm }).subarray(0, 20),
      /claims \d+ bytes, the file holds 12/,
    ],
    'a header that is no JSON': [header('x').fill(0x7b, 8, 9), /no JSON/],
    'offsets beyond the file': [header({ 'bn.running_mean': norm }), /claims bytes 0 to 8 of 0/],
    'a shape that does not fit its bytes': [
      header({ a: { ...norm, shape: [3] } }, new Uint8Array(8)),
      /expected 12/,
    ],
    'a negative shape': [
      header({ a: { ...norm, shape: [-2] } }, new Uint8Array(8)),
      /no type, shape and offsets/,
    ],
  }
  test.each(Object.entries(cases))('%s', async (_, [bytes, message]) => {
    const error = await read(bytes).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(UserError)
    expect((error as UserError).message).toMatch(message)
    expect((error as UserError).message).not.toMatch(/\n/)
  })
})

test('an operator that ONNX lacks is kept: findings come, running names it and its layer', async () => {
  const bytes = edited(program, (json) => {
    const node = json.graph_module.graph.nodes.find(({ target }: { target: string }) =>
      target.includes('hardswish'),
    )
    node!.target = 'torch.ops.mine.strange.default'
  })
  const file = await read(bytes)
  expect(file.notes).toEqual([
    expect.stringMatching(/^1\.expand\.2: 'mine\.strange\.default' is not carried over/),
  ])
  expect(factsOf(file.model).norms.length).toBe(6)
  const { toMode } = await import('../../src/rewrite/modes/mode.ts')
  expect(() => toMode(file.model, 'eval')).toThrow(/cannot be run: '1\.expand\.2' \(mine\.strange\.default\)/)
})

/** Reads the file and looks at everything in it, or refuses it with a UserError. */
async function readAll(bytes: Uint8Array): Promise<void> {
  try {
    const file = await read(bytes)
    factsOf(file.model)
    for (const tensor of file.model.graph.initializers.values()) void tensor.bytes
    file.write([])
  } catch (error) {
    if (!(error instanceof UserError)) throw error
  }
}

describe('whatever is changed, the file is read or refused with a UserError', () => {
  const sources = { archive, older, state, safe }
  test.each(Object.entries(sources))(
    'bytes of %s',
    async (_, source) => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.nat(source.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
          async (changes) => {
            const bytes = source.slice()
            for (const [at, value] of changes) bytes[at] = value
            await readAll(bytes)
          },
        ),
        { numRuns: 60 },
      )
    },
    60_000,
  )

  test('values of the program', async () => {
    const text = textOf(program)
    const scalars = [...text.matchAll(/"[^"\\]*"|-?\d+(?:\.\d+)?|true|false|null/g)]
    const others = ['null', '0', '-1', '1e300', '"x"', '[]', '{}', 'true', '9223372036854775807']
    await fc.assert(
      fc.asyncProperty(fc.nat(scalars.length - 1), fc.constantFrom(...others), async (which, other) => {
        const found = scalars[which]!
        // Keys stay strings, or it would be no JSON.
        const isKey = /^\s*:/.test(
          text.slice(found.index + found[0].length, found.index + found[0].length + 2),
        )
        const value = isKey ? '"x"' : other
        const changedText = text.slice(0, found.index) + value + text.slice(found.index + found[0].length)
        await readAll(changed(archive, { [program]: strToU8(changedText) }))
      }),
      { numRuns: 150 },
    )
  }, 60_000)

  test('bytes of a pickle', async () => {
    const pickle = unzipSync(state)['archive/data.pkl']!
    await fc.assert(
      fc.asyncProperty(fc.nat(pickle.length - 1), fc.nat(255), async (at, value) => {
        const bytes = pickle.slice()
        bytes[at] = value
        await readAll(changed(state, { 'archive/data.pkl': bytes }))
      }),
      { numRuns: 150 },
    )
  }, 60_000)
})
