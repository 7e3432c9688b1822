import type { Result, Severity } from '../../result/result.ts'
import type { RuleInfo } from '../rule-info.ts'
import type { Paint } from './paint.ts'

/** What every section is made with. */
export interface Page {
  readonly paint: Paint
  readonly width: number
  readonly verbose: boolean
  readonly rules: ReadonlyMap<string, RuleInfo>
}

/** Severities tell by shape as well as by colour. */
export const severityMarks: Readonly<Record<Severity, string>> = { error: '✖', warning: '▲', info: '●' }

export function severityPaint(paint: Paint, severity: Severity): (text: string) => string {
  return severity === 'error' ? paint.red : severity === 'warning' ? paint.yellow : paint.cyan
}

/** What the two sides are called in tables, where file names would take too much room. */
export function columnNames({ command }: Result): [string, string] {
  return command === 'compare' ? ['A', 'B'] : ['before', 'after']
}
