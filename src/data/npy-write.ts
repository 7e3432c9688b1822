import { UserError } from '../ir/errors.ts'
import type { Tensor } from '../ir/tensor.ts'
import { npyKindOf } from './npy-header.ts'

/**
 * The tensor as an .npy file (version 1.0, little endian, C order), in two parts: header and the tensor's bytes.
 * Throws a UserError for element types that NumPy does not have.
 */
export function encodeNpy(tensor: Tensor): [Uint8Array, Uint8Array] {
  const kind = npyKindOf(tensor.dataType)
  if (!kind)
    throw new UserError(
      `elements of type ${tensor.dataType} cannot be saved as .npy; convert them to float32 first`,
    )
  const descr = `${kind.endsWith('1') ? '|' : '<'}${kind}`
  const shape = `(${tensor.dims.map((size) => `${size},`).join(' ')})`.replace(/(?<=, \d+),\)$/, ')')
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`
  // The numbers begin at a multiple of 64, and the header ends with a newline: NEP 1.
  const length = Math.ceil((10 + text.length + 1) / 64) * 64
  const header = new TextEncoder().encode(`\x00NUMPY\x01\x00\x00\x00${text.padEnd(length - 11)}\n`)
  header[0] = 0x93
  new DataView(header.buffer).setUint16(8, length - 10, true)
  return [header, tensor.bytes]
}
