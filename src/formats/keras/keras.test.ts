import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { unzipSync, zipSync } from 'fflate'
import h5wasm from 'h5wasm'
import { describe, expect, it, test } from 'vitest'
import { check } from '../../commands/check.ts'
import { memoryFiles } from '../../platform/web.ts'
import { readModelBytes } from '../open-model.ts'
import { snakeCase } from './group-weights.ts'

const recorded = unzipSync(
  readFileSync(fileURLToPath(new URL('../../../test/oracle/keras-layers.zip', import.meta.url))),
)
const read = (bytes: Uint8Array, name = 'model') => readModelBytes(bytes, name, memoryFiles(new Map()))
const text = (value: string) => new TextEncoder().encode(value)
const members = (name: string) => unzipSync(recorded[name]!)
const overlap = () => members('keras3-overlap.keras')

let files = 0
/** An HDF5 file that `fill` makes, or that `change` makes of one. */
async function hdf5(
  fill: (file: InstanceType<typeof h5wasm.File>) => void,
  from?: Uint8Array,
): Promise<Uint8Array> {
  const { FS } = await h5wasm.ready
  const path = `/test-${files++}.h5`
  if (from) FS.writeFile(path, from)
  const file = new h5wasm.File(path, from ? 'a' : 'w')
  fill(file)
  file.close()
  const bytes = FS.readFile(path).slice()
  FS.unlink(path)
  return bytes
}

const asText = (value: unknown) => JSON.stringify(value)
const withConfig = (change: (config: { class_name: string; config: Record<string, unknown> }) => void) => {
  const all = overlap()
  const config = JSON.parse(new TextDecoder().decode(all['config.json']))
  change(config)
  return zipSync({ ...all, 'config.json': text(asText(config)) }, { level: 0 })
}

describe('refuses in one line, with the way out,', () => {
  const refused = async (bytes: Uint8Array | Promise<Uint8Array>, message: RegExp) => {
    const error = await read(await bytes).then(
      () => undefined,
      (error) => error,
    )
    expect(error).toHaveProperty('name', 'UserError')
    expect(error.message).toMatch(message)
    expect(error.message).not.toMatch(/\n/)
  }

  it('weights without layers', async () => {
    await refused(overlap()['model.weights.h5']!, /weights of a Keras model but not its layers.*model\.save/)
    const old = hdf5((file) => file.create_attribute('layer_names', ['dense']))
    await refused(old, /weights of a Keras model but not its layers/)
  })

  it('HDF5 files of others', () =>
    refused(
      hdf5((file) => void file.create_group('images')),
      /no Keras model/,
    ))

  it('layers without weights', async () => {
    const config = asText({
      class_name: 'Sequential',
      config: [{ class_name: 'Dense', config: { name: 'd', units: 2, batch_input_shape: [null, 3] } }],
    })
    await refused(
      hdf5((file) => file.create_attribute('model_config', config)),
      /no weights for layer 'd' \(Dense\)/,
    )
  })

  it('a missing array', () =>
    refused(
      hdf5((file) => {
        const group = file.get('model_weights/dense') as InstanceType<typeof h5wasm.Group>
        group.delete_attribute('weight_names')
        group.create_attribute('weight_names', ['dense/kernel', 'dense/gone'])
      }, recorded['keras3-overlap.h5']),
      /array 'model_weights\/dense\/dense\/(kernel|gone)' of layer 'dense' is missing/,
    ))

  it('an array that holds no numbers', () =>
    refused(
      hdf5((file) => {
        const group = file.get('model_weights/dense') as InstanceType<typeof h5wasm.Group>
        group.create_dataset({ name: 'words', data: ['six', 'seven'] })
        group.delete_attribute('weight_names')
        group.create_attribute('weight_names', ['words', 'words'])
      }, recorded['keras3-overlap.h5']),
      /array 'model_weights\/dense\/words' of layer 'dense' is of a type .* expected floating-point numbers/,
    ))

  it('a version of Keras that is not known', () => {
    const metadata = text(asText({ keras_version: '4.0.0' }))
    return refused(
      zipSync({ ...overlap(), 'metadata.json': metadata }),
      /Keras '4\.0\.0', expected version 1, 2 or 3/,
    )
  })

  it('subclassed models', () =>
    refused(
      withConfig((model) => {
        model.class_name = 'MyModel'
        model.config = { units: 3 }
      }),
      /'MyModel' is a subclassed model.*export it to ONNX: .*model\.export/,
    ))

  it('batch renormalization', () =>
    refused(
      withConfig(({ config }) => {
        const layer = (config.layers as { class_name: string; config: Record<string, unknown> }[]).find(
          ({ class_name }) => class_name === 'BatchNormalization',
        )!
        layer.config.renorm = true
      }),
      /layer 'batch_normalization_1' \(BatchNormalization\): it uses batch renormalization/,
    ))

  it('paths that climb out, and members that unpack without end', async () => {
    const bytes = zipSync({ ...overlap(), '../evil': text('x') })
    await refused(bytes, /leads out of the archive/)
    const bomb = zipSync({ ...overlap(), 'model.weights.h5': new Uint8Array(3e7) }, { level: 9 })
    await refused(bomb, /more than a model file unpacks to/)
  })

  it('a heap of texts that would be walked without end', () => {
    // Sizes have 64 bits in the file and 32 in the library: this one is 0 there.
    const bytes = recorded['keras3-overlap.h5']!.slice()
    const heap = Buffer.from(bytes.buffer).indexOf('GCOL')
    expect(heap).toBeGreaterThan(0)
    new DataView(bytes.buffer).setBigUint64(heap + 16 + 8, 19n << 32n, true)
    return refused(bytes, /a text does not lie in its heap/)
  })

  it('configurations that nest without end', () =>
    refused(
      zipSync(
        { ...overlap(), 'config.json': text(`{"a":${'['.repeat(1e6)}${']'.repeat(1e6)}}`) },
        { level: 0 },
      ),
      /nests more than 500 deep/,
    ))

  test.each(['keras3-overlap.keras', 'keras3-overlap.h5'])('%s cut short', async (name) => {
    const bytes = recorded[name]!
    for (let i = 1; i < 20; i++) await refused(bytes.slice(0, Math.floor((bytes.length * i) / 20)), /./)
  })
})

describe('matches arrays to layers', () => {
  it('by the order within their class where the groups note no names', async () => {
    const all = overlap()
    const weights = await hdf5((file) => {
      for (const path of file.paths())
        if (path.endsWith('/vars'))
          (file.get(path) as InstanceType<typeof h5wasm.Group>).delete_attribute('name')
    }, all['model.weights.h5'])
    const nameless = await read(zipSync({ ...all, 'model.weights.h5': weights }, { level: 0 }))
    const named = await read(recorded['keras3-overlap.keras']!)
    const numbers = (file: typeof named) =>
      [...file.model.graph.initializers.values()].map((tensor) => [...tensor.toNumbers()])
    expect(numbers(nameless)).toEqual(numbers(named))
  })

  it('in flat groups whose names have backslashes, as Windows wrote them', async () => {
    const all = overlap()
    const named = await read(recorded['keras3-overlap.keras']!)
    const source = await hdf5(() => {}, all['model.weights.h5'])
    const arrays = new Map<string, { data: Float32Array; shape: number[] }>()
    await hdf5((file) => {
      for (const path of file.paths()) {
        const entity = file.get(path)
        if (path.startsWith('layers/') && entity instanceof h5wasm.Dataset)
          arrays.set(path, { data: entity.value as Float32Array, shape: entity.shape! })
      }
    }, source)
    const weights = await hdf5((file) => {
      for (const [path, { data, shape }] of arrays) {
        const [container, layer, , index] = path.split('/')
        const name = `${container}\\${layer}`
        const group = file.keys().includes(name)
          ? (file.get(name) as InstanceType<typeof h5wasm.Group>)
          : file.create_group(name)
        const vars = group.keys().includes('vars')
          ? (group.get('vars') as InstanceType<typeof h5wasm.Group>)
          : group.create_group('vars')
        vars.create_dataset({ name: index!, data, shape, dtype: '<f4' })
      }
    })
    const flat = await read(zipSync({ ...all, 'model.weights.h5': weights }, { level: 0 }))
    const numbers = (file: typeof named) =>
      [...file.model.graph.initializers.values()].map((tensor) => [...tensor.toNumbers()])
    expect(numbers(flat)).toEqual(numbers(named))
  })

  it('with the names that Keras gives its groups', () =>
    expect(
      ['Conv2DTranspose', 'ReLU', 'BatchNormalizationV1', 'GlobalAveragePooling2D', 'LSTM'].map(snakeCase),
    ).toEqual(['conv2d_transpose', 're_lu', 'batch_normalization_v1', 'global_average_pooling2d', 'lstm']))
})

it('finds what does not need the layers that it does not know, and says which those are', async () => {
  const file = await read(recorded['custom.keras']!)
  expect(file.notes).toEqual([
    expect.stringMatching(/^wave: 'Wave' is no layer/),
    expect.stringMatching(/^plus_one: a Lambda holds Python code, which is never run/),
  ])
  const { findings } = check(file)
  expect(findings.filter(({ rule }) => rule.startsWith('dropout-')).map(({ at }) => at?.label)).toEqual([
    'bn',
    'bn_b',
  ])
})

it('leaves the other members of the archive as they were', async () => {
  const file = await read(recorded['keras3-overlap.keras']!)
  const norm = check(file).norms[0]!
  const chunks = file.write([
    {
      kind: 'set-running-statistics',
      node: norm.key,
      mean: new Float64Array(4).fill(2),
      variance: new Float64Array(4).fill(3),
    },
  ])
  const before = overlap()
  const after = unzipSync(Buffer.concat(chunks))
  expect(Object.keys(after)).toEqual(Object.keys(before))
  expect(after['config.json']).toEqual(before['config.json'])
  expect(after['metadata.json']).toEqual(before['metadata.json'])
  // Eight numbers of four bytes each.
  const [a, b] = [before['model.weights.h5']!, after['model.weights.h5']!]
  expect(a.filter((byte, i) => byte !== b[i]).length).toBeLessThanOrEqual(32)
})
