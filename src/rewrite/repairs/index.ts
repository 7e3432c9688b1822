import { UserError } from '../../ir/errors.ts'
import type { Repair } from './define-repair.ts'
import { distill } from './distill.ts'
import { dropoutBeforeLastWeightLayer } from './dropout-before-last-weight-layer.ts'
import { evalMode } from './eval-mode.ts'
import { gaussian } from './gaussian.ts'
import { momentPreserving } from './moment-preserving.ts'
import { moveDropoutAfterLastNorm } from './move-dropout-after-last-norm.ts'
import { recalibrate } from './recalibrate.ts'
import { uout } from './uout.ts'

/** Every repair, the usual one first. */
export const repairs: readonly Repair[] = [
  recalibrate,
  distill,
  evalMode,
  moveDropoutAfterLastNorm,
  dropoutBeforeLastWeightLayer,
  uout,
  gaussian,
  momentPreserving,
]

/** The repair with that id. Throws a UserError that lists what there is. */
export function repairCalled(id: string): Repair {
  const repair = repairs.find((repair) => repair.id === id)
  if (!repair)
    throw new UserError(
      `no repair is called '${id}'; there is: ${[...repairs.map(({ id }) => id), 'auto'].join(', ')}`,
    )
  return repair
}
