import { describe, expect, test } from 'vitest'
import { encodeModel } from '../../formats/onnx/write.ts'
import { type Model, opsetOf } from '../../ir/model.ts'
import { uniform } from '../../ir/random.ts'
import { elementCount, isFloat, Tensor } from '../../ir/tensor.ts'
import { parseModel } from '../../ir/text.ts'
import { ops } from '../../ops/index.ts'
import { createSession } from '../../runtime/session.ts'
import { raiseOpset } from './raise-opset.ts'

const randomOps = /Random|Multinomial|Bernoulli/

async function outputsOf(model: Model): Promise<ReadonlyMap<string, Tensor>> {
  const session = await createSession(encodeModel(model), { threads: 1 })
  const feeds = new Map(
    model.graph.inputs
      .filter(({ name }) => !model.graph.initializers.has(name))
      .map(({ name, type }, i) => {
        const dims = type!.shape!.map((dim) => (typeof dim === 'number' ? dim : { N: 3, H: 5, W: 6 }[dim!]!))
        const floats = isFloat(type!.dataType!)
        const values = uniform(elementCount(dims), floats ? -1 : 0, floats ? 1 : 2, i + 1)
        return [name, Tensor.of(type!.dataType!, dims, floats ? values : values.map(Math.floor))]
      }),
  )
  const found = await session.run(new Map([...feeds].filter(([name]) => session.inputs.includes(name))))
  await session.release()
  return found
}

/** The model with all that `names` names as outputs. */
const giving = (model: Model, names: readonly string[]): Model => ({
  ...model,
  graph: { ...model.graph, outputs: names.map((name) => ({ name, type: undefined })), types: new Map() },
})

const more = [
  `<ir_version: 3, opset_import: ["": 7]> g (float32[2, 3, 4] x, float32[3] b) => () <float32[3] b = {1, 2, 3}> { c = BatchNormalization (x, b, b, b, b) d = Dropout <ratio = 0.3> (c) u = Upsample <scales = [1.0, 1.0, 2.0]> (d) }`,
  `<opset_import: ["": 8]> g (float32[2, 3, 4, 4] x) => () { a = Softmax (x) b = LogSoftmax <axis = 2> (x) c = Hardmax <axis = 3> (x) d, e = TopK <k = 2> (x) f = Pad <pads = [0, 0, 1, 0, 0, 0, 0, 2], value = 3.0> (x) h = Clip <min = 0.1> (x) }`,
  `<opset_import: ["": 10]> g (float32[2, 3, 4, 6] x) => () <float32[4] s = {1, 1, 2, 1.5}, float32[4] t = {1, 1, 0.5, 0.3}> { a = Resize (x, s) b = Resize <mode = "linear"> (x, s) c = Resize (x, t) }`,
  `<opset_import: ["": 9]> g (float32[2, 3, 4] x, bool c) => () { a = If <then_branch = t () => (p) { p = Softmax <axis = 1> (x) }, else_branch = e () => (q) { q = Clip <min = 0.0> (x) }> (c) }`,
  `<opset_import: ["": 11]> g (float32[1, 3, 4] x) => () { a = Squeeze (x) b = Unsqueeze <axes = [0]> (x) c, d, e = Split <axis = 1> (x) f = ReduceSum (x) }`,
]

describe('a raised model computes the same', () => {
  const samples = [...ops.flatMap((op) => op.samples), ...more].filter(
    (sample) => opsetOf(parseModel(sample)) < 17 && !randomOps.test(sample),
  )
  for (const sample of samples)
    test(sample.slice(0, 110), async () => {
      const model = parseModel(sample)
      const names = model.graph.nodes.flatMap((node) => node.outputs.filter(Boolean))
      const raised = raiseOpset(giving(model, names))
      expect(opsetOf(raised)).toBe(17)
      const expected = await outputsOf(giving(model, names))
      for (const [name, tensor] of await outputsOf(raised)) {
        const { dims, dataType } = expected.get(name)!
        expect({ name, dims: tensor.dims, dataType: tensor.dataType }).toEqual({ name, dims, dataType })
        const [a, b] = [tensor.toNumbers(), expected.get(name)!.toNumbers()]
        // Kernels of two versions may round differently.
        expect(a.every((v, i) => Math.abs(v - b[i]!) <= 1e-6 * Math.max(1, Math.abs(b[i]!)))).toBe(true)
      }
    })
})

test('a model that is new enough stays as it is, and one that is too old is refused', () => {
  const model = (opset: number) =>
    parseModel(`<opset_import: ["": ${opset}]> g (float32[2] x) => (y) { y = Relu (x) }`)
  const recent = model(17)
  expect(raiseOpset(recent)).toBe(recent)
  expect(() => raiseOpset(model(6))).toThrow(/opset 6, expected 7 or newer/)
})

test('old training forms of BatchNormalization get a training mode', () => {
  const old = (outputs: string, attributes = '') =>
    parseModel(
      `<opset_import: ["": 9]> g (float32[4, 2] x) => (y, m) <float32[2] a = {1, 2}> { ${outputs} = BatchNormalization ${attributes} (x, a, a, a, a) }`,
    )
  const [node] = raiseOpset(old('y, m, v, s, t')).graph.nodes
  expect(node?.attributes.get('training_mode')).toEqual({ type: 'int', value: 1 })
  expect(node?.outputs).toEqual(['y', 'm', 'v'])
  expect(() => raiseOpset(old('y, k, v, m, t'))).toThrow(/BatchNormalization as opset 9/)
})

test('the mask of an early Dropout keeps its type', () => {
  const early = parseModel(
    `<opset_import: ["": 9]> g (float64[2] x) => (y, m) { y, m = Dropout <ratio = 0.3> (x) }`,
  )
  const [dropout, cast] = raiseOpset(early).graph.nodes
  expect(cast).toMatchObject({ opType: 'Cast', inputs: [dropout?.outputs[1]], outputs: ['m'] })
  expect(cast?.attributes.get('to')).toEqual({ type: 'int', value: 11 })
})
