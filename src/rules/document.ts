import type { Severity } from '../result/result.ts'
import type { Rule } from './define-rule.ts'

/** What reports say about a rule. */
export interface RuleSummary {
  readonly id: string
  readonly severity: Severity
  readonly summary: string
  readonly help: { readonly text: string; readonly markdown: string }
}

/** What a rule's documentation says, heading by heading. */
export const chaptersOf = ({
  why,
  ignoreWhen,
  fix,
  source,
}: Rule): readonly (readonly [string, string])[] => [
  ['Why it matters', why],
  ['When to ignore it', ignoreWhen],
  ['What to do', fix],
  ['Source', source],
]

/** The rule as reports want it. */
export function summaryOf(rule: Rule): RuleSummary {
  const { id, severity, summary, why, ignoreWhen } = rule
  return {
    id,
    severity,
    summary: plain(summary),
    help: {
      text: plain(`${why} Ignore it when: ${ignoreWhen}`),
      markdown: chaptersOf(rule)
        .map(([heading, text]) => `**${heading}.** ${text}`)
        .join('\n\n'),
    },
  }
}

/** Without the marks of Markdown's code. */
export const plain = (text: string): string => text.replaceAll('`', '')
