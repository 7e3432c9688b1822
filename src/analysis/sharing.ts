import type { Dim } from '../ir/model.ts'
import type { Sharing } from '../ops/define-noise.ts'

/**
 * What shares one draw, from the shape in which a noise is drawn and that of what it perturbs: a mask of size 1 along
 * an axis of another size is shared along it. Of the axes of x the first counts samples; a draw for each of exactly
 * one more axis is one for each channel (the second axis, or the last where channels come last).
 */
export function sharingOf(
  mask: readonly Dim[] | undefined,
  x: readonly Dim[] | undefined,
): { sharing: Sharing; sharedAxes: readonly number[] } {
  if (!mask || !x) return { sharing: 'element', sharedAxes: [] }
  const sharedAxes = x.flatMap((size, axis) => {
    const at = axis - x.length + mask.length
    const drawn: Dim = at < 0 ? 1 : mask[at]
    // One sample is all that a file may have been exported with; nothing is shared then.
    return drawn === 1 && size !== 1 ? [axis] : []
  })
  if (sharedAxes.length === 0) return { sharing: 'element', sharedAxes }
  const own = x.flatMap((size, axis) => (size !== 1 && !sharedAxes.includes(axis) ? [axis] : []))
  if (sharedAxes.includes(0)) return { sharing: 'batch', sharedAxes }
  const sharing = own.every((axis) => axis === 0) ? 'sample' : 'channel'
  return { sharing, sharedAxes }
}
