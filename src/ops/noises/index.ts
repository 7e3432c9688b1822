import type { NoiseUnit } from '../define-noise.ts'
import { additiveGaussian } from './additive-gaussian.ts'
import { alphaDropout } from './alpha-dropout.ts'
import { dropPath } from './drop-path.ts'
import { dropout } from './dropout.ts'
import { gaussian } from './gaussian.ts'
import { momentPreserving } from './moment-preserving.ts'
import { spatialDropout } from './spatial-dropout.ts'
import { uout } from './uout.ts'

/** Every noise that varshift knows. */
export const noiseUnits: readonly NoiseUnit[] = [
  additiveGaussian,
  alphaDropout,
  dropPath,
  dropout,
  gaussian,
  momentPreserving,
  spatialDropout,
  uout,
]

const byId = new Map(noiseUnits.map((unit) => [unit.id, unit]))

/** The noise with that id. */
export function noiseUnit(id: string): NoiseUnit {
  const unit = byId.get(id)
  if (!unit) throw new RangeError(`no noise '${id}'; there are ${[...byId.keys()].join(', ')}`)
  return unit
}
