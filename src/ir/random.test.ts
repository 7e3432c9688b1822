import { expect, test } from 'vitest'
import { normal, seedOf, uniform } from './random.ts'

test('normal numbers have the moments and the tails of the normal distribution', () => {
  const z = normal(200_000, 0, 1, 1)
  const mean = (f: (v: number) => number) => z.reduce((sum, v) => sum + f(v), 0) / z.length
  // Five standard errors each.
  expect(Math.abs(mean((v) => v))).toBeLessThan(5 / Math.sqrt(z.length))
  expect(Math.abs(mean((v) => v * v) - 1)).toBeLessThan(5 * Math.sqrt(2 / z.length))
  expect(Math.abs(mean((v) => v ** 4) - 3)).toBeLessThan(5 * Math.sqrt(96 / z.length))
  const beyondTwo = mean((v) => (Math.abs(v) > 2 ? 1 : 0))
  expect(Math.abs(beyondTwo - 0.0455)).toBeLessThan(5 * Math.sqrt(0.0455 / z.length))
  expect(mean((v) => (Math.abs(v) > 4 ? 1 : 0))).toBeGreaterThan(0)
})

test('scales and shifts, and depends on the seed alone', () => {
  const [a, b] = [normal(5, 0, 1, 7), normal(5, 3, 2, 7)]
  for (let i = 0; i < 5; i++) expect(b[i]).toBeCloseTo(3 + 2 * a[i]!, 12)
  expect(normal(5, 0, 1, 7)).toEqual(a)
  expect(normal(3, 0, 1, 7)).toEqual(a.slice(0, 3))
  expect(normal(5, 0, 1, 8)).not.toEqual(a)
  expect(seedOf(0, 'a.weight')).not.toBe(seedOf(0, 'b.weight'))
  expect(seedOf(0, 'a.weight')).not.toBe(seedOf(1, 'a.weight'))
})

test('every bit is the same on every machine', () => {
  expect([...new Uint32Array(Float32Array.from(normal(4, 0, 1, 1)).buffer)]).toMatchInlineSnapshot(`
    [
      1070941092,
      1057565171,
      1066357402,
      1058468662,
    ]
  `)
  expect([...uniform(3, 0, 1, 7)]).toMatchInlineSnapshot(`
    [
      0.9966990663670003,
      0.5026081947144121,
      0.42640885221771896,
    ]
  `)
})
