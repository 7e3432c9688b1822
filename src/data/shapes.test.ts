import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { UserError } from '../ir/errors.ts'
import type { Batch } from './dataset.ts'
import { parseShapesSpec, type ShapesOptions, shapeNames, shapes, shapesSpec } from './shapes.ts'

async function all(options: ShapesOptions, batchSize = 1000): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of shapes(options).batches({ batchSize })) batches.push(batch)
  return batches
}

const pixels = async (options: ShapesOptions): Promise<Uint8Array> =>
  (await all(options))[0]!.inputs.get('x')!.bytes

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

test('pictures are the same to the bit on every machine', async () => {
  const recorded = [
    [{ count: 20 }, 'b02a45f594b4be2459c2deab8764c4b0cd4a71da3a9b8f39de57a2bee270d03b'],
    [
      { count: 20, channels: 1, size: 28, seed: 7 },
      'c32a5bfa78c83a5d13e6e2ddf06c91db7223287b7d58843abace01ee4393ba6f',
    ],
    [
      { count: 5, size: 64, noise: 0.2, clutter: 1, occlusion: 1, seed: 4294967295, start: 2147483600 },
      'aeeb60f8d9cf612aeda27799f9c819c934a7b2559d1513d395bf15ae4de4fdfb',
    ],
  ] as const
  for (const [options, hash] of recorded) expect(sha256(await pixels(options))).toBe(hash)
})

test('labels come in runs of ten that show each class once', async () => {
  const [batch] = await all({ count: 100, size: 8 })
  for (let run = 0; run < 100; run += 10)
    expect([...batch!.labels!.slice(run, run + 10)].sort((a, b) => a - b)).toEqual(
      shapeNames.map((_, i) => i),
    )
})

test('a range of pictures does not depend on what is made before it, nor on the batches', async () => {
  const whole = await pixels({ count: 12, size: 16 })
  expect(await pixels({ count: 5, start: 7, size: 16 })).toEqual(whole.slice(7 * 768))
  const inFives = await all({ count: 12, size: 16 }, 5)
  expect(inFives.map(({ size }) => size)).toEqual([5, 5, 2])
  expect(Buffer.concat(inFives.map(({ inputs }) => inputs.get('x')!.bytes))).toEqual(Buffer.from(whole))
  const part = shapes({ count: 12, size: 16 }).batches({ batchSize: 4, start: 7, limit: 3 })
  for await (const { inputs, labels } of part) {
    expect(inputs.get('x')!.bytes).toEqual(whole.slice(7 * 768, 10 * 768))
    expect(labels).toHaveLength(3)
  }
})

test('seeds give different pictures, and grey ones show the scene of the RGB ones', async () => {
  expect(await pixels({ count: 1, seed: 1 })).not.toEqual(await pixels({ count: 1, seed: 2 }))
  const grey = await pixels({ count: 1, channels: 1, noise: 0 })
  const rgb = await pixels({ count: 1, noise: 0 })
  // Tints move a channel by at most 0.2 (51 of 255) against the grey level; rounding adds 1.
  for (let i = 0; i < rgb.length; i++) expect(Math.abs(rgb[i]! - grey[i % 1024]!)).toBeLessThanOrEqual(52)
})

test('the specification in text form goes both ways', () => {
  const options = { count: 2000, size: 32, channels: 3, seed: 7, noise: 0.1 } as const
  expect(shapesSpec(options)).toBe('shapes:count=2000,size=32,channels=3,seed=7,noise=0.1')
  expect(parseShapesSpec(shapesSpec(options))).toEqual(options)
  expect(parseShapesSpec('shapes:')).toEqual({ count: 1000 })
})

test.each([
  'shapes:count=0',
  'shapes:count=',
  'shapes:count=many',
  'shapes:size=4',
  'shapes:channels=2',
  'shapes:seed=-1',
  'shapes:seed=1.5',
  'shapes:noise=2',
  'shapes:colour=3',
  'shapes:__proto__=3',
  'shapes:count',
])('%s is refused', (spec) => {
  expect(() => parseShapesSpec(spec)).toThrow(UserError)
})

test('an abort signal ends the batches', async () => {
  const abort = new AbortController()
  const seen: number[] = []
  await expect(async () => {
    for await (const { size } of shapes({ count: 10, size: 8 }).batches({
      batchSize: 2,
      signal: abort.signal,
    })) {
      seen.push(size)
      abort.abort(new Error('stopped'))
    }
  }).rejects.toThrow('stopped')
  expect(seen).toEqual([2])
})
