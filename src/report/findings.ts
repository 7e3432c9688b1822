import type { Finding, Result, Severity } from '../result/result.ts'

export const severityOrder: readonly Severity[] = ['error', 'warning', 'info']

/** All findings of one rule at one severity. */
export interface FindingGroup {
  readonly rule: string
  readonly severity: Severity
  /** At the layers with the largest predicted shifts first. */
  readonly findings: readonly Finding[]
}

/** The findings of a result by rule, errors first. */
export function findingGroups({ findings, norms }: Result): FindingGroup[] {
  const predicted = new Map(
    norms.map(({ key, prediction }) => [key, Math.abs(Math.log(prediction?.layerRatio ?? 1))]),
  )
  const size = ({ at }: Finding) => predicted.get(at?.key ?? '') ?? 0
  const groups = new Map<string, Finding[]>()
  for (const finding of findings) {
    const key = `${finding.severity} ${finding.rule}`
    groups.set(key, [...(groups.get(key) ?? []), finding])
  }
  return [...groups.values()]
    .map((group) => ({
      rule: group[0]!.rule,
      severity: group[0]!.severity,
      findings: group.toSorted((a, b) => size(b) - size(a)),
    }))
    .toSorted((a, b) => severityOrder.indexOf(a.severity) - severityOrder.indexOf(b.severity))
}
