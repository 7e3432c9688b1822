import type { Files } from '../platform/files.ts'
import type { Config } from './config.ts'
import type { Console } from './console.ts'
import type { ExitCode } from './exit-codes.ts'
import type { SettingName } from './settings.ts'

/** What a command has to work with. */
export interface CommandContext {
  /** As many as the command's `takes` demands. */
  readonly args: readonly string[]
  /** Flags that are no settings, by their name in camel case. */
  readonly flags: Readonly<Record<string, string | boolean | undefined>>
  /** Settings from flags, environment and configuration file. */
  readonly settings: Config
  readonly console: Console
  readonly files: Files
}

export interface CommandDefinition {
  readonly name: string
  /** One line for the list of commands. */
  readonly summary: string
  /** Below the summary in the command's own help. */
  readonly about?: string
  /** The arguments, as usage shows them: `<model...>`. */
  readonly usage: string
  readonly takes: { readonly what: string; readonly least: number; readonly most: number }
  readonly settings: readonly SettingName[]
  /** Flags and what they do. */
  readonly flags: readonly (readonly [flag: string, about: string])[]
  /** Flags that do without arguments. */
  readonly alone?: readonly string[]
  /** Command lines and what they do. */
  readonly examples: readonly (readonly [line: string, what: string])[]
  run(context: CommandContext): Promise<ExitCode>
}

export const defineCommand = (command: CommandDefinition): CommandDefinition => command
