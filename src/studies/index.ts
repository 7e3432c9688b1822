import { UserError } from '../ir/errors.ts'
import { batchSize } from './batch-size.ts'
import type { Study } from './define-study.ts'
import { distillStudy } from './distill.ts'
import { dropoutMoments } from './dropout-moments.ts'
import { dropoutPosition } from './dropout-position.ts'
import { formula } from './formula.ts'
import { figure1 } from './li-2018/figure-1.ts'
import { figure4 } from './li-2018/figure-4.ts'
import { figure5 } from './li-2018/figure-5.ts'
import { table1 } from './li-2018/table-1.ts'
import { table3 } from './li-2018/table-3.ts'
import { table4 } from './li-2018/table-4.ts'
import { table6 } from './li-2018/table-6.ts'
import { noiseKinds } from './noise-kinds.ts'
import { normScaleInit } from './norm-scale-init.ts'
import { pooling } from './pooling.ts'
import { sparseAutoencoder } from './sparse-autoencoder.ts'
import { updateBnStudy } from './update-bn.ts'
import { width } from './width.ts'

/** Every study, in the order in which they are listed. */
export const studies: readonly Study[] = [
  figure1,
  figure4,
  figure5,
  table1,
  table3,
  table4,
  table6,
  formula,
  updateBnStudy,
  distillStudy,
  batchSize,
  width,
  normScaleInit,
  dropoutMoments,
  sparseAutoencoder,
  pooling,
  dropoutPosition,
  noiseKinds,
]

/** The study with that id. Throws a UserError that lists what there is. */
export function studyCalled(id: string): Study {
  const study = studies.find((study) => study.id === id)
  if (!study)
    throw new UserError(
      `no study is called '${id}'; there is: ${studies.map((study) => study.id).join(', ')}`,
    )
  return study
}
