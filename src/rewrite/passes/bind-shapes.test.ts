import { expect, test } from 'vitest'
import { knownValues } from '../../analysis/infer-types.ts'
import { parseModel, printModel } from '../../ir/text.ts'
import { bindDimensions, bindShapes } from './bind-shapes.ts'

const model = parseModel(`
  g (float32[N, 3, H, H] x, float32[N, M] z) => (float32[N, 3] y)
  { p = GlobalAveragePool (x) y = Flatten (p) s = Shape (x) }`)

test('named dimensions become sizes everywhere, others stay', () => {
  const before = printModel(model)
  const bound = bindDimensions(model, { N: 4 })
  expect(bound.graph.inputs.map(({ type }) => type?.shape)).toEqual([
    [4, 3, 'H', 'H'],
    [4, 'M'],
  ])
  expect(bound.graph.outputs[0]?.type?.shape).toEqual([4, 3])
  expect(knownValues(bound).get('s')?.contents).toEqual([4, 3, 'H', 'H'])
  expect(printModel(model)).toBe(before)
  for (const N of [0, -1, 2.5, Number.NaN])
    expect(() => bindDimensions(model, { N })).toThrow(/dimension 'N' is to be .* whole number/)
})

test('shapes of inputs bind the dimensions that they name', () => {
  const bound = bindShapes(model, new Map([['x', [4, 3, 8, 8]]]))
  expect(bound.graph.inputs.map(({ type }) => type?.shape)).toEqual([
    [4, 3, 8, 8],
    [4, 'M'],
  ])
  for (const [wrong, name] of [
    [[4, 2, 8, 8], 'x'],
    [[4, 3, 8, 9], 'x'],
    [[4, 3, 8], 'x'],
  ] as const)
    expect(() => bindShapes(model, new Map([[name, wrong]]))).toThrow(
      /input 'x' is to have shape .* expected/,
    )
  const both = new Map([
    ['x', [4, 3, 8, 8]],
    ['z', [5, 2]],
  ])
  expect(() => bindShapes(model, both)).toThrow(/input 'z' is to have shape \[5, 2\]/)
})
