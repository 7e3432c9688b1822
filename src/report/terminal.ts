import type { Result } from '../result/result.ts'
import type { RuleInfo } from './rule-info.ts'
import { conclusion, notes } from './terminal/conclusion.ts'
import { findings } from './terminal/findings.ts'
import { head } from './terminal/head.ts'
import { layers } from './terminal/layer-table.ts'
import { modes } from './terminal/modes.ts'
import type { Page } from './terminal/page.ts'
import { paintWith } from './terminal/paint.ts'
import { repair } from './terminal/repair.ts'
import { training } from './terminal/training.ts'

export interface TerminalOptions {
  /** Use colours and weights; whether the terminal has them, and NO_COLOR, are the caller's to ask. */
  readonly color: boolean
  /** Columns of the terminal; at least 40 are used. */
  readonly width: number
  /** Every layer and every finding instead of the worst. */
  readonly verbose?: boolean
  /** Descriptions of the rules, to say in a line what each finding means. */
  readonly rules?: readonly RuleInfo[]
}

/** A result as lines of text for a terminal, ending in a line feed. */
export function renderTerminal(result: Result, { color, width, verbose, rules }: TerminalOptions): string {
  const page: Page = {
    paint: paintWith(color),
    width: Math.max(40, Math.min(width, 120)),
    verbose: verbose ?? false,
    rules: new Map(rules?.map((rule) => [rule.id, rule])),
  }
  const sections = [
    head(result, page),
    ...(result.command === 'check' ? findings(result, page) : []),
    ...(result.measurement ? [layers(result, page), modes(result, page)] : []),
    training(result, page),
    notes(result, page),
    repair(result, page),
    conclusion(result, page),
  ]
  return `${sections
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')}\n`
}
