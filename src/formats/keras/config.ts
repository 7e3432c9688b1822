import { UserError } from '../../ir/errors.ts'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }
export type JsonObject = { readonly [key: string]: Json }

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A layer's settings as the file states them, read by type. Throws a UserError that names the layer and the key. */
export class Config {
  readonly values: JsonObject
  /** The layer, for messages. */
  readonly owner: string

  constructor(values: JsonObject, owner: string) {
    this.values = values
    this.owner = owner
  }

  /** The value as it stands; undefined if absent or null. */
  raw(key: string): Json | undefined {
    return (Object.hasOwn(this.values, key) ? this.values[key] : undefined) ?? undefined
  }

  number(key: string, missing?: number): number {
    const value = this.raw(key) ?? missing
    if (typeof value === 'boolean') return Number(value)
    if (typeof value === 'number' && Number.isFinite(value)) return value
    throw this.wrong(key, 'a number')
  }

  /** A whole number of at least `least`. */
  integer(key: string, missing?: number, least = 1): number {
    const value = this.number(key, missing)
    if (Number.isSafeInteger(value) && value >= least && value < 2 ** 31) return value
    throw this.wrong(key, `a whole number of at least ${least}`)
  }

  /** Keras writes 0 and 1 for some flags. */
  flag(key: string, missing: boolean): boolean {
    const value = this.raw(key) ?? missing
    if (typeof value === 'boolean') return value
    if (value === 0 || value === 1) return value === 1
    throw this.wrong(key, 'true or false')
  }

  text(key: string, missing?: string): string {
    const value = this.raw(key) ?? missing
    if (typeof value === 'string') return value
    throw this.wrong(key, 'a text')
  }

  choice<const C extends string>(key: string, choices: readonly C[], missing?: C): C {
    const value = this.text(key, missing)
    const found = choices.find((choice) => choice === value)
    if (found !== undefined) return found
    throw this.wrong(key, choices.map((choice) => `'${choice}'`).join(' or '))
  }

  /** `length` whole numbers, given as a list or as one number for all. */
  sizes(key: string, length: number, missing?: number | readonly number[], least = 1): number[] {
    const value = this.raw(key) ?? missing
    const list = Array.isArray(value) ? value : new Array(length).fill(value)
    const isRight = (n: unknown) =>
      typeof n === 'number' && Number.isSafeInteger(n) && n >= least && n < 2 ** 31
    if (list.length === length && list.every(isRight)) return list as number[]
    throw this.wrong(key, `${length} whole numbers of at least ${least}`)
  }

  list(key: string): readonly Json[] {
    const value = this.raw(key)
    if (Array.isArray(value)) return value
    throw this.wrong(key, 'a list')
  }

  /** A list of whole numbers, also given as one of them. */
  integers(key: string): number[] {
    const value = this.raw(key)
    const list = Array.isArray(value) ? value : [value]
    if (list.every((n) => Number.isSafeInteger(n))) return list as number[]
    throw this.wrong(key, 'whole numbers')
  }

  wrong(key: string, expected: string): UserError {
    const got = JSON.stringify(this.values[key] ?? null) ?? 'nothing'
    const short = got.length > 80 ? `${got.slice(0, 80)}...` : got
    return new UserError(
      `layer '${this.owner}': '${key}' is ${short}, expected ${expected}; save the model again with Keras`,
    )
  }
}
