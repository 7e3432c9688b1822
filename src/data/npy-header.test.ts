import fc from 'fast-check'
import { expect, test } from 'vitest'
import { UserError } from '../ir/errors.ts'
import { isNpy, npyHeaderLength, parseNpyHeader } from './npy-header.ts'

function header(text: string, version = 1): Uint8Array {
  const length =
    version === 1 ? [text.length & 255, text.length >> 8] : [text.length & 255, text.length >> 8, 0, 0]
  return Uint8Array.from([0x93, ...Buffer.from('NUMPY'), version, 0, ...length, ...Buffer.from(text)])
}

test.each([
  ["{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }", 'float32', true, false, [3, 4]],
  ["{'descr': '>i8', 'fortran_order': True, 'shape': (3,), }\n", 'int64', false, true, [3]],
  ["{'shape': (2L, 5L), 'fortran_order': False, 'descr': '|u1'}", 'uint8', true, false, [2, 5]],
  [`{'descr': "|b1", 'fortran_order': False, 'shape': (), }`, 'bool', true, false, []],
] as const)('%s', (text, dataType, littleEndian, fortranOrder, shape) => {
  for (const version of [1, 2, 3])
    expect(parseNpyHeader(header(text, version), 'a')).toEqual({
      dataType,
      littleEndian,
      fortranOrder,
      shape,
    })
})

test('its length comes from its first bytes', () => {
  const bytes = header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }")
  expect(isNpy(bytes)).toBe(true)
  expect(npyHeaderLength(bytes.subarray(0, 12), 'a')).toBe(bytes.length)
})

test.each([
  ["{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", /pickled Python objects/],
  ["{'descr': '<U5', 'fortran_order': False, 'shape': (3,), }", /type '<U5'/],
  ["{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", /plain numbers/],
  ["{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", /structured/],
  ["{'descr': '<constructor', 'fortran_order': False, 'shape': (3,), }", /plain numbers/],
  ["{'descr': '<f4', 'fortran_order': 0, 'shape': (3,), }", /lacks/],
  ["{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }", /whole numbers/],
  ["{'descr': '<f4', 'fortran_order': False, 'shape': (1e3,), }", /whole numbers/],
  ["{'descr': '<f4', 'fortran_order': False, 'shape': (3,,4), }", /whole numbers/],
  ["{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999, 9999999), }", /impossible/],
  ['import os', /not a dictionary/],
  ['   ', /not a dictionary/],
])('%s is refused', (text, message) => {
  expect(() => parseNpyHeader(header(text), 'a.npy')).toThrow(message)
  expect(() => parseNpyHeader(header(text), 'a.npy')).toThrow(UserError)
})

test('a wrong magic, an unknown version and a huge header are refused', () => {
  expect(() => npyHeaderLength(Buffer.from('PK\x03\x04 and so on'), 'a')).toThrow(/does not begin/)
  expect(() => npyHeaderLength(header('{}'.padEnd(20), 9), 'a')).toThrow(/version 9/)
  const huge = Uint8Array.from([...header('', 2).subarray(0, 8), 255, 255, 255, 255])
  expect(() => npyHeaderLength(huge, 'a')).toThrow(/claims 4294967307 bytes/)
})

test('whatever the text is, it is read or refused with a UserError', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => {
      try {
        parseNpyHeader(header(`{'descr': '<f4', ${text} 'shape': (3,)}`), 'a')
      } catch (error) {
        expect(error).toBeInstanceOf(UserError)
      }
    }),
  )
})
