/**
 * Lets Keras 2 and 3 and TensorFlow.js load what varshift writes (running statistics and weights set, noise replaced,
 * taken away and put in, all at once), with the layers that `varshift layer` prints, and compares their eval outputs with varshift's own. Also
 * measures those layers in training mode. Needs the frameworks, so it is no test:
 *
 *   PYTHON=python TFJS=FOLDER npx jiti scripts/oracle/check-written.ts
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { unzipSync } from 'fflate'
import { factsOf } from '../../src/analysis/index.ts'
import { fix } from '../../src/commands/fix.ts'
import { parametersNotStored } from '../../src/commands/not-stored.ts'
import { save } from '../../src/commands/save.ts'
import { encodeNpz } from '../../src/data/npz-write.ts'
import type { ModelFile } from '../../src/formats/define-format.ts'
import { layerTexts } from '../../src/formats/layer-texts.ts'
import { encodeModel } from '../../src/formats/onnx/index.ts'
import { openModel } from '../../src/formats/open-model.ts'
import type { Edit } from '../../src/ir/edit.ts'
import { keyOf, labelOf } from '../../src/ir/model.ts'
import { uniform } from '../../src/ir/random.ts'
import { type DataType, Tensor } from '../../src/ir/tensor.ts'
import { nodeFiles } from '../../src/platform/node.ts'
import { toMode } from '../../src/rewrite/modes/mode.ts'
import { noiseNode } from '../../src/rewrite/repairs/noise-nodes.ts'
import { createSession } from '../../src/runtime/session.ts'
import { parametersOf } from '../../src/train/parameters.ts'

const here = fileURLToPath(new URL('.', import.meta.url))
const oracle = join(here, '../../test/oracle')
const folder = mkdtempSync(join(tmpdir(), 'varshift-written-'))
const kinds = ['uout', 'moment-preserving', 'gaussian', undefined] as const

interface Input {
  name: string
  dims: number[]
  dataType: DataType
  values: number[]
}

/** New statistics for every norm that does not share its own, and something else for every noise that is a layer. */
function editsFor(file: ModelFile): Edit[] {
  const { model } = file
  const { norms, noises } = factsOf(model)
  const readers = (value: string) => norms.filter(({ node }) => node.inputs[3] === value).length
  const statistics = norms
    .filter(({ node, mean }) => mean && readers(node.inputs[3]!) === 1)
    .map(
      ({ key, mean }, i): Edit => ({
        kind: 'set-running-statistics',
        node: key,
        mean: uniform(mean!.length, -1, 1, i),
        variance: uniform(mean!.length, 0.1, 2, i + 50),
      }),
    )
  const labels = noises.map(({ label }) => label)
  const replaced = noises
    .filter(({ label }) => /drop|noise|alpha|spatial/i.test(label) && !/gru|lstm|rnn/i.test(label))
    .filter(({ label }) => labels.indexOf(label) === labels.lastIndexOf(label))
    .map(({ key, nodes, input, output, label }, i): Edit => {
      const kind = kinds[i % kinds.length]
      return {
        kind: 'replace-noise',
        node: key,
        nodes: nodes.map(keyOf),
        input,
        output,
        by: kind && noiseNode(model, kind, 0.25, { training: true, label }),
      }
    })
  const head = model.graph.nodes
    .filter((node) => node.opType === 'Gemm' && !labelOf(node).includes('/'))
    .at(-1)
  const noise = noiseNode(model, 'dropout', 0.25, { training: true, label: 'dropout_before_head' })
  const inserted: Edit[] = head ? [{ kind: 'insert-noise', node: keyOf(head), inputIndex: 0, noise }] : []
  const left = new Set(parametersNotStored(file))
  const weights = parametersOf(model)
    .filter(({ value }) => !left.has(value))
    .map(
      ({ value, tensor }): Edit => ({
        kind: 'set-tensor',
        value,
        tensor: Tensor.float32(
          tensor.dims,
          tensor.toNumbers().map((v) => 0.9 * v + 0.01),
        ),
      }),
    )
  return [...statistics, ...weights, ...replaced, ...inserted]
}

const cases: { path: string; inputs: Input[]; outputs: number[][] }[] = []

async function write(name: string, source: string, target: string, inputs: Input[]): Promise<void> {
  const file = await openModel(source, nodeFiles)
  const edits = editsFor(file)
  await save(file, edits, target, nodeFiles)
  const { model } = await openModel(target, nodeFiles)
  const session = await createSession(encodeModel(toMode(model, 'eval')))
  const results = await session.run(
    new Map(inputs.map((input) => [input.name, Tensor.of(input.dataType, input.dims, input.values)])),
  )
  await session.release()
  const outputs = model.graph.outputs.map((output) => [...results.get(output.name)!.toNumbers()])
  cases.push({ path: target, inputs, outputs })
  console.log(`${name}: ${[...new Set(edits.map(({ kind }) => kind))].join(', ')}`)
}

for (const name of readdirSync(join(oracle, 'tfjs'))) {
  const { inputs } = JSON.parse(readFileSync(join(oracle, 'tfjs', name, 'expected.json'), 'utf8'))
  mkdirSync(join(folder, name))
  await write(name, join(oracle, 'tfjs', name, 'model.json'), join(folder, name, 'model.json'), inputs)
}
for (const archive of ['keras-layers.zip', 'keras-recurrent.zip']) {
  const members = unzipSync(readFileSync(join(oracle, archive)))
  for (const [name, bytes] of Object.entries(members)) {
    const [, base, suffix] = /^(keras[23]-.*)\.(keras|h5)$/.exec(name) ?? []
    const stated = members[`${base}.json`]
    if (!suffix || !stated) continue
    const recorded = JSON.parse(Buffer.from(stated).toString())
    const inputs: Input[] = Array.isArray(recorded.inputs)
      ? recorded.inputs
      : Object.entries(recorded.inputs as Record<string, { shape: number[]; values: number[] }>).map(
          ([name, { shape, values }]) => ({ name, dims: shape, dataType: 'float32', values }),
        )
    writeFileSync(join(folder, name), bytes)
    await write(name, join(folder, name), join(folder, `written-${name}`), inputs).catch((error) =>
      console.log(`${name}: not written: ${error.message}`),
    )
  }
}
writeFileSync(join(folder, 'cases.json'), JSON.stringify({ cases }))
writeFileSync(join(folder, 'varshift_layers.py'), layerTexts.keras)
writeFileSync(join(folder, 'varshift-layers.js'), layerTexts.tfjs)
/** Repairs the network that TensorFlow.js trained, on the data that it was trained on. */
async function repairTrained(source: string): Promise<void> {
  const bytes = readFileSync(join(source, 'x.bin'))
  const values = new Float32Array(new Uint8Array(bytes).buffer)
  const data = encodeNpz(new Map([['x', Tensor.float32([values.length / 16, 16], values)]]))
  writeFileSync(join(folder, 'x.npz'), data)
  const file = await openModel(join(source, 'model.json'), nodeFiles)
  const { edits, result } = await fix(file, { data: join(folder, 'x.npz'), modeSamples: 0 }, nodeFiles)
  mkdirSync(join(folder, 'repaired'))
  await save(file, edits, join(folder, 'repaired/model.json'), nodeFiles)
  console.log(`varshift fix of the trained network: ${result.repair?.reason}`)
}

const show = (command: string, args: string[], env: Record<string, string> = {}) => {
  const { status } = spawnSync(command, args, { env: { ...process.env, ...env }, stdio: 'inherit' })
  if (status !== 0) process.exitCode = 1
}
if (process.env.TFJS) {
  const tfjs = (part: string) => show(process.execPath, [join(here, 'check-written-tfjs.mjs'), folder, part])
  tfjs('compare')
  tfjs('train')
  await repairTrained(join(folder, 'trained'))
  tfjs('measure')
}
if (process.env.PYTHON)
  for (const legacy of ['0', '1'])
    show(process.env.PYTHON, [join(here, 'check_written.py'), folder], { TF_USE_LEGACY_KERAS: legacy })
