import { UserError } from './errors.ts'
import type { Model } from './model.ts'

export function inlineFunctions(model: Model): Model {
  if (model.functions.length > 0) throw new UserError('local functions: not yet')
  return model
}
