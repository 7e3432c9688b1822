import { expect, test } from 'vitest'
import { studyFigure } from './figure.ts'
import { gallery } from './gallery.ts'

test('ticks of a logarithmic axis over many decades stay apart, powers of ten first', () => {
  const points = [1, 2, 3].map((x) => ({ x, y: 10 ** (-2 * x) }))
  const drawn = studyFigure({
    title: 'shares',
    x: { label: 'activation', scale: 'linear' },
    y: { label: 'share', scale: 'log' },
    series: [{ name: 'a', points }],
  }).toString()
  const [wide = ''] = drawn.split('</svg>')
  const ticks = [...wide.matchAll(/<text [^>]*y="([\d.]+)" text-anchor="end">([^<]+)</g)]
  const places = ticks.map(([, y]) => Number(y)).sort((a, b) => a - b)
  expect(places.length).toBeGreaterThan(4)
  const gaps = places.slice(1).map((place, i) => place - places[i]!)
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(14.9)
  expect(ticks.map(([, , text]) => text)).toEqual(expect.arrayContaining(['0.01', '0.001']))
})

test('a picture is a BMP of 24 bits: rows padded to four bytes, blue first, from the top', () => {
  const rgb = [10, 20, 30, 40, 50, 60]
  const drawn = gallery({
    title: 'filters',
    width: 1,
    height: 2,
    rows: [{ name: '<unit>', images: [btoa(String.fromCharCode(...rgb))] }],
  }).toString()
  expect(drawn).toContain('&#60;unit&#62;')
  const file = Uint8Array.from(atob(drawn.match(/base64,([^"]+)"/)![1]!), (c) => c.charCodeAt(0))
  const view = new DataView(file.buffer)
  expect(String.fromCharCode(...file.subarray(0, 2))).toBe('BM')
  expect([view.getUint32(2, true), view.getInt32(18, true), view.getInt32(22, true)]).toEqual([62, 1, -2])
  expect([...file.subarray(view.getUint32(10, true))]).toEqual([30, 20, 10, 0, 60, 50, 40, 0])
})
