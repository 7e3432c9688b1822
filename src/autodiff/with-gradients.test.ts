import { expect, test } from 'vitest'
import { opsetOf } from '../ir/model.ts'
import { parseModel } from '../ir/text.ts'
import { minOpset, withGradients } from './with-gradients.ts'

const net = (body: string, more = '') =>
  parseModel(
    `g (float32[4, 3] x) => (loss) <float32[3, 3] w = uniform(-1, 1, 1), float32[3, 3] v = uniform(-1, 1, 2), int64[1] last = {-1}${more}> { ${body} loss = ReduceMean <keepdims = 0> (y) }`,
  )

const opTypes = (model: ReturnType<typeof parseModel>, after: ReturnType<typeof parseModel>) =>
  after.graph.nodes.slice(model.graph.nodes.length).map(({ opType }) => opType)

test('what no parameter depends on costs nothing', () => {
  const model = net('a = MatMul (x, w) b = Sigmoid (a) y = MatMul (b, v)')
  const all = withGradients(model, { loss: 'loss', wrt: ['w', 'v'] }).model
  const last = withGradients(model, { loss: 'loss', wrt: ['v'] }).model
  expect(opTypes(model, all).filter((opType) => opType === 'MatMul').length).toBe(3)
  expect(opTypes(model, last)).not.toContain('Sub')
  expect(opTypes(model, last).filter((opType) => opType === 'MatMul').length).toBe(1)
  expect(withGradients(model, { loss: 'loss', wrt: [] }).model.graph.nodes.length).toBe(
    model.graph.nodes.length,
  )
})

test('operators without a gradient are refused by name, all at once, unless they are frozen', () => {
  const model = net(
    '[first] a = LpNormalization (x) b = MatMul (a, w) [deep] c = LpNormalization (b) [odd] d = some.where.Unheard (c) y = MatMul (d, v)',
  )
  expect(() => withGradients(model, { loss: 'loss', wrt: ['w'] })).toThrow(
    /cannot train through LpNormalization at 'deep', some.where.Unheard at 'odd'/,
  )
  expect(() => withGradients(model, { loss: 'loss', wrt: ['v'] })).toThrow(
    /the loss 'loss' has an unknown type/,
  )
  const known = net(
    'a = LpNormalization (x) b = MatMul (a, w) c = LpNormalization (x) d = Add (b, c) y = MatMul (d, v)',
  )
  expect([...withGradients(known, { loss: 'loss', wrt: ['w', 'v'] }).gradients.keys()]).toEqual(['w', 'v'])
})

test('a graph held by a node is refused where gradients would have to enter it', () => {
  const model = net(
    '[choice] y = If <then_branch = t () => (p) { p = MatMul (x, w) }, else_branch = e () => (q) { q = Identity (x) }> (c)',
    ', bool c = {1}',
  )
  expect(() => withGradients(model, { loss: 'loss', wrt: ['w'] })).toThrow(/If at 'choice'/)
})

test('a gradient that nothing contributes to is zero', () => {
  const model = net('a = Floor (w) s = Shape (v) e = MatMul (x, a) y = Identity (e)')
  const { model: after, gradients } = withGradients(model, { loss: 'loss', wrt: ['w', 'v', 'x'] })
  const producer = (value: string) => after.graph.nodes.find(({ outputs }) => outputs.includes(value))
  expect(producer(gradients.get('v')!)?.opType).toBe('ConstantOfShape')
  expect(producer(gradients.get('w')!)?.opType).toBe('ConstantOfShape')
  expect(producer(gradients.get('x')!)?.opType).toBe('MatMul')
})

test('a node is asked for the outputs that its gradient reads', () => {
  const model = parseModel(
    `g (float32[1, 2, 4, 4] x) => (loss) { y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) loss = ReduceSum <keepdims = 0> (y) }`,
  )
  const [pool] = withGradients(model, { loss: 'loss', wrt: ['x'] }).model.graph.nodes
  expect(pool?.outputs.length).toBe(2)
  expect(model.graph.nodes[0]?.outputs.length).toBe(1)
})

test('what cannot be differentiated is said before anything runs', () => {
  const model = net('y = MatMul (x, w)')
  expect(() => withGradients(model, { loss: 'y', wrt: ['w'] })).toThrow(
    /the loss 'y' has type float32 and shape \[4, 3\], expected one floating-point number/,
  )
  expect(() => withGradients(model, { loss: 'loss', wrt: ['last'] })).toThrow(/'last' has type int64/)
  expect(() => withGradients(model, { loss: 'loss', wrt: ['nothing'] })).toThrow(
    /'nothing' has an unknown type/,
  )
  const open = parseModel(
    `g (float32[N, 3] x) => (loss) <float32[3, 2] w = fill(1)> { y = MatMul (x, w) loss = ReduceMean <keepdims = 0> (y) }`,
  )
  expect(() => withGradients(open, { loss: 'loss', wrt: ['w'] })).toThrow(
    /shape \[N, 2\].*bind the dimensions/,
  )
  const old = parseModel(`<opset_import: ["": 13]> g (float32[2] x) => (y) { y = Relu (x) }`)
  expect(opsetOf(old)).toBeLessThan(minOpset)
  expect(() => withGradients(old, { loss: 'y', wrt: ['x'] })).toThrow(/opset 17 or newer, got 13/)
})
