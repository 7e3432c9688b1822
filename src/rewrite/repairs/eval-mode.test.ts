import { expect, test } from 'vitest'
import { factsOf } from '../../analysis/index.ts'
import { concat, encodeModel } from '../../formats/onnx/index.ts'
import { readModel } from '../../formats/onnx/read.ts'
import { applyToFile } from '../../formats/onnx/write.ts'
import { applyEdits } from '../../ir/edit.ts'
import type { Model } from '../../ir/model.ts'
import { uniform } from '../../ir/random.ts'
import { Tensor } from '../../ir/tensor.ts'
import { parseModel } from '../../ir/text.ts'
import { createSession } from '../../runtime/session.ts'
import { toMode } from '../modes/mode.ts'
import { evalMode } from './eval-mode.ts'

const net = (opset: number, nodes: string, more = '') =>
  parseModel(`
    <ir_version: 8, opset_import: ["": ${opset}]>
    net (float32[N, 4, 3, 3] x${more}) => (float32[N, 4, 3, 3] y)
    <float32[4] g = {1, 2, 0.5, 1}, float32[4] b = {0, 1, -1, 0.5}, float32[4] m = fill(0.2), float32[4] v = {2, 1, 3, 0.5},
     float32 r = {0.5}, bool on = {1}> { ${nodes} }`)

const planned = (model: Model) =>
  evalMode.plan({ model, facts: factsOf(model), statistics: new Map(), choices: {} })

/** The file with the edits, read again: what the model with the edits is, too. */
function repaired(model: Model): Model {
  const bytes = encodeModel(model)
  const source = readModel(bytes)
  const written = readModel(
    concat(applyToFile(bytes, source.model, source.locations, planned(source.model))),
  ).model
  const applied = applyEdits(source.model, planned(source.model))
  const plain = ({ nodes, initializers }: Model['graph']) => [
    nodes.map(({ opType, inputs, outputs, attributes }) => ({ opType, inputs, outputs, attributes })),
    [...initializers.keys()].sort(),
  ]
  expect(plain(written.graph)).toEqual(plain(applied.graph))
  return written
}

async function outputsOf(model: Model): Promise<Float64Array> {
  const session = await createSession(encodeModel(model), { threads: 1 })
  const x = Tensor.float32([2, 4, 3, 3], uniform(72, -1, 1, 5))
  const outputs = await session.run(new Map([['x', x]]))
  await session.release()
  return outputs.get('y')!.toNumbers()
}

test.each([
  [
    17,
    'd, q = Dropout(x, r, on) e = Dropout(d, r, on) y, n, w = BatchNormalization <training_mode = 1, momentum = 0.9> (e, g, b, m, v)',
  ],
  [12, 'd = Dropout(x, r, on) y = BatchNormalization(d, g, b, m, v)'],
  [
    17,
    'n = RandomUniformLike <low = 0.5, high = 1.5> (x) d = Mul(x, n) y, s, w = BatchNormalization <training_mode = 1> (d, g, b, m, v)',
  ],
  // A type is taken from what was drawn, as PyTorch's newer exporter writes Dropout2d: it goes with the draw,
  [
    17,
    'u = RandomUniformLike(x) p = CastLike(r, u) k = GreaterOrEqual(u, p) c = Cast <to = 1> (k) h = Mul(x, c) d = Div(h, r) y = BatchNormalization(d, g, b, m, v)',
  ],
  // or the draw stays, where something else needs that type.
  [
    17,
    'u = RandomUniformLike(x) p = CastLike(r, u) k = GreaterOrEqual(u, p) c = Cast <to = 1> (k) h = Mul(x, c) d = Div(h, r) e = BatchNormalization(d, g, b, m, v) y = Add(e, p)',
  ],
])('a file of opset %s gives in use what eval mode gives', async (opset, nodes) => {
  const model = net(opset, nodes)
  const after = repaired(model)
  expect(await outputsOf(after)).toEqual(await outputsOf(toMode(model, 'eval')))
  expect(planned(after)).toEqual([])
  expect(await outputsOf(after)).toEqual(await outputsOf(after))
})

test('before opset 14 the outputs tell, before opset 7 an attribute as well', () => {
  const five = 'y, n, w, p, q = BatchNormalization(d, g, b, m, v)'
  const old = repaired(net(6, `d = Dropout <ratio = 0.3> (x) ${five}`))
  expect(old.graph.nodes.map(({ attributes }) => attributes.get('is_test')?.value)).toEqual([1, 1])
  expect(old.graph.nodes[1]!.outputs).toEqual(['y'])
  const nine = repaired(net(9, `d = Dropout <ratio = 0.3> (x) ${five}`))
  expect(nine.graph.nodes.map(({ attributes }) => [...attributes.keys()])).toEqual([['ratio'], []])
  expect(nine.graph.nodes[1]!.outputs).toEqual(['y'])
  for (const model of [old, nine]) expect(planned(model)).toEqual([])
})

test('what an input of the graph switches, and a file in eval mode, stay as they are', () => {
  const nodes = (mode: string) => `d = Dropout(x, r${mode}) y = BatchNormalization(d, g, b, m, v)`
  expect(planned(net(17, nodes(', training'), ', bool training'))).toEqual([])
  expect(planned(net(17, nodes('')))).toEqual([])
})

test('statistics that something reads are not taken away', () => {
  const model = net(
    17,
    'd, n, w = BatchNormalization <training_mode = 1> (x, g, b, m, v) z = Unsqueeze(n, axes) y = Mul(d, r)',
  )
  expect(() => planned(model)).toThrow(/'d' also gives away its updated statistics \('n'\)/)
})
