import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import * as path from 'node:path'
import { pathToFileURL } from 'node:url'
import { UserError } from '../ir/errors.ts'
import { didYouMean } from '../rules/nearest.ts'
import type { Level } from './kinds.ts'
import { environmentName, type SettingName, type Settings, settingNames, settings } from './settings.ts'

/** What a configuration file may hold. */
export type Config = Partial<Settings>

export interface ConfigFile {
  readonly path: string
  readonly config: Config
}

const names = ['varshift.config.ts', 'varshift.config.js', 'varshift.config.mjs', 'varshift.config.json']

/**
 * The configuration file that holds for `folder`: in it or the nearest one above. The search ends at the root of a
 * repository and at the home folder: what lies above belongs to others, and a configuration is a program.
 */
export function findConfig(folder: string): string | undefined {
  for (let at = path.resolve(folder); ; at = path.dirname(at)) {
    for (const name of names) {
      const candidate = path.join(at, name)
      if (existsSync(candidate)) return candidate
    }
    const isTop = at === path.dirname(at) || at === homedir() || existsSync(path.join(at, '.git'))
    if (isTop) return undefined
  }
}

/** Reads and checks a configuration file. Throws a UserError that names the file and the setting. */
export async function readConfig(file: string): Promise<ConfigFile> {
  const shown = path.relative(process.cwd(), file) || file
  const contents = await load(file, shown)
  if (typeof contents !== 'object' || contents === null || Array.isArray(contents))
    throw new UserError(`${shown}: expected an object of settings as the default export`)
  const { z } = await import('zod')
  const config: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(contents)) {
    if (value === undefined || name === '$schema') continue
    if (!isSetting(name))
      throw new UserError(`${shown}: there is no setting '${name}'${didYouMean(name, settingNames)}`)
    const { kind, names } = settings[name]
    const parsed = kind.schema(z).safeParse(value)
    if (!parsed.success)
      throw new UserError(`${shown}: ${name} is ${JSON.stringify(value)}, expected ${kind.expected}`)
    const folder = path.dirname(file)
    config[name] = names ? fromFolder(folder, parsed.data as string, names === 'data') : parsed.data
  }
  return { path: file, config }
}

const isSetting = (name: string): name is SettingName => Object.hasOwn(settings, name)

async function load(file: string, shown: string): Promise<unknown> {
  try {
    if (file.endsWith('.json')) return JSON.parse(await readFile(file, 'utf8'))
    if (/\.[jt]s$/.test(file)) {
      // A .js file may be either kind of module, whatever the package around it says.
      const { createJiti } = await import('jiti')
      return await createJiti(import.meta.url).import(pathToFileURL(file).href, { default: true })
    }
    const loaded = (await import(pathToFileURL(file).href)) as { default?: unknown }
    return loaded.default
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error)
    throw new UserError(`cannot read the configuration ${shown}: ${reason}`, { cause: error })
  }
}

/** A path from a configuration file as one from the working folder. */
function fromFolder(folder: string, name: string, isData: boolean): string {
  const [, prefix = '', rest = name] = (isData && /^([a-z][a-z\d]+:)(.*)$/s.exec(name)) || []
  if (prefix === 'shapes:') return name
  const paths = (prefix ? rest.split(',') : [rest]).map(
    (part) => path.relative(process.cwd(), path.resolve(folder, part)) || '.',
  )
  return prefix + paths.join(',')
}

/** Values of settings and, for each, where it was set. */
export interface Resolved {
  readonly values: Config
  readonly sources: Readonly<Partial<Record<SettingName, string>>>
  /** The configuration file in use. */
  readonly file: string | undefined
}

/**
 * The settings that hold: flags before environment before file. Severities are merged rule by rule.
 * Throws a UserError for a variable that holds something else than expected.
 */
export function resolveSettings(
  flags: Config,
  environment: Readonly<Record<string, string | undefined>>,
  file: ConfigFile | undefined,
): Resolved {
  const values: Record<string, unknown> = {}
  const sources: Partial<Record<SettingName, string>> = {}
  const set = (name: SettingName, value: unknown, source: string) => {
    if (value === undefined) return
    const isMerged = name === 'severity' && values[name] !== undefined
    values[name] = isMerged ? { ...(values[name] as object), ...(value as Record<string, Level>) } : value
    sources[name] = isMerged ? `${source} over ${sources[name]}` : source
  }
  for (const name of settingNames) {
    if (file) set(name, file.config[name], path.relative(process.cwd(), file.path) || file.path)
    const variable = environmentName(name)
    const text = environment[variable]
    if (text !== undefined && text !== '') {
      const { kind } = settings[name]
      const value = kind.parse(text)
      if (value === undefined)
        throw new UserError(`the environment variable ${variable} is '${text}', expected ${kind.expected}`)
      set(name, value, variable)
    }
    set(name, flags[name], settings[name].flag.split(' ')[0]!)
  }
  return { values: values as Config, sources, file: file?.path }
}

/** `--print-config`: each setting of a command, its value, and where that comes from. */
export function printSettings(chosen: readonly SettingName[], resolved: Resolved, asJson: boolean): string {
  const { values, sources, file } = resolved
  if (asJson) {
    const entries = chosen.map((name) => [
      name,
      { value: values[name] ?? null, source: sources[name] ?? 'default' },
    ])
    return `${JSON.stringify({ file: file ?? null, settings: Object.fromEntries(entries) }, undefined, 2)}\n`
  }
  const rows = chosen.map((name) => {
    const value = values[name]
    const { kind, standard = '-' } = settings[name]
    const shown = value === undefined ? standard : (kind.show as (value: unknown) => string)(value)
    return [name, shown, sources[name] ?? 'default'] as const
  })
  const width = (column: 0 | 1) => Math.max(...rows.map((row) => row[column].length))
  return [
    `configuration file: ${file === undefined ? 'none' : path.relative(process.cwd(), file)}`,
    '',
    ...rows.map(([name, value, source]) => `${name.padEnd(width(0))}  ${value.padEnd(width(1))}  ${source}`),
    '',
  ].join('\n')
}
