import type { z as Zod, ZodType } from 'zod'

/** What values a setting takes: written as text in flags and environment, as plain values in a configuration file. */
export interface Kind<T> {
  /** What is expected, to follow that word. */
  readonly expected: string
  /** The value that `text` stands for; undefined if it stands for none. `before` is what an earlier flag gave. */
  parse(text: string, before?: T): T | undefined
  /** The same for values from a configuration file; zod is handed in, since loading it takes longer than most commands. */
  schema(z: typeof Zod): ZodType<T>
  /** The value as a flag takes it. */
  show(value: T): string
}

const text: Kind<string> = {
  expected: 'text',
  parse: (text) => text || undefined,
  schema: (z) => z.string().min(1),
  show: (value) => value,
}

const number = ({
  above,
  least,
  whole,
  max = Number.MAX_SAFE_INTEGER,
}: {
  above?: number
  least?: number
  whole?: number
  max?: number
}): Kind<number> => {
  const fits = (value: number) =>
    Number.isFinite(value) &&
    value <= max &&
    (whole === undefined || (Number.isInteger(value) && value >= whole)) &&
    (above === undefined || value > above) &&
    (least === undefined || value >= least)
  const expected =
    whole === undefined
      ? `a number${above === undefined ? '' : ` above ${above}`}${least === undefined ? '' : ` from ${least}`}`
      : `a whole number from ${whole}`
  return {
    expected,
    parse: (text) => {
      // Fractions, since pixels are divided by 255.
      const parts = /^[^/]+(?:\/[^/]+)?$/.test(text.trim()) ? text.split('/').map(plainNumber) : [Number.NaN]
      const value = parts.length === 2 ? parts[0]! / parts[1]! : parts[0]!
      return fits(value) ? value : undefined
    },
    schema: (z) => z.number().refine(fits),
    show: String,
  }
}

const plainNumber = (text: string): number =>
  /^\s*[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[-+]?\d+)?\s*$/i.test(text)
    ? Number(text.replaceAll('_', ''))
    : Number.NaN

const numbers: Kind<readonly number[]> = {
  expected: 'a number, or one a channel, with commas between',
  parse: (text) => {
    const values = text.split(',').map(plainNumber)
    return values.every(Number.isFinite) ? values : undefined
  },
  schema: (z) => z.array(z.number()).min(1),
  show: (values) => values.join(','),
}

const list: Kind<readonly string[]> = {
  expected: 'names with commas between',
  parse: (text, before = []) => {
    const names = text
      .split(',')
      .map((name) => name.trim())
      .filter(Boolean)
    return names.length > 0 ? [...before, ...names] : undefined
  },
  schema: (z) => z.array(z.string()),
  show: (names) => names.join(','),
}

const choice = <const T extends string>(...choices: readonly T[]): Kind<T> => ({
  expected: `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`,
  parse: (text) => choices.find((choice) => choice.toLowerCase() === text.toLowerCase()),
  schema: (z) => z.enum(choices as readonly [T, ...T[]]) as unknown as ZodType<T>,
  show: (value) => value,
})

const levels = ['error', 'warning', 'info', 'off'] as const
export type Level = (typeof levels)[number]

const severities: Kind<Readonly<Record<string, Level>>> = {
  expected: `rule=level, where the level is ${levels.slice(0, -1).join(', ')} or off`,
  parse: (text, before = {}) => {
    const pairs = text.split(',').map((pair) => pair.split('=').map((part) => part.trim()))
    if (!pairs.every(([id, level, ...rest]) => id && levels.includes(level as Level) && rest.length === 0))
      return undefined
    return { ...before, ...(Object.fromEntries(pairs) as Record<string, Level>) }
  },
  schema: (z) => z.record(z.string(), z.enum(levels)),
  show: (value) =>
    Object.entries(value)
      .map(([id, level]) => `${id}=${level}`)
      .join(','),
}

/** Height and width in pixels. */
export type Size = readonly [height: number, width: number]

const size: Kind<Size> = {
  expected: 'a side in pixels, or height x width (224 or 224x160)',
  parse: (text) => {
    const match = /^(\d+)(?:x(\d+))?$/i.exec(text.trim())
    const [height, width] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])]
    return height > 0 && width > 0 ? [height, width] : undefined
  },
  schema: (z) => {
    const side = z.number().int().min(1)
    return z.union([
      side.transform((pixels): Size => [pixels, pixels]),
      z.tuple([side, side]),
    ]) as unknown as ZodType<Size>
  },
  show: ([height, width]) => `${height}x${width}`,
}

const onOff: Kind<boolean> = {
  expected: 'true or false',
  parse: (text) =>
    /^(?:1|true|yes|on)$/i.test(text) ? true : /^(?:0|false|no|off)$/i.test(text) ? false : undefined,
  schema: (z) => z.boolean(),
  show: String,
}

export const kinds = { text, number, numbers, list, choice, severities, size, onOff }
