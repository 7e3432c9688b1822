import { expect, test } from 'vitest'
import { inlineFunctions } from './inline-functions.ts'
import type { Attribute, Model } from './model.ts'
import { labelOf } from './model.ts'
import { parseModel, printModel } from './text.ts'

const opsOf = (model: Model) => model.graph.nodes.map(({ opType }) => opType)

test('calls are replaced by what functions do, nested ones too, with names of their own', () => {
  const model = parseModel(`
    <opset_import: ["": 17, "local": 1]>
    net (float32[2] x) => (float32[2] y) {
      [first] a = local.twice(x)
      [second] y = local.twice(a)
    }
    <domain: "local", opset_import: ["": 17, "local": 1]>
    twice (x) => (y) { [inner] a = local.double(x) y = Relu(a) }
    <domain: "local", opset_import: ["": 17]>
    double (x) => (y) { y = Add(x, x) }
  `)
  const flat = inlineFunctions(model)
  expect(flat.functions).toEqual([])
  expect(opsOf(flat)).toEqual(['Add', 'Relu', 'Add', 'Relu'])
  const outputs = flat.graph.nodes.flatMap((node) => node.outputs)
  expect(new Set(outputs).size).toBe(outputs.length)
  expect(flat.graph.nodes[1]?.outputs).toEqual(['a'])
  expect(flat.graph.nodes[2]?.inputs).toEqual(['a', 'a'])
  expect(flat.graph.nodes.map(labelOf)).toEqual(['first/inner', 'first', 'second/inner', 'second'])
})

test('attribute references take the value of the call, then the default, then vanish', () => {
  const model = parseModel(`
    <opset_import: ["": 17, "local": 1]>
    net (float32[2] x) => (float32[2] y) {
      a = local.leak <slope = 0.5> (x)
      y = local.leak(a)
    }
    <domain: "local", opset_import: ["": 17]>
    leak <slope> (x) => (y) { y = LeakyRelu(x) }
  `)
  const [leak] = model.functions
  const reference = (value: string): Attribute => ({ type: 'reference', value, raw: new Uint8Array() })
  const withReference = (defaults: Map<string, Attribute>): Model => ({
    ...model,
    functions: [
      {
        ...leak!,
        defaults,
        nodes: [{ ...leak!.nodes[0]!, attributes: new Map([['alpha', reference('slope')]]) }],
      },
    ],
  })
  const alphas = (given: Model) =>
    inlineFunctions(given).graph.nodes.map((node) => node.attributes.get('alpha')?.value)
  expect(alphas(withReference(new Map()))).toEqual([0.5, undefined])
  expect(alphas(withReference(new Map([['slope', { type: 'float', value: 0.1 }]])))).toEqual([0.5, 0.1])
})

test('subgraphs of a function see its values under their new names', () => {
  const model = parseModel(`
    <opset_import: ["": 17, "local": 1]>
    net (float32[2] x, bool c) => (float32[2] y) { t = Neg(x) y = local.choose(c, t) }
    <domain: "local", opset_import: ["": 17]>
    choose (c, x) => (y) {
      t = Relu(x)
      y = If <then_branch = a () => (u) { u = Identity(t) }, else_branch = b () => (v) { v = Neg(x) }> (c)
    }
  `)
  const flat = inlineFunctions(model)
  const branch = flat.graph.nodes.at(-1)!
  const inner = flat.graph.nodes.find(({ opType }) => opType === 'Relu')!.outputs[0]
  expect(inner).not.toBe('t')
  const taken = branch.attributes.get('then_branch')
  expect(taken?.type === 'graph' && taken.value.nodes[0]?.inputs).toEqual([inner])
  const otherwise = branch.attributes.get('else_branch')
  expect(otherwise?.type === 'graph' && otherwise.value.nodes[0]?.inputs).toEqual(['t'])
})

test('functions that hand an input on, and models without functions', () => {
  const model = parseModel(`
    <opset_import: ["": 17, "local": 1]>
    net (float32[2] x) => (float32[2] y) { y = local.same(x) }
    <domain: "local", opset_import: ["": 17]>
    same (x) => (x) { }
  `)
  expect(printModel(inlineFunctions(model))).toContain('y = Identity (x)')
  const plain = parseModel('net (float32[2] x) => (float32[2] y) { y = Relu(x) }')
  expect(inlineFunctions(plain)).toBe(plain)
})

test('functions in a circle are refused', () => {
  const model = parseModel(`
    <opset_import: ["": 17, "local": 1]>
    net (float32[2] x) => (float32[2] y) { y = local.f(x) }
    <domain: "local", opset_import: ["": 17, "local": 1]>
    f (x) => (y) { y = local.g(x) }
    <domain: "local", opset_import: ["": 17, "local": 1]>
    g (x) => (y) { y = local.f(x) }
  `)
  expect(() => inlineFunctions(model)).toThrow('f -> g -> f')
})
