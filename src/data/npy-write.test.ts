import { expect, test } from 'vitest'
import { Tensor } from '../ir/tensor.ts'
import { encodeNpy } from './npy-write.ts'

test('the header is what numpy.save writes', () => {
  const text = (tensor: Tensor): string => Buffer.from(encodeNpy(tensor)[0]).toString('latin1')
  const head = text(Tensor.float32([2, 3], [1, 2, 3, 4, 5, 6]))
  expect(head.length).toBe(128)
  expect(head.slice(0, 10)).toBe('\x93NUMPY\x01\x00\x76\x00')
  expect(head.slice(10).trimEnd()).toBe("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }")
  expect(text(Tensor.of('uint8', [1], [1]))).toContain("'|u1', 'fortran_order': False, 'shape': (1,), }")
  expect(text(Tensor.of('bool', [], [1]))).toContain("'|b1', 'fortran_order': False, 'shape': (), }")
})

test('types that NumPy lacks are refused', () => {
  expect(() => encodeNpy(Tensor.of('bfloat16', [1], [1]))).toThrow(/bfloat16/)
})
