import { UserError } from '../ir/errors.ts'
import type { Study } from './define-study.ts'
import { formula } from './formula.ts'

/** Every study, in the order in which they are listed. */
export const studies: readonly Study[] = [formula]

/** The study with that id. Throws a UserError that lists what there is. */
export function studyCalled(id: string): Study {
  const study = studies.find((study) => study.id === id)
  if (!study)
    throw new UserError(
      `no study is called '${id}'; there is: ${studies.map((study) => study.id).join(', ')}`,
    )
  return study
}
