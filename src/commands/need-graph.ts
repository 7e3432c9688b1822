import type { ModelFile } from '../formats/define-format.ts'
import { UserError } from '../ir/errors.ts'

/** Throws a UserError if the file holds no graph that could be run. */
export function needGraph({ path, withoutGraph }: ModelFile): void {
  if (withoutGraph !== undefined) throw new UserError(`${path}: ${withoutGraph}`)
}
