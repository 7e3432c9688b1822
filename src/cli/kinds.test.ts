import { expect, test } from 'vitest'
import { z } from 'zod'
import { settingNames, settings } from './settings.ts'

test('numbers may be fractions, and have bounds', () => {
  const { kind } = settings.scale
  expect(kind.parse('1/255')).toBeCloseTo(1 / 255, 12)
  expect(kind.parse('2e-3')).toBe(0.002)
  expect(kind.parse('1_000')).toBe(1000)
  for (const wrong of ['', '0', '-1', '1/0', '1/2/3', '/2', 'Infinity', '0x10', '1,5', 'x'])
    expect(kind.parse(wrong), wrong).toBeUndefined()
  expect(settings.samples.kind.parse('1.5')).toBeUndefined()
  expect(settings.samples.kind.parse('0')).toBeUndefined()
  expect(settings.modeSamples.kind.parse('0')).toBe(0)
})

test('lists gather over several flags, severities by rule', () => {
  expect(settings.ignore.kind.parse('b, c', ['a'])).toEqual(['a', 'b', 'c'])
  expect(settings.severity.kind.parse('a=off,b=error', { a: 'info', c: 'info' })).toEqual({
    a: 'off',
    b: 'error',
    c: 'info',
  })
  for (const wrong of ['a', 'a=', '=off', 'a=loud', 'a=off=off'])
    expect(settings.severity.kind.parse(wrong), wrong).toBeUndefined()
})

test('sizes are a side or height x width', () => {
  const { kind } = settings.imageSize
  expect(kind.parse('224')).toEqual([224, 224])
  expect(kind.parse('224x160')).toEqual([224, 160])
  expect(kind.parse('0x4')).toBeUndefined()
  expect(kind.schema(z).parse(64)).toEqual([64, 64])
})

test('what a setting shows, it reads, and so does the configuration file', () => {
  const samples: Partial<Record<string, string>> = {
    data: 'shapes:count=10',
    imageSize: '8x9',
    severity: 'a=off',
    decay: 'all',
    norms: 'keep',
    device: 'cpu',
  }
  for (const name of settingNames) {
    const kind = settings[name].kind as (typeof settings)['format']['kind']
    const candidates = [samples[name], 'json', 'error', 'NHWC', '3', '1.5', '0.5', 'true', 'a'].filter(
      (text) => text !== undefined,
    )
    const value = candidates.map((text) => kind.parse(text)).find((parsed) => parsed !== undefined)!
    expect(value, name).toBeDefined()
    expect(kind.parse(kind.show(value)), name).toEqual(value)
    expect(kind.schema(z).parse(value), name).toEqual(value)
  }
})
