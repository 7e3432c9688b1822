import type { Severity } from '../result/result.ts'

/** What a report says about a rule; the rules room hands it over, since reports may not import it. */
export interface RuleInfo {
  readonly id: string
  /** The severity it has unless a user changes it. */
  readonly severity: Severity
  /** One sentence. */
  readonly summary: string
  /** Why it matters and when to ignore it. */
  readonly help: { readonly text: string; readonly markdown?: string }
}
