import type { Facts } from '../analysis/facts.ts'
import { factsOf } from '../analysis/index.ts'
import type { ModelFile } from '../formats/define-format.ts'
import type { Result } from '../result/result.ts'
import { runRules } from '../rules/index.ts'
import { describe } from './describe.ts'
import type { CheckOptions } from './options.ts'

/**
 * Findings about the model in `file`, without data and without running it.
 * Throws a UserError for rule ids that do not exist.
 */
export function check(file: ModelFile, options: CheckOptions = {}): Result {
  return checkFacts(file, options, factsOf(file.model))
}

/** The same, of facts that may say more than the file. */
export function checkFacts(file: ModelFile, options: CheckOptions, facts: Facts): Result {
  return {
    ...describe(file, 'check', facts),
    ...runRules({ model: file.model, facts, withoutGraph: file.withoutGraph !== undefined }, options),
  }
}
