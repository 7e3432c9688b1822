import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import type { Noise } from '../../src/analysis/facts.ts'
import { factsOf } from '../../src/analysis/index.ts'
import { check } from '../../src/commands/check.ts'
import { save } from '../../src/commands/save.ts'
import type { ModelFile } from '../../src/formats/define-format.ts'
import { concat, encodeModel } from '../../src/formats/onnx/index.ts'
import { openModel } from '../../src/formats/open-model.ts'
import { applyEdits, type Edit, type NoiseNode } from '../../src/ir/edit.ts'
import { UserError } from '../../src/ir/errors.ts'
import { keyOf, type Model } from '../../src/ir/model.ts'
import { uniform } from '../../src/ir/random.ts'
import { type DataType, Tensor } from '../../src/ir/tensor.ts'
import { nodeFiles } from '../../src/platform/node.ts'
import { memoryFiles } from '../../src/platform/web.ts'
import { toMode } from '../../src/rewrite/modes/mode.ts'
import { noiseNode } from '../../src/rewrite/repairs/noise-nodes.ts'
import { createSession } from '../../src/runtime/session.ts'

const root = fileURLToPath(new URL('../oracle/tfjs/', import.meta.url))
const recorded = readdirSync(root)
const folder = mkdtempSync(join(tmpdir(), 'varshift-tfjs-'))
afterAll(() => rmSync(folder, { recursive: true }))

interface Recorded {
  inputs: { name: string; dims: number[]; dataType: DataType; values: number[] }[]
  outputs: { dims: number[]; values: number[] }[]
}

const open = (name: string) => openModel(join(root, name, 'model.json'), nodeFiles)

/** The files of a recorded model, to be held in memory and changed. */
const contentsOf = (name: string) =>
  new Map(
    readdirSync(join(root, name)).map((file) => [file, new Uint8Array(readFileSync(join(root, name, file)))]),
  )

const text = (json: unknown) => new TextEncoder().encode(JSON.stringify(json))
const parse = (bytes: Uint8Array | undefined) => JSON.parse(new TextDecoder().decode(bytes))

function editsFor({ model }: ModelFile): Edit[] {
  return factsOf(model).norms.map(({ key, mean }, i) => ({
    kind: 'set-running-statistics',
    node: key,
    mean: uniform(mean!.length, -1, 1, i),
    variance: uniform(mean!.length, 0.1, 2, i + 50),
  }))
}

const tensorsOf = ({ graph }: Model) =>
  new Map(
    [...graph.initializers].map(([name, { dataType, dims, bytes }]) => [name, { dataType, dims, bytes }]),
  )

/** The files of a recorded model with `edits` applied. */
function written(file: ModelFile, edits: readonly Edit[], contents: Map<string, Uint8Array>) {
  const files = new Map(contents)
  files.set('model.json', concat(file.write(edits)))
  for (const { name, chunks } of file.writeCompanions!(edits)) files.set(name, concat(chunks))
  return files
}

describe.each(recorded)('%s', (name) => {
  test('computes what TensorFlow.js computes', async () => {
    const { model } = await open(name)
    const { inputs, outputs } = parse(readFileSync(join(root, name, 'expected.json'))) as Recorded
    const session = await createSession(encodeModel(toMode(model, 'eval')))
    const results = await session.run(
      new Map(inputs.map(({ name, dims, dataType, values }) => [name, Tensor.of(dataType, dims, values)])),
    )
    await session.release()
    for (const [i, { dims, values }] of outputs.entries()) {
      const result = results.get(model.graph.outputs[i]!.name)!
      expect(result.dims).toEqual(dims)
      const worst = result
        .toNumbers()
        .reduce((most, value, k) => Math.max(most, Math.abs(value - values[k]!)), 0)
      expect(worst).toBeLessThan(1e-4)
    }
  })

  test('is written as it is edited, and else stays byte for byte', async () => {
    const contents = contentsOf(name)
    const file = await openModel('model.json', memoryFiles(contents))
    expect(concat(file.write([]))).toBe(contents.get('model.json'))
    expect(file.writeCompanions!([])).toEqual([])
    const edits = editsFor(file)
    const shared = edits.length - new Set(factsOf(file.model).norms.map(({ node }) => node.inputs[3])).size
    if (shared > 0) {
      expect(() => file.write(edits)).toThrow(UserError)
      return
    }
    const again = await openModel('model.json', memoryFiles(written(file, edits, contents)))
    expect(tensorsOf(again.model)).toEqual(tensorsOf(applyEdits(file.model, edits)))
  })
})

describe('quantised weights', () => {
  test('that cannot hold new statistics become float32, alone', async () => {
    const contents = contentsOf('quantized-mixed')
    const file = await openModel('model.json', memoryFiles(contents))
    const [edit] = editsFor(file)
    const files = written(file, [edit!], contents)
    const [before, after] = [parse(contents.get('model.json')), parse(files.get('model.json'))]
    const norm = factsOf(file.model).norms[0]!
    const changed: string[] = []
    for (const [group, { weights }] of before.weightsManifest.entries())
      for (const [i, spec] of weights.entries()) {
        const now = after.weightsManifest[group].weights[i]
        if (JSON.stringify(now) === JSON.stringify(spec)) continue
        changed.push(spec.name)
        const { quantization: _, ...rest } = spec
        expect(now).toEqual(rest)
      }
    expect(changed.sort()).toEqual([norm.node.inputs[3], norm.node.inputs[4]].sort())
    expect({ ...after, weightsManifest: 0 }).toEqual({ ...before, weightsManifest: 0 })
    const shards = [...files].filter(([name, bytes]) => bytes !== contents.get(name)).map(([name]) => name)
    expect(shards).toHaveLength(3)
  })

  test('that can hold them stay as they are', async () => {
    const contents = contentsOf('quantized-uint8')
    const file = await openModel('model.json', memoryFiles(contents))
    const { mean, variance, key } = factsOf(file.model).norms[0]!
    const swapped = [...variance!]
    swapped.reverse()
    const edit: Edit = {
      kind: 'set-running-statistics',
      node: key,
      mean: mean!,
      variance: Float64Array.from(swapped),
    }
    expect(concat(file.write([edit]))).toBe(contents.get('model.json'))
    const again = await openModel('model.json', memoryFiles(written(file, [edit], contents)))
    expect([...factsOf(again.model).norms[0]!.variance!]).toEqual(swapped)
  })

  test('in a manifest that is laid out over lines lose one entry and its comma', async () => {
    const contents = contentsOf('quantized-uint8')
    const json = parse(contents.get('model.json'))
    for (const { weights } of json.weightsManifest)
      for (const [i, spec] of weights.entries())
        if (i % 2) {
          const { quantization, ...rest } = spec
          // First in its object, and with a text that looks like structure.
          for (const key of Object.keys(spec)) delete spec[key]
          Object.assign(spec, { quantization: { note: '}],"\\"', ...quantization }, ...rest })
        }
    contents.set('model.json', new TextEncoder().encode(`\uFEFF ${JSON.stringify(json, null, 2)}\n`))
    const file = await openModel('model.json', memoryFiles(contents))
    const edits = editsFor(file)
    const again = await openModel('model.json', memoryFiles(written(file, edits, contents)))
    expect(tensorsOf(again.model)).toEqual(tensorsOf(applyEdits(file.model, edits)))
  })
})

describe('saving', () => {
  test('writes the model and its shards elsewhere, in place, and never over another model', async () => {
    const [source, target, other] = ['source', 'target', 'other'].map((name) => join(folder, name))
    cpSync(join(root, 'dense'), source!, { recursive: true })
    mkdirSync(target!)
    mkdirSync(other!)
    const before = readdirSync(source!).map((name) => readFileSync(join(source!, name)))
    const file = await openModel(join(source!, 'model.json'), nodeFiles)
    const edits = editsFor(file)
    await save(file, edits, join(target!, 'model.json'), nodeFiles)
    expect(readdirSync(target!).sort()).toEqual(
      readdirSync(source!)
        .filter((name) => name !== 'expected.json')
        .sort(),
    )
    const moved = await openModel(join(target!, 'model.json'), nodeFiles)
    expect(tensorsOf(moved.model)).toEqual(tensorsOf(applyEdits(file.model, edits)))
    await expect(save(file, edits, join(source!, 'fixed.json'), nodeFiles)).rejects.toThrow(
      /also changes 'weights0-\d\.bin', which the model there uses; write into another folder, or --in-place/,
    )
    writeFileSync(join(other!, 'weights0-1.bin'), 'mine')
    await expect(save(file, edits, join(other!, 'model.json'), nodeFiles)).rejects.toThrow(/would overwrite/)
    expect(readdirSync(other!)).toEqual(['weights0-1.bin'])
    expect(readdirSync(source!).map((name) => readFileSync(join(source!, name)))).toEqual(before)
    await save(file, edits, join(source!, 'model.json'), nodeFiles, { inPlace: true })
    const replaced = await openModel(join(source!, 'model.json'), nodeFiles)
    expect(tensorsOf(replaced.model)).toEqual(tensorsOf(moved.model))
  })
})

interface GraphNode {
  name: string
  op?: string
  input?: unknown[]
  attr?: unknown
}

/** A graph model in TensorFlow's JSON: a batch normalization that survived, behind a convolution. */
function graphModel(changes: (node: GraphNode[]) => unknown = () => {}) {
  const attr = { dtype: { type: 'DT_FLOAT' } }
  const constants = ['kernel', 'gamma', 'beta', 'mean', 'variance']
  const node: GraphNode[] = [
    {
      name: 'bn/FusedBatchNormV3',
      op: 'FusedBatchNormV3',
      input: ['conv', ...constants.slice(1)],
      attr: { epsilon: { f: 0.001 }, is_training: { b: false }, data_format: { s: 'TkhXQw==' } },
    },
    {
      name: 'x',
      op: 'Placeholder',
      attr: {
        ...attr,
        shape: { shape: { dim: [{ size: '-1' }, { size: '4' }, { size: '4' }, { size: '1' }] } },
      },
    },
    ...constants.map((name) => ({ name, op: 'Const', attr })),
    { name: 'conv', op: 'Conv2D', input: ['x', 'kernel'], attr: {} },
    { name: 'y', op: 'Relu', input: ['bn/FusedBatchNormV3:0', '^conv'] },
  ]
  changes(node)
  const weights = constants.map((name) => ({
    name,
    shape: name === 'kernel' ? [1, 1, 1, 2] : [2],
    dtype: 'float32',
  }))
  const values = Float32Array.of(1, -1, 0.5, 2, 0.1, 0.2, 0, 0, 1, 1)
  return new Map([
    [
      'model.json',
      text({
        format: 'graph-model',
        modelTopology: { node, versions: {} },
        weightsManifest: [{ paths: ['w'], weights }],
      }),
    ],
    ['w', new Uint8Array(values.buffer)],
  ])
}

describe('graph models', () => {
  test('are checked for the batch normalizations that survived, and written back', async () => {
    const contents = graphModel()
    const file = await openModel('model.json', memoryFiles(contents))
    const [norm] = factsOf(file.model).norms
    expect(norm).toMatchObject({ label: 'bn', epsilon: 0.001 })
    expect(
      check(file)
        .findings.map(({ rule }) => rule)
        .sort(),
    ).toEqual(['folded-or-stripped', 'never-updated-batch-norm'])
    await expect(createSession(encodeModel(toMode(file.model, 'eval')))).rejects.toThrow(/Conv2D/)
    const edits = editsFor(file)
    expect(concat(file.write([]))).toBe(contents.get('model.json'))
    const again = await openModel('model.json', memoryFiles(written(file, edits, contents)))
    expect(tensorsOf(again.model)).toEqual(tensorsOf(applyEdits(file.model, edits)))
  })

  test('say what is gone', async () => {
    const { notes } = await openModel('model.json', memoryFiles(graphModel()))
    expect(notes).toEqual([expect.stringMatching(/noise is gone.*all but its batch normalizations/)])
    const folded = graphModel((nodes) => {
      nodes[0] = { name: 'bn/FusedBatchNormV3', op: 'Relu', input: ['conv'] }
    })
    const other = await openModel('model.json', memoryFiles(folded))
    expect(other.notes).toEqual([expect.stringMatching(/it holds no batch normalization: .* folded/)])
  })

  test.each<[string, (node: GraphNode[]) => unknown, RegExp]>([
    [
      'a loop',
      (n) => n.at(-2)!.input!.push('y'),
      /node '.*' of the graph model lies in a loop.*tfjs_layers_model/,
    ],
    [
      'a missing node',
      (n) => n.at(-1)!.input!.push('z:3'),
      /'y' of the graph model reads 'z', which is not there/,
    ],
    [
      'two of one name',
      (n) => n.push({ name: 'y', op: 'Relu' }),
      /two nodes of the graph model are called 'y'/,
    ],
    ['too few inputs', (n) => n[0]!.input!.pop(), /'bn\/FusedBatchNormV3' has 4 inputs, expected 5/],
    ['no operator', (n) => delete n[1]!.op, /node 1 of the graph model has no name or operator/],
    [
      'no names',
      (n) => {
        n[0]!.input = [5]
      },
      /reads what is no name/,
    ],
  ])('with %s are refused', async (_, changes, message) => {
    await expect(openModel('model.json', memoryFiles(graphModel(changes)))).rejects.toThrow(message)
  })
})

describe('bad files are refused in one line', () => {
  interface Json {
    modelTopology?: unknown
    weightsManifest: { paths: unknown[]; weights: Record<string, unknown>[] }[]
  }
  const cases: Record<string, [(json: Json, contents: Map<string, Uint8Array>) => unknown, RegExp]> = {
    'a missing shard': [
      (_, c) => c.delete('weights0-1.bin'),
      /weights0-1\.bin' of the weights manifest is missing; copy it beside/,
    ],
    'a short shard': [
      (_, c) => c.set('weights0-1.bin', c.get('weights0-1.bin')!.slice(0, 60)),
      /declares 1116 bytes of weights, but its 12 shards hold 1076: weights would be read from the wrong place/,
    ],
    'a long shard': [
      (_, c) => c.set('weights0-0.bin', new Uint8Array(101)),
      /declares 1116 bytes.*hold 1117/,
    ],
    'a path upwards': [
      (j) => j.weightsManifest[0]!.paths.splice(0, 1, '../weights0-0.bin'),
      /outside the model's folder/,
    ],
    'an absolute path': [
      (j) => j.weightsManifest[0]!.paths.splice(0, 1, '/etc/passwd'),
      /'\/etc\/passwd', outside the model's folder/,
    ],
    'an address': [
      (j) => j.weightsManifest[0]!.paths.splice(0, 1, 'https://example.org/w.bin'),
      /outside the model's folder/,
    ],
    'a file address': [
      (j) => j.weightsManifest[0]!.paths.splice(0, 1, 'file:///etc/passwd'),
      /outside the model's folder/,
    ],
    'an empty path': [(j) => j.weightsManifest[0]!.paths.splice(0, 1, ''), /outside the model's folder/],
    'a path twice': [
      (j) => j.weightsManifest[0]!.paths.splice(1, 1, 'weights0-0.bin'),
      /lists the shard 'weights0-0\.bin' twice/,
    ],
    'a path that is no text': [(j) => j.weightsManifest[0]!.paths.push(5), /lists a path that is no text/],
    'many shards': [
      (j) => {
        j.weightsManifest[0]!.paths = Array.from({ length: 20_001 }, (_, i) => `${i}`)
      },
      /names 20001 shards, expected at most 20000/,
    ],
    'a huge shape': [
      (j) => {
        j.weightsManifest[0]!.weights[0]!.shape = [2 ** 40, 2 ** 40]
      },
      /is declared larger than any file/,
    ],
    'a shape beyond all numbers': [
      (j) => {
        j.weightsManifest[0]!.weights[0]!.shape = Array(32).fill(2 ** 52)
      },
      /is declared larger than any file/,
    ],
    'a large shape': [
      (j) => {
        j.weightsManifest[0]!.weights[0]!.shape = [100_000, 100_000]
      },
      /declares 4000000\d+ bytes of weights, but/,
    ],
    'a negative shape': [
      (j) => {
        j.weightsManifest[0]!.weights[0]!.shape = [-6, -12]
      },
      /has the shape \[-6,-12\], expected a list of whole numbers/,
    ],
    'no shape': [
      (j) => delete j.weightsManifest[0]!.weights[0]!.shape,
      /has the shape nothing, expected a list/,
    ],
    'many axes': [
      (j) => {
        j.weightsManifest[0]!.weights[0]!.shape = Array(33).fill(1)
      },
      /has the shape \[1,/,
    ],
    'an unknown type': [
      (j) => {
        j.weightsManifest[0]!.weights[0]!.dtype = 'float8'
      },
      /is of type "float8", expected float32/,
    ],
    'numbers as texts': [
      (j) => {
        j.weightsManifest[0]!.weights.forEach((w) => {
          w.dtype = 'string'
        })
      },
      /declares \d+ bytes of weights, but its 12 shards hold 1116/,
    ],
    'unknown quantisation': [
      (j) => {
        j.weightsManifest[0]!.weights[0]!.quantization = { dtype: 'int4' }
      },
      /is quantised to "int4", expected/,
    ],
    'quantisation without scale': [
      (j) => {
        j.weightsManifest[0]!.weights[0]!.quantization = { dtype: 'uint8', min: 0 }
      },
      /without scale and min/,
    ],
    'a swapped shape': [
      (j) => (j.weightsManifest[0]!.weights[0]!.shape = [12, 6]),
      /has shape \[12, 6\], expected \[6, 12\]/,
    ],
    'a missing weight': [
      (j) => {
        j.weightsManifest[0]!.weights[0]!.name = 'other/kernel'
      },
      /its array 'kernel' is not in the weights manifest, which lists for it: .*bias/,
    ],
    'no topology': [(j) => delete j.modelTopology, /has no modelTopology, only weights/],
    'no config': [
      (j) => {
        j.modelTopology = {}
      },
      /configuration/,
    ],
    'no weights': [
      (j) => {
        j.weightsManifest = []
      },
      /its array 'kernel' is not in the weights manifest, which lists for it: nothing/,
    ],
    'a group that is none': [
      (j) => {
        j.weightsManifest = [5 as never]
      },
      /group 0 of the weights manifest does not list/,
    ],
    'a weight that is none': [
      (j) => {
        j.weightsManifest[0]!.weights[1] = null as never
      },
      /weight 1 of group 0 in the weights manifest has no name/,
    ],
  }
  test.each(Object.entries(cases))('%s', async (_, [change, message]) => {
    const contents = contentsOf('dense')
    const json = parse(contents.get('model.json'))
    change(json, contents)
    contents.set('model.json', text(json))
    const error = await openModel('model.json', memoryFiles(contents)).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(UserError)
    expect((error as Error).message).toMatch(message)
    expect((error as Error).message).not.toMatch(/\n/)
  })

  test.each([
    ['{"modelTopology": {"a": NaN}}', /no valid JSON \(.*NaN.*\); it may be truncated, or written with NaN/],
    ['{"modelTopology": ', /no valid JSON/],
    [`{"modelTopology": ${'['.repeat(100_000)}`, /nests more than 500 deep/],
    ['{"weightsManifest": []}', /has no modelTopology, only weights/],
    ['{"layers": []}', /this is a text file, not a model/],
  ])('%.30s', async (json, message) => {
    const files = memoryFiles(new Map([['model.json', new TextEncoder().encode(json)]]))
    await expect(openModel('model.json', files)).rejects.toThrow(message)
  })

  test.skipIf(process.platform === 'win32')('a shard that is a link out of the folder', async () => {
    const source = join(folder, 'linked')
    cpSync(join(root, 'dense'), source, { recursive: true })
    writeFileSync(join(folder, 'secret'), readFileSync(join(source, 'weights0-0.bin')))
    rmSync(join(source, 'weights0-0.bin'))
    symlinkSync(join(folder, 'secret'), join(source, 'weights0-0.bin'))
    await expect(openModel(join(source, 'model.json'), nodeFiles)).rejects.toThrow(/is a link that leads out/)
    expect(existsSync(join(folder, 'secret'))).toBe(true)
  })
})

describe('noise', () => {
  const told = ({ model }: { model: Model }) =>
    factsOf(model).noises.map(({ label, kind, parameter }) => `${label} ${kind} ${parameter.value}`)

  test('is replaced, taken away and put in where the layers are described', async () => {
    const contents = contentsOf('dense')
    const file = await openModel('model.json', memoryFiles(contents))
    const [dropout, gaussian] = factsOf(file.model).noises
    const replace = ({ key, nodes, input, output }: Noise, by: NoiseNode | undefined): Edit => ({
      kind: 'replace-noise',
      node: key,
      nodes: nodes.map(keyOf),
      input,
      output,
      by,
    })
    const noise = (kind: string, parameter: number, label: string) =>
      noiseNode(file.model, kind, parameter, { training: true, label })
    const last = file.model.graph.nodes.filter(({ opType }) => opType === 'Gemm').at(-1)!
    const edits: Edit[] = [
      replace(dropout!, noise('uout', 0.1, 'uout')),
      replace(gaussian!, undefined),
      {
        kind: 'insert-noise',
        node: keyOf(last),
        inputIndex: 0,
        noise: noise('moment-preserving', 0.25, 'before head'),
      },
      ...editsFor(file),
    ]
    const files = written(file, edits, contents)
    const again = await openModel('model.json', memoryFiles(files))
    expect(told(again)).toEqual([`${dropout!.label} uout 0.1`, 'before_head moment-preserving 0.25'])
    expect(
      told({ model: applyEdits(file.model, edits) }).map((line) => line.replace(/^\S+( head)?/, '')),
    ).toEqual(told(again).map((line) => line.replace(/^\S+/, '')))
    expect(again.notes).toEqual([])
    const run = async (model: Model) => {
      const session = await createSession(encodeModel(toMode(model, 'eval')))
      const { inputs } = parse(contents.get('expected.json')) as Recorded
      const results = await session.run(
        new Map(inputs.map(({ name, dims, values }) => [name, Tensor.float32(dims, values)])),
      )
      await session.release()
      return results.get(model.graph.outputs[0]!.name)!.bytes
    }
    expect(await run(again.model)).toEqual(await run(applyEdits(file.model, edits)))
    // Nothing else changes.
    const [before, after] = [parse(contents.get('model.json')), parse(files.get('model.json'))]
    expect({ ...after, modelTopology: 0 }).toEqual({ ...before, modelTopology: 0 })
    const classes = ({
      modelTopology,
    }: {
      modelTopology: { config: { layers: { class_name: string }[] } }
    }) => modelTopology.config.layers.map(({ class_name }) => class_name)
    expect(classes(after)).toEqual(
      classes(before)
        .map((name) => ({ Dropout: 'Uout', GaussianNoise: 'Activation' })[name] ?? name)
        .toSpliced(-1, 0, 'MomentPreservingDropout'),
    )
  })

  test('that is a setting of another layer is refused', async () => {
    const file = await open('recurrent')
    const noise = factsOf(file.model).noises[0]!
    const edit: Edit = {
      kind: 'replace-noise',
      node: noise.key,
      nodes: noise.nodes.map(keyOf),
      input: noise.input,
      output: noise.output,
      by: undefined,
    }
    expect(() => file.write([edit])).toThrow(
      /the noise of 'lstm_LSTM\d' is a setting of a LSTM layer, not a layer/,
    )
  })
})

test('a value of a model.json may be wrong: it is read or refused, in one line', async () => {
  const contents = contentsOf('recurrent')
  const source = contents.get('model.json')!
  const places = (held: unknown): { holder: Record<string, unknown>; key: string }[] =>
    typeof held !== 'object' || held === null
      ? []
      : Object.entries(held).flatMap(([key, inner]) => [
          { holder: held as Record<string, unknown>, key },
          ...places(inner),
        ])
  const odd = [null, -1, 0, 2, 1e300, '../x', [], {}, [[0]], 'LSTM']
  const count = places(parse(source)).length
  expect(count).toBeGreaterThan(300)
  for (let i = 0; i < count; i += 7) {
    const json = parse(source)
    const { holder, key } = places(json)[i]!
    holder[key] = odd[(i / 7) % odd.length]
    const files = memoryFiles(new Map([...contents, ['model.json', text(json)]]))
    try {
      check(await openModel('model.json', files))
    } catch (error) {
      if (!(error instanceof UserError)) throw new Error(`${i} ${key}`, { cause: error })
      expect(error.message).not.toMatch(/\n/)
    }
  }
})
