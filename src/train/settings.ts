import { UserError } from '../ir/errors.ts'

export type SettingValue = number | boolean | string | readonly number[] | undefined

/** A setting of a unit: what kind of value it takes, and what holds if nobody gives one. */
export type SettingDefinition =
  | { readonly kind: 'number'; readonly standard: number; readonly min: number; readonly max: number }
  | { readonly kind: 'switch'; readonly standard: boolean }
  | { readonly kind: 'text'; readonly standard: string | undefined }
  /** Numbers with slashes between them: `1/2/0.5`. */
  | { readonly kind: 'numbers'; readonly standard: readonly number[] | undefined }

export type SettingDefinitions = Readonly<Record<string, SettingDefinition>>

/** The values that a unit with these settings works with. */
export type SettingsOf<Definitions extends SettingDefinitions> = {
  readonly [Name in keyof Definitions]: Definitions[Name]['kind'] extends 'number'
    ? number
    : Definitions[Name]['kind'] extends 'switch'
      ? boolean
      :
          | Definitions[Name]['standard']
          | (Definitions[Name]['kind'] extends 'text' ? string : readonly number[])
}

/** A unit chosen, with some of its settings: `{ id: 'sgd', momentum: 0.9 }`, or as text `sgd:momentum=0.9`. */
export type Choice = { readonly id: string } & Readonly<Record<string, SettingValue>>

/** Reads `id:name=value,name=value`. */
export function parseChoice(text: string): Choice {
  const [, id = '', rest = ''] = /^([^:]*):?(.*)$/s.exec(text) ?? []
  const pairs = rest === '' ? [] : rest.split(',').map((pair) => pair.split('='))
  for (const pair of pairs)
    if (pair.length !== 2)
      throw new UserError(
        `'${text}': '${pair.join('=')}' is no setting, expected name=value; for example sgd:momentum=0.9`,
      )
  return {
    ...Object.fromEntries(pairs.map(([name, value]) => [camel(name!.trim()), value!.trim()])),
    id: id.trim(),
  }
}

const camel = (name: string) => name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())

/** The unit that `choice` names, and all its settings, checked. `what` says what kind of unit it is. */
export function chosen<U extends { readonly id: string; readonly settings: SettingDefinitions }>(
  choice: string | Choice,
  units: readonly U[],
  what: string,
): { readonly unit: U; readonly settings: Readonly<Record<string, SettingValue>> } {
  const { id, ...given } = typeof choice === 'string' ? parseChoice(choice) : choice
  const unit = units.find((candidate) => candidate.id === id)
  if (!unit)
    throw new UserError(
      `no ${what} is called '${id}'; there are ${units.map((candidate) => candidate.id).join(', ')}`,
    )
  const settings: Record<string, SettingValue> = {}
  for (const [name, definition] of Object.entries(unit.settings))
    settings[name] =
      given[name] === undefined
        ? definition.standard
        : checkedValue(given[name], definition, `${id}: ${name}`)
  const unknown = Object.keys(given).find(
    (name) => given[name] !== undefined && !Object.hasOwn(unit.settings, name),
  )
  if (unknown !== undefined) {
    const known = Object.keys(unit.settings)
    throw new UserError(
      `${what} '${id}' has no setting '${unknown}'; ${known.length > 0 ? `it has ${known.join(', ')}` : 'it has none'}`,
    )
  }
  return { unit, settings }
}

function checkedValue(given: SettingValue, definition: SettingDefinition, where: string): SettingValue {
  const wrong = (expected: string) =>
    new UserError(`${where} is ${JSON.stringify(given)}, expected ${expected}`)
  switch (definition.kind) {
    case 'number': {
      const { min, max } = definition
      const value = given === '' ? Number.NaN : Number(given)
      if (!(value >= min && value <= max))
        throw wrong(
          max === Number.POSITIVE_INFINITY ? `a number from ${min}` : `a number from ${min} to ${max}`,
        )
      return value
    }
    case 'switch':
      if (given === true || given === 'true') return true
      if (given === false || given === 'false') return false
      throw wrong('true or false')
    case 'text':
      return String(given)
    case 'numbers': {
      const values = typeof given === 'string' ? given.split('/').map(Number) : given
      if (
        !Array.isArray(values) ||
        values.length === 0 ||
        !values.every((v) => typeof v === 'number' && Number.isFinite(v))
      )
        throw wrong('numbers with slashes between them')
      return values as readonly number[]
    }
  }
}
