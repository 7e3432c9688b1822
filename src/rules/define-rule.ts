import type { Facts } from '../analysis/facts.ts'
import type { Model } from '../ir/model.ts'
import type { Finding, Place, Severity } from '../result/result.ts'

/** What a rule looks at. */
export interface RuleContext {
  readonly model: Model
  readonly facts: Facts
  /** The model is a mere list of normalizations: only rules that judge each by itself are asked. */
  readonly withoutGraph?: boolean | undefined
}

type Value = Finding['data'][string]

/** Names of the slots of a message: `'{norm} sees {ratio}'` -> `norm` | `ratio`. */
type Slots<Text extends string> = Text extends `${string}{${infer Slot}}${infer Rest}`
  ? Slot | Slots<Rest>
  : never

/** One thing found. Numbers in a message are written to three digits, lists with commas. */
type Report<Messages extends Readonly<Record<string, string>>> = {
  readonly [Id in keyof Messages & string]: {
    readonly message: Id
    /** What fills the slots of the message, and whatever else a program may want to know. */
    readonly data: { readonly [Slot in Slots<Messages[Id]>]: Value } & Readonly<Record<string, Value>>
    /** Absent for what concerns the file as a whole. */
    readonly at?: Place | undefined
    /** From the noise to the norm, both included. */
    readonly path?: readonly Place[] | undefined
    /** Where it differs from the rule's own. */
    readonly severity?: Severity | undefined
    /** Tells findings of one rule at one place apart; goes into the fingerprint. */
    readonly aspect?: string | undefined
  }
}[keyof Messages & string]

export interface RuleDefinition<Messages extends Readonly<Record<string, string>>> {
  /** The pattern found, permanently: baselines and configurations hold it. */
  readonly id: string
  readonly severity: Severity
  /** What it says depends on nothing but the numbers that a normalization stores. */
  readonly judgesAlone?: boolean | undefined
  /** What it finds, in one sentence. */
  readonly summary: string
  /** Why it matters. */
  readonly why: string
  readonly ignoreWhen: string
  /** What to do about it. */
  readonly fix: string
  /** Where that is known from. */
  readonly source: string
  /** Models in the text form: `quiet` ones have no finding of this rule, `finding` ones have. */
  readonly examples: { readonly quiet: readonly string[]; readonly finding: readonly string[] }
  readonly messages: Messages
  check(context: RuleContext & { report(found: Report<Messages>): void }): void
}

/** A finding before it has its place among the others. */
export interface Found extends Omit<Finding, 'rule' | 'severity' | 'fingerprint'> {
  readonly severity?: Severity | undefined
  readonly aspect?: string | undefined
}

export interface Rule extends Omit<RuleDefinition<Readonly<Record<string, string>>>, 'check'> {
  check(context: RuleContext): Found[]
}

export function defineRule<const Messages extends Readonly<Record<string, string>>>(
  definition: RuleDefinition<Messages>,
): Rule {
  return {
    ...definition,
    check(context) {
      const found: Found[] = []
      definition.check({
        ...context,
        report: ({ message, data, at, path, severity, aspect }) =>
          found.push({
            message: fill(definition.messages[message]!, data),
            ...(at ? { at } : {}),
            ...(path ? { path: [...path] } : {}),
            data: { ...data },
            severity,
            aspect,
          }),
      })
      return found
    },
  }
}

const fill = (text: string, data: Readonly<Record<string, Value>>): string =>
  text.replace(/\{(\w+)\}/g, (_, slot: string) => inWords(data[slot] ?? null))

function inWords(value: Value): string {
  if (typeof value === 'number') return numberInWords(value)
  return Array.isArray(value)
    ? value.map((item) => (typeof item === 'number' ? numberInWords(item) : item)).join(', ')
    : String(value)
}

function numberInWords(value: number): string {
  if (Number.isInteger(value)) return String(value)
  const rounded = Number(value.toPrecision(3))
  return Math.abs(rounded) < 1e-3 ? rounded.toExponential() : String(rounded)
}
