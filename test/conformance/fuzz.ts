/**
 * Damaged files for the readers, and what is to be done with each: what is read, or refused with a UserError in one line
 * within a bounded time, is fine, anything else a defect. `fuzz.test.ts` tries some of them, `npm run fuzz` as many as
 * there is time for.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { unzipSync, zipSync } from 'fflate'
import { factsOf } from '../../src/analysis/index.ts'
import { check } from '../../src/commands/check.ts'
import { encodeNpy } from '../../src/data/npy-write.ts'
import { encodeNpz } from '../../src/data/npz-write.ts'
import { openDataset } from '../../src/data/open.ts'
import { concat, encodeModel } from '../../src/formats/onnx/index.ts'
import { readModelBytes } from '../../src/formats/open-model.ts'
import { applyEdits, type Edit } from '../../src/ir/edit.ts'
import { UserError } from '../../src/ir/errors.ts'
import type { Model } from '../../src/ir/model.ts'
import { uniform } from '../../src/ir/random.ts'
import { Tensor } from '../../src/ir/tensor.ts'
import { parseModel } from '../../src/ir/text.ts'
import { memoryFiles } from '../../src/platform/web.ts'
import { toMode } from '../../src/rewrite/modes/mode.ts'

/**
 * A file that takes longer to be read or refused, in processor time, is a defect too; those tried are below a
 * megabyte.
 */
const slowMs = 5000
const processorMs = () => process.cpuUsage().user / 1000

const root = fileURLToPath(new URL('../oracle/', import.meta.url))
const recorded = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.onnx'))
  .sort()
  .map((name): Uint8Array => readFileSync(join(root, name)))
  .filter((bytes) => bytes.length < 2 ** 16)

const written = [
  `<ir_version: 8, opset_import: ["": 17, "local": 1]>
   net (float32[N, 2, 4, 4] x, bool flag) => (float32[N, 2, 4, 4] y)
   <float32[2] one = fill(1), float32[2] zero = fill(0), float32[2] mean = {0.5, -1}, float32[2] variance = {2, 3},
    float32[2, 2, 1, 1] w = uniform(-1, 1, 3), int64[3] index = {1, -2, 3}, string[2] words = {"a", "ü"}>
   {
     c = Conv <kernel_shape = [1, 1]> (x, w)
     d = Dropout (c)
     a = BatchNormalization (d, one, zero, mean, variance)
     b = local.norm (a, one, zero, mean, variance)
     m = Constant <value = float32[2] {1, 2}> ()
     e = BatchNormalization (b, one, zero, m, one)
     y = If <then_branch = t () => (p) { p = Relu(e) }, else_branch = f () => (q) { q = Identity(e) }> (flag)
   }
   <domain: "local", opset_import: ["": 17]>
   norm (x, s, b, m, v) => (z) { t = Relu(x)  z = BatchNormalization (t, s, b, m, v) }`,
  `<ir_version: 3, opset_import: ["": 7]>
   old (float32[N, 2] x, float32[2] one, float32[2] zero) => (float32[N, 2] y)
   <float32[2] one = fill(1), float32[2] zero = fill(0)>
   { d = Dropout <ratio = 0.5> (x)  y, m, v, sm, sv = BatchNormalization <spatial = 1> (d, one, zero, zero, one) }`,
].map((text) => encodeModel(parseModel(text)))

const x = Tensor.float32([9, 2, 3], uniform(54, -1, 1, 1))
const labels = Tensor.int64([9], [0, 1, 2, 0, 1, 2, 0, 1, 2])
const npz = ([0, 6] as const).map((deflate) =>
  encodeNpz(
    new Map([
      ['x', x],
      ['labels', labels],
    ]),
    { deflate },
  ),
)
const npy = [concat(encodeNpy(x)), concat(encodeNpy(labels))]
const idx = [Uint8Array.of(0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 3, ...new Uint8Array(24).fill(7))]

type Change =
  | { kind: 'set'; at: number; bytes: Uint8Array }
  | { kind: 'insert'; at: number; bytes: Uint8Array }
  | { kind: 'remove'; at: number; length: number }
  | { kind: 'repeat'; at: number; length: number; times: number }
  | { kind: 'move'; at: number; from: number; length: number }

/** Places are shares of the length, so that shrinking the file or its changes keeps them meaningful. */
const place = fc.noBias(fc.nat(2 ** 30 - 1)).map((n) => n / 2 ** 30)
const few = fc.nat({ max: 24 })
const single = fc.uint8Array({ minLength: 1, maxLength: 1 })
const interesting = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 4 }),
  fc.constantFrom(
    Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f),
    Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
    Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
    Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80),
    Uint8Array.of(0),
    Uint8Array.of(0x7f),
    Uint8Array.of(0x80),
  ),
)
/** Mostly bytes in place of others: what changes lengths is nearly always noticed at once. */
const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('set' as const), at: place, bytes: single }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('set' as const), at: place, bytes: interesting }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('insert' as const), at: place, bytes: interesting }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), at: place, length: few }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('repeat' as const),
      at: place,
      length: few,
      times: fc.nat({ max: 5 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('move' as const), at: place, from: place, length: few }),
  },
)

function changed(bytes: Uint8Array, changes: readonly Change[]): Uint8Array {
  let all = [...bytes]
  const index = (share: number) => Math.floor(share * all.length)
  for (const c of changes) {
    const at = index(c.at)
    if (c.kind === 'set') all.splice(at, c.bytes.length, ...c.bytes)
    if (c.kind === 'insert') all.splice(at, 0, ...c.bytes)
    if (c.kind === 'remove') all.splice(at, c.length)
    if (c.kind === 'repeat')
      all.splice(at, 0, ...Array.from({ length: c.times }, () => all.slice(at, at + c.length)).flat())
    if (c.kind === 'move') all.splice(at, 0, ...all.splice(index(c.from), c.length))
    if (all.length > 2 ** 20) all = all.slice(0, 2 ** 20)
  }
  return Uint8Array.from(all)
}

const mutated = (bases: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(fc.nat(bases.length - 1), fc.array(change, { minLength: 1, maxLength: 4 }))
    .map(([base, changes]) => changed(bases[base]!, changes))

const none = memoryFiles(new Map())
const read = (bytes: Uint8Array) => readModelBytes(bytes, 'model.onnx', none)

async function readOnnx(bytes: Uint8Array): Promise<void> {
  const { model } = await read(bytes)
  for (const tensor of model.graph.initializers.values()) void tensor.bytes
}

async function checkOnnx(bytes: Uint8Array): Promise<void> {
  const file = await read(bytes)
  check(file)
  for (const mode of ['train', 'eval', 'sample', 'calibrate'] as const)
    await read(encodeModel(toMode(file.model, mode)))
}

const meaningOf = ({ graph }: Model): string =>
  JSON.stringify({
    nodes: graph.nodes.map(({ opType, inputs, outputs }) => [opType, inputs, outputs]),
    inputs: graph.inputs.map(({ name }) => name).sort(),
    tensors: [...graph.initializers]
      .map(([name, tensor]) => [
        name,
        tensor.dims,
        tensor.strings ?? Buffer.from(tensor.bytes).toString('base64'),
      ])
      .sort(([a], [b]) => ((a as string) < (b as string) ? -1 : 1)),
  })

async function roundTrip(bytes: Uint8Array): Promise<void> {
  const file = await read(bytes)
  if (concat(file.write([])) !== bytes) throw new Error('writing without edits gives other bytes')
  const edits = factsOf(file.model).norms.flatMap(({ key, mean, variance }, i): Edit[] =>
    mean && variance
      ? [
          {
            kind: 'set-running-statistics',
            node: key,
            mean: uniform(mean.length, -1, 1, i),
            variance: uniform(variance.length, 0, 2, i + 1),
          },
        ]
      : [],
  )
  for (const list of [edits, edits.slice(0, 1)]) {
    const again = await read(concat(file.write(list)))
    if (meaningOf(again.model) !== meaningOf(applyEdits(file.model, list)))
      throw new Error('what was written reads otherwise than what was edited')
  }
}

/** TensorFlow.js models that were recorded, their shards named apart so that one folder holds those of all. */
const shards = new Map<string, Uint8Array>()
const modelJsons = readdirSync(join(root, 'tfjs')).map((name): Uint8Array => {
  const folder = join(root, 'tfjs', name)
  let text = readFileSync(join(folder, 'model.json'), 'utf8')
  for (const file of readdirSync(folder).filter((other) => !other.endsWith('.json'))) {
    shards.set(`${name}-${file}`, readFileSync(join(folder, file)))
    text = text.replaceAll(`"${file}"`, `"${name}-${file}"`)
  }
  return new TextEncoder().encode(text)
})

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** Values that fit nowhere, and some that fit in the wrong place. */
const oddValues: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(null, -1, 0, 1, 2, 3, 7, 1.5, 1e9, 2 ** 31, 2 ** 53, 1e300, true, '', '../x', [], {}),
  fc.constantFrom<Json>([null, 3], [[0, 1]], ['a', 0, 0], [1, 2, 3, 4], 'relu', 'channels_first', 'same'),
  fc.constantFrom<Json>(
    'Dense',
    'LSTM',
    'GRU',
    'Bidirectional',
    'TimeDistributed',
    'Flatten',
    'Add',
    'Masking',
  ),
)

/** Changes values of a JSON text, which stays one; each place is a share of the number of values. */
function withValues(bytes: Uint8Array, changes: readonly { at: number; value: Json }[]): Uint8Array {
  const json = JSON.parse(new TextDecoder().decode(bytes)) as Json
  for (const { at, value } of changes) {
    const places: { holder: Record<string, Json>; key: string }[] = []
    const collect = (held: Json) => {
      if (typeof held !== 'object' || held === null) return
      for (const [key, inner] of Object.entries(held)) {
        places.push({ holder: held as Record<string, Json>, key })
        collect(inner)
      }
    }
    collect(json)
    const place = places[Math.floor(at * places.length)]
    if (place) place.holder[place.key] = value
  }
  return new TextEncoder().encode(JSON.stringify(json))
}

const mutatedJson = fc
  .tuple(
    fc.nat(modelJsons.length - 1),
    fc.array(fc.record({ at: place, value: oddValues }), { minLength: 1, maxLength: 3 }),
  )
  .map(([base, changes]) => withValues(modelJsons[base]!, changes))

async function readTfjs(bytes: Uint8Array): Promise<void> {
  const files = (json: Uint8Array) => memoryFiles(new Map([...shards, ['model.json', json]]))
  const file = await readModelBytes(bytes, 'model.json', files(bytes))
  check(file)
  for (const mode of ['train', 'eval'] as const) await read(encodeModel(toMode(file.model, mode)))
  if (concat(file.write([])) !== bytes) throw new Error('writing without edits gives other bytes')
}

const readData =
  (name: string) =>
  async (bytes: Uint8Array): Promise<void> => {
    const dataset = await openDataset(name, memoryFiles(new Map([[name, bytes]])))
    for await (const { inputs, size, labels: own } of dataset.batches({ batchSize: 4 })) {
      for (const tensor of inputs.values()) void tensor.toNumbers()
      if (own && own.length !== size) throw new Error(`${own.length} labels for ${size} samples`)
    }
  }

const kerasFiles = unzipSync(readFileSync(join(root, 'keras-layers.zip')))
const kerasNames = ['keras3-shared', 'keras3-overlap', 'keras2-frozen', 'keras1-th', 'custom']
const h5 = kerasNames.map((name) => kerasFiles[`${name}.h5`]!)
const kerasZips = kerasNames.flatMap((name) => kerasFiles[`${name}.keras`] ?? [])
const pytorch = unzipSync(readFileSync(join(root, 'pytorch.zip')))
const programs = ['mobile/train.pt2', 'older/train.pt2'].map((name) => pytorch[name]!)
const states = ['older/state.pt', 'preresnet/state.safetensors'].map((name) => pytorch[name]!)

/** Archives of which one member is damaged, with true checksums. */
const damagedMember = (archives: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(
      fc.constantFrom(...archives.map((bytes) => unzipSync(bytes))),
      fc.nat(2 ** 16),
      fc.array(change, { minLength: 1, maxLength: 3 }),
    )
    .map(([members, which, changes]) => {
      const names = Object.keys(members)
      const name = names[which % names.length]!
      return zipSync({ ...members, [name]: changed(members[name]!, changes) }, { level: 0 })
    })

async function roundTripWithArrays(bytes: Uint8Array): Promise<void> {
  const file = await read(bytes)
  check(file)
  for (const tensor of file.model.graph.initializers.values()) void tensor.bytes
  await roundTrip(bytes)
}

const arbitrary = fc.uint8Array({ maxLength: 300 })

export interface FuzzTarget {
  readonly bytes: fc.Arbitrary<Uint8Array>
  /** Rejects with a UserError for what is refused, and with anything else for a defect. */
  readonly use: (bytes: Uint8Array) => Promise<void>
}

export const fuzzTargets: Readonly<Record<string, FuzzTarget>> = {
  onnx: { bytes: fc.oneof(mutated(written), mutated(recorded), arbitrary), use: readOnnx },
  check: { bytes: fc.oneof(mutated(written), mutated(recorded)), use: checkOnnx },
  'round-trip': { bytes: fc.oneof(mutated(written), mutated(recorded)), use: roundTrip },
  tfjs: { bytes: fc.oneof(mutatedJson, mutated(modelJsons)), use: readTfjs },
  keras: { bytes: fc.oneof(mutated(kerasZips), damagedMember(kerasZips)), use: roundTripWithArrays },
  'keras-h5': { bytes: mutated(h5), use: roundTripWithArrays },
  pt2: { bytes: fc.oneof(mutated(programs), damagedMember(programs)), use: roundTripWithArrays },
  'state-dict': {
    bytes: fc.oneof(mutated(states), damagedMember(states.slice(0, 1))),
    use: roundTripWithArrays,
  },
  npz: { bytes: fc.oneof(mutated(npz), arbitrary), use: readData('data.npz') },
  npy: { bytes: mutated(npy), use: readData('data.npy') },
  idx: { bytes: fc.oneof(mutated(idx), arbitrary), use: readData('images-idx3-ubyte') },
}

/** Whether a file was read; false if it was refused as it should be. Throws what is a defect. */
export async function tryFile({ use }: FuzzTarget, bytes: Uint8Array): Promise<boolean> {
  const start = processorMs()
  let isRead = true
  try {
    await use(bytes)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    if (/\n/.test(error.message)) throw new Error(`a message of several lines: ${error.message}`)
    isRead = false
  }
  if (processorMs() - start > slowMs) throw new Error(`${bytes.length} bytes take more than ${slowMs} ms`)
  return isRead
}
