import { readFileSync } from 'node:fs'
import { unzipSync } from 'fflate'
import { describe, expect, test } from 'vitest'
import { factsOf } from '../../src/analysis/index.ts'
import { concat, encodeModel } from '../../src/formats/onnx/index.ts'
import { readModelBytes } from '../../src/formats/open-model.ts'
import { applyEdits, type Edit } from '../../src/ir/edit.ts'
import { keyOf, labelOf, type Model } from '../../src/ir/model.ts'
import { uniform } from '../../src/ir/random.ts'
import { Tensor } from '../../src/ir/tensor.ts'
import { memoryFiles } from '../../src/platform/web.ts'
import { toMode } from '../../src/rewrite/modes/mode.ts'
import { noiseNode } from '../../src/rewrite/repairs/noise-nodes.ts'
import { createSession } from '../../src/runtime/session.ts'

/** That Keras itself loads what is written is checked by scripts/oracle/check-written.ts. */
const archive = unzipSync(readFileSync(new URL('../oracle/keras-layers.zip', import.meta.url)))
const open = (bytes: Uint8Array) => readModelBytes(bytes, 'model', memoryFiles(new Map()))
const names = Object.keys(archive).filter((name) =>
  /^keras[23]-(conv2d|noises|shared|double)\.(keras|h5)$/.test(name),
)

const kinds = ['uout', 'moment-preserving', 'gaussian', undefined] as const

describe.each(names)('noise in %s', (name) => {
  test('is replaced, taken away and put in where the layers are described', async () => {
    const file = await open(archive[name]!)
    const { noises } = factsOf(file.model)
    const labels = noises.map(({ label }) => label)
    const own = noises.filter(({ label }) => labels.indexOf(label) === labels.lastIndexOf(label))
    expect(own.length).toBeGreaterThan(0)
    const replacements = own.map((noise, i) => ({ noise, kind: kinds[i % kinds.length] }))
    const head = file.model.graph.nodes
      .filter((node) => node.opType === 'Gemm' && !labelOf(node).includes('/'))
      .at(-1)
    const noise = noiseNode(file.model, 'dropout', 0.25, { training: true, label: 'before head' })
    const edits: Edit[] = [
      ...replacements.map(
        ({ noise: { key, nodes, input, output, label }, kind }): Edit => ({
          kind: 'replace-noise',
          node: key,
          nodes: nodes.map(keyOf),
          input,
          output,
          by: kind && noiseNode(file.model, kind, 0.25, { training: true, label }),
        }),
      ),
      ...(head ? [{ kind: 'insert-noise', node: keyOf(head), inputIndex: 0, noise } as const] : []),
    ]
    const bytes = concat(file.write(edits))
    const again = await open(bytes)
    const told = ({ graph, ...rest }: Model) =>
      factsOf({ ...rest, graph }).noises.map(({ kind, parameter }) => `${kind} ${parameter.value}`)
    expect(told(again.model)).toEqual(told(applyEdits(file.model, edits)))
    for (const { noise, kind } of replacements)
      expect(factsOf(again.model).noises.find(({ label }) => label === noise.label)?.kind).toBe(kind)
    expect(await outputsOf(again.model)).toEqual(await outputsOf(applyEdits(file.model, edits)))
    expect(await outputsOf(again.model)).toEqual(await outputsOf(file.model))
  })
})

async function outputsOf(model: Model): Promise<Float64Array[]> {
  const session = await createSession(encodeModel(toMode(model, 'eval')))
  const feeds = model.graph.inputs.map(({ name, type }) => {
    const dims = type!.shape!.map((dim) => (typeof dim === 'number' ? dim : 2))
    const size = dims.reduce((n, dim) => n * dim, 1)
    return [name, Tensor.float32(dims, uniform(size, -1, 1, 3))] as const
  })
  const results = await session.run(new Map(feeds))
  await session.release()
  return model.graph.outputs.map(({ name }) => results.get(name)!.toNumbers())
}
