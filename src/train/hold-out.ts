import { UserError } from '../ir/errors.ts'
import { permutation, seedOf } from '../ir/random.ts'

/**
 * Numbers of the samples that are held out, a share (0 to 1) of `size` by the seed, and of the rest in their order.
 * Throws a UserError if one side would be empty.
 */
export function holdOut(
  size: number,
  share: number,
  seed: number,
): { readonly held: Int32Array; readonly rest: Int32Array } {
  const count = Math.round(share * size)
  if (!(share > 0 && share < 1) || count < 1 || count >= size)
    throw new UserError(
      `the validation share is ${share}, expected one between 0 and 1 that leaves samples on both sides; of ${size} samples`,
    )
  const order = permutation(size, seedOf(seed, 'validation'))
  return { held: order.slice(0, count), rest: order.slice(count).sort() }
}
