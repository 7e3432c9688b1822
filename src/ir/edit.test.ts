import { expect, test } from 'vitest'
import { applyEdits, type Edit, storedTensor } from './edit.ts'
import { Tensor } from './tensor.ts'
import { parseModel, printModel } from './text.ts'

const edit = (node: string, mean: number[], variance: number[]): Edit => ({
  kind: 'set-running-statistics',
  node,
  mean: Float64Array.from(mean),
  variance: Float64Array.from(variance),
})

const model = parseModel(`
  net (float32[N, 2] x) => (float32[N, 2] y)
  <float32[2] one = {1, 1}, float32[2] zero = {0, 0}, int64[1] two = {2}>
  {
    m = Constant <value = float32[2] {3, 4}> ()
    v = ConstantOfShape <value = float32[1] {2}> (two)
    a = BatchNormalization (x, one, zero, m, v)
    b = BatchNormalization (a, one, zero, zero, one)
    r = Relu (b)
    s = ReduceMean <axes = [0], keepdims = 0> (r)
    y = BatchNormalization (b, one, zero, s, one)
  }`)

test('constants are found behind nodes that only hold them', () => {
  const chain = Array.from({ length: 200 }, (_, i) => `i${i + 1} = Identity (i${i})`).join('\n')
  const { graph } = parseModel(`
    g (float32[1] x) => (float32[1] y) <float32[1] i0 = {7}, int64[2] shape = {2, 3}, int64[1] huge = {10000000}>
    {
      ${chain}
      f = Constant <value_float = 0.5> ()
      n = Constant <value_ints = [1, 2]> ()
      c = ConstantOfShape (shape)
      h = ConstantOfShape (huge)
      o = com.example.Constant <value_float = 0.5> ()
      y = Add (x, i200)
    }`)
  expect([...storedTensor(graph, 'i50')!.toNumbers()]).toEqual([7])
  expect(storedTensor(graph, 'i200')).toBeUndefined()
  expect(storedTensor(graph, 'f')?.dims).toEqual([])
  expect([...storedTensor(graph, 'n')!.toNumbers()]).toEqual([1, 2])
  expect(storedTensor(graph, 'c')).toMatchObject({ dataType: 'float32', dims: [2, 3] })
  for (const none of ['h', 'o', 'x', 'y', 'nothing']) expect(storedTensor(graph, none)).toBeUndefined()
})

test('the model given stays as it was, and no edits give the very same model', () => {
  const before = printModel(model)
  expect(applyEdits(model, [])).toBe(model)
  const edited = applyEdits(model, [edit('a', [5, 6], [7, 8])])
  expect(printModel(model)).toBe(before)
  const [m, , a] = edited.graph.nodes
  expect(m?.attributes.get('value')).toMatchObject({ type: 'tensor' })
  expect([...storedTensor(edited.graph, 'm')!.toNumbers()]).toEqual([5, 6])
  expect(a?.inputs).toEqual(['x', 'one', 'zero', 'm', 'v__a__variance'])
})

test('tensors that others read are split', () => {
  const { graph } = applyEdits(model, [edit('b', [5, 6], [7, 8])])
  expect(graph.nodes[3]?.inputs).toEqual(['a', 'one', 'zero', 'zero__b__mean', 'one__b__variance'])
  expect([...graph.initializers.get('zero')!.toNumbers()]).toEqual([0, 0])
  expect([...graph.initializers.get('one__b__variance')!.toNumbers()]).toEqual([7, 8])
})

test('what cannot be set is refused with the reason', () => {
  expect(() => applyEdits(model, [edit('y', [1, 2], [3, 4])])).toThrow(
    /computed inside the graph, not stored/,
  )
  expect(() => applyEdits(model, [edit('a', [1], [3])])).toThrow(/'m' holds 2 numbers, expected 1/)
  expect(() => applyEdits(model, [edit('none', [1, 2], [3, 4])])).toThrow(/no node with that output/)
})

test('a tensor is set for all that read it', () => {
  const set = (value: string, ...numbers: number[]): Edit => ({
    kind: 'set-tensor',
    value,
    tensor: Tensor.float32([numbers.length], numbers),
  })
  const { graph } = applyEdits(model, [set('one', 3, 4), set('m', 5, 6), edit('b', [7, 8], [9, 10])])
  expect([...graph.initializers.get('one')!.toNumbers()]).toEqual([3, 4])
  expect([...storedTensor(graph, 'm')!.toNumbers()]).toEqual([5, 6])
  expect([...graph.initializers.get('one__b__variance')!.toNumbers()]).toEqual([9, 10])
  expect(() => applyEdits(model, [set('s', 1, 2)])).toThrow(/stores no tensor of that name/)
  expect(() => applyEdits(model, [set('v', 1, 2)])).toThrow(/stores no tensor of that name/)
  expect(() => applyEdits(model, [set('one', 1, 2, 3)])).toThrow(/holds float32 \[2\], got float32 \[3\]/)
  expect(() => applyEdits(model, [set('one', 1, 2), set('one', 1, 3)])).toThrow(/two contents at once/)
})
