import { zipSync } from 'fflate'
import type { Tensor } from '../ir/tensor.ts'
import { encodeNpy } from './npy-write.ts'

/**
 * The named tensors as the bytes of an .npz file, which `numpy.load` and `openDataset` read.
 * The same tensors give the same bytes. Arrays of labels are called `labels`, `label` or `y`.
 *
 * `deflate`: 0 (default) stores the arrays as they are, which lets readers take ranges; 1 to 9 compress.
 * The file is built in memory, at most 4 GiB. Throws a UserError for element types that NumPy does not have.
 */
export function encodeNpz(
  arrays: ReadonlyMap<string, Tensor>,
  { deflate = 0 }: { deflate?: 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 } = {},
): Uint8Array {
  const members: Record<string, Uint8Array> = {}
  for (const [name, tensor] of arrays) {
    const [header, bytes] = encodeNpy(tensor)
    const member = new Uint8Array(header.length + bytes.length)
    member.set(header)
    member.set(bytes, header.length)
    members[`${name}.npy`] = member
  }
  // The oldest time that zip can tell, in local time as zip wants it.
  return zipSync(members, { level: deflate, mtime: new Date(1980, 0, 1) })
}
