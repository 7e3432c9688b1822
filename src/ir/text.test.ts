import { expect, test } from 'vitest'
import { parseModel, printModel } from './text.ts'

const text = `
<ir_version: 8, opset_import: ["": 17, "local": 1]>
net (float32[N, 3, 8, 8] x, bool flag) => (float32[N, 2] y)
<float32[2] one = fill(1), float32[2, 3, 1, 1] w = uniform(-1, 1, 7), float32[2] m = {0.5, -2e-3}>
{
  # a comment
  [layer1.0.conv] h = Conv <kernel_shape = [1, 1], pads = [0, 0, 0, 0]> (x, w)
  n, _, mask = BatchNormalization <epsilon = 1e-5, training_mode = 1> (h, one, _, m, one)
  z = If <then_branch = a () => (t) { t = Identity(n) }, else_branch = b () => (e) { e = Relu(n) }> (flag)
  y = local.double <alpha = 2.0, name = "a b"> (z)
}
<domain: "local", opset_import: ["": 17]>
double <alpha> (p) => (q) { q = Add(p, p) }
`

test('text form reads nodes, attributes, subgraphs, initializers and functions', () => {
  const model = parseModel(text)
  expect(model.opsets).toEqual(
    new Map([
      ['', 17],
      ['local', 1],
    ]),
  )
  const [conv, norm, branch, call] = model.graph.nodes
  expect(conv).toMatchObject({ name: 'layer1.0.conv', opType: 'Conv', inputs: ['x', 'w'], outputs: ['h'] })
  expect(conv?.attributes.get('pads')).toEqual({ type: 'ints', value: [0, 0, 0, 0] })
  expect(norm?.outputs).toEqual(['n', '', 'mask'])
  expect(norm?.inputs[2]).toBe('')
  expect(branch?.attributes.get('then_branch')).toMatchObject({
    type: 'graph',
    value: { nodes: [{ opType: 'Identity' }] },
  })
  expect(call).toMatchObject({ opType: 'double', domain: 'local' })
  expect(call?.attributes.get('alpha')).toEqual({ type: 'float', value: 2 })
  expect([...(model.graph.initializers.get('one')?.toNumbers() ?? [])]).toEqual([1, 1])
  expect(model.graph.inputs[0]?.type?.shape).toEqual(['N', 3, 8, 8])
  expect(model.functions[0]).toMatchObject({ domain: 'local', name: 'double', attributes: ['alpha'] })
})

test('printing and reading gives the same model', () => {
  const model = parseModel(text)
  expect(printModel(parseModel(printModel(model)))).toBe(printModel(model))
  expect(parseModel(printModel(model)).graph.nodes).toEqual(model.graph.nodes)
})

test('a mistake names its line', () => {
  expect(() => parseModel('net (float32 x) => (float32 y)\n{\n  y = Relu x\n}')).toThrow(
    "line 3: expected '(', got 'x'",
  )
})
