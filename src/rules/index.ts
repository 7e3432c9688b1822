import { UserError } from '../ir/errors.ts'
import { keyOf } from '../ir/model.ts'
import type { Finding, Severity } from '../result/result.ts'
import { biasBeforeBatchNorm } from './bias-before-batch-norm.ts'
import { deadBatchNormChannel } from './dead-batch-norm-channel.ts'
import type { Rule, RuleContext } from './define-rule.ts'
import { degenerateBatchNorm } from './degenerate-batch-norm.ts'
import { dropoutBeforeBatchNorm } from './dropout-before-batch-norm.ts'
import { dropoutUpstreamOfBatchNorm } from './dropout-upstream-of-batch-norm.ts'
import { foldedOrStripped } from './folded-or-stripped.ts'
import { hiddenInSubgraph } from './hidden-in-subgraph.ts'
import { maxPoolAfterDropout } from './max-pool-after-dropout.ts'
import { didYouMean } from './nearest.ts'
import { neverUpdatedBatchNorm } from './never-updated-batch-norm.ts'
import { trainModeInFile } from './train-mode-in-file.ts'

/** Every rule, in the order in which they are listed. */
export const rules: readonly Rule[] = [
  dropoutBeforeBatchNorm,
  dropoutUpstreamOfBatchNorm,
  maxPoolAfterDropout,
  trainModeInFile,
  neverUpdatedBatchNorm,
  degenerateBatchNorm,
  deadBatchNormChannel,
  biasBeforeBatchNorm,
  foldedOrStripped,
  hiddenInSubgraph,
]

/** Not taken from the schema of results, which loads zod: listing rules should not wait for it. */
const severities: readonly Severity[] = ['error', 'warning', 'info']

const byId = new Map(rules.map((rule) => [rule.id, rule]))

/** The rule of that id. Throws a UserError that names the nearest ids if there is none. */
export function ruleOf(id: string): Rule {
  const rule = byId.get(id)
  if (rule) return rule
  throw new UserError(
    `there is no rule '${id}'${didYouMean(id, [...byId.keys()])} (\`varshift check --list-rules\` lists all)`,
  )
}

export interface RuleOptions {
  /** Only these rules (ids). Default: all. */
  readonly select?: readonly string[] | undefined
  /** Not these. */
  readonly ignore?: readonly string[] | undefined
  /** Severities for all findings of a rule, by id; `off` as `ignore`. */
  readonly severity?: Readonly<Record<string, Severity | 'off'>> | undefined
  /** Fingerprints of findings that are known and not reported again. */
  readonly baseline?: readonly string[] | undefined
}

export interface RuleFindings {
  /** By severity, then in graph order; those about the file as a whole last. */
  readonly findings: Finding[]
  /** How many findings the baseline hid. */
  readonly suppressed: number
}

/** What the rules find in a model. Throws a UserError for rule ids that do not exist. */
export function runRules(context: RuleContext, options: RuleOptions = {}): RuleFindings {
  const { select, ignore = [], severity = {}, baseline = [] } = options
  for (const id of [...(select ?? []), ...ignore, ...Object.keys(severity)]) ruleOf(id)
  const chosen = rules.filter(
    ({ id, judgesAlone }) =>
      (!select || select.includes(id)) &&
      !ignore.includes(id) &&
      severity[id] !== 'off' &&
      (judgesAlone || !context.withoutGraph),
  )
  const taken = new Map<string, number>()
  const findings = chosen.flatMap((rule) =>
    rule.check(context).map(({ aspect, severity: own, ...found }): Finding => {
      const parts = [rule.id, aspect, found.at ? found.at.label || found.at.key : 'file']
      const name = parts.filter((part) => part !== undefined).join(':')
      // Exporters may give two nodes one label: the second becomes `...#2`.
      const count = (taken.get(name) ?? 0) + 1
      taken.set(name, count)
      return {
        ...found,
        rule: rule.id,
        severity: (severity[rule.id] as Severity | undefined) ?? own ?? rule.severity,
        fingerprint: count === 1 ? name : `${name}#${count}`,
      }
    }),
  )
  const known = new Set(baseline)
  const fresh = findings.filter(({ fingerprint }) => !known.has(fingerprint))
  const order = new Map(context.model.graph.nodes.map((node, i) => [keyOf(node), i]))
  const rank = ({ severity, at }: Finding): readonly [number, number] => [
    severities.indexOf(severity),
    at ? (order.get(at.key) ?? order.size) : Infinity,
  ]
  fresh.sort((a, b) => {
    const [[severityA, placeA], [severityB, placeB]] = [rank(a), rank(b)]
    return severityA - severityB || (placeA === placeB ? 0 : placeA - placeB)
  })
  return { findings: fresh, suppressed: findings.length - fresh.length }
}
