import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { UserError } from '../ir/errors.ts'
import { version } from '../version.ts'
import { checkCommand } from './commands/check.ts'
import { compareCommand } from './commands/compare.ts'
import { demoCommand } from './commands/demo.ts'
import { fixCommand } from './commands/fix.ts'
import { layerCommand } from './commands/layer.ts'
import { measureCommand } from './commands/measure.ts'
import { reportCommand } from './commands/report.ts'
import { studyCommand } from './commands/study.ts'
import { trainCommand } from './commands/train.ts'
import type { Config } from './config.ts'
import { type Console, openConsole } from './console.ts'
import type { CommandDefinition } from './define-command.ts'
import { type ExitCode, exitCodeHelp, exitCodes } from './exit-codes.ts'
import { explainError } from './explain-error.ts'
import {
  dataSettings,
  ruleSettings,
  runSettings,
  type Setting,
  type SettingName,
  settings,
  trainSettings,
} from './settings.ts'

/** Every command, in the order in which help lists them. */
export const commands: readonly CommandDefinition[] = [
  checkCommand,
  measureCommand,
  fixCommand,
  compareCommand,
  trainCommand,
  reportCommand,
  studyCommand,
  layerCommand,
  demoCommand,
]

type Values = Readonly<Record<string, unknown>>

/** The whole command line; `done` is told the exit code of the command that ran. */
export function createProgram(done: (code: ExitCode) => void = () => {}): Command {
  const program = new Command('varshift')
    .description(
      'Finds, measures and repairs the shift between train and eval mode that Dropout and other noise cause in batch normalization.',
    )
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show the help of a command')
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(`varshift: ${text.trimEnd().replaceAll('\n', ' ')}\n`),
    })
    .addHelpText(
      'after',
      `
Examples:
  varshift demo                                     the whole journey on a model that comes along
  varshift check model.onnx                         findings and predicted shift, without data
  varshift measure model.onnx --data images.npz     what every layer really sees
  varshift fix model.onnx --data images.npz -o fixed.onnx
  varshift train preresnet-20 --data cifar10:DIR -o net.onnx

${exitCodeHelp}

Settings come from flags, then VARSHIFT_... variables, then varshift.config.{ts,js,mjs,json}; see --print-config.`,
    )
  for (const definition of commands) addCommand(program, definition, done)
  return program
}

function addCommand(program: Command, definition: CommandDefinition, done: (code: ExitCode) => void): void {
  const command = program
    .command(definition.name)
    .summary(definition.summary)
    .description([definition.summary, definition.about].filter(Boolean).join('\n\n'))
    .usage(`${definition.usage} [options]`.trim())
    .helpOption('-h, --help', 'show help')
    .argument('[arguments...]')
    .configureHelp({ visibleArguments: () => [] })
    .optionsGroup('Options:')
  for (const [flag, about] of definition.flags) command.addOption(new Option(flag, about))
  const listed = new Set<SettingName>(['format'])
  for (const [heading, names] of [
    ['Data:', dataSettings],
    ['Training:', trainSettings],
    ['Running:', runSettings],
    ['Rules:', ruleSettings],
    ['Options:', definition.settings],
  ] as const) {
    command.optionsGroup(heading)
    for (const name of names) {
      if (!definition.settings.includes(name) || listed.has(name)) continue
      listed.add(name)
      command.addOption(optionOf(settings[name] as Setting<unknown>))
    }
  }
  command.optionsGroup('Output:')
  if (definition.settings.includes('format'))
    command
      .addOption(optionOf(settings.format as Setting<unknown>))
      .option('--json', 'the same as --format json')
  command
    .option('-q, --quiet', 'one line a model, no progress')
    .option('-v, --verbose', 'every layer and finding; where an error came from')
    .option('--color', 'colours even where there is no terminal')
    .option('--no-color', 'no colours (also: NO_COLOR=1)')
    .optionsGroup('Configuration:')
    .option('--config <file>', 'read this configuration file')
    .option('--no-config', 'read no configuration file')
    .option('--print-config', 'show every setting and where it comes from, and do nothing')
  const width = Math.max(...definition.examples.map(([line]) => line.length))
  const examples = definition.examples.map(([line, what]) => `  ${line.padEnd(width)}  ${what}`)
  command.addHelpText('after', `\nExamples:\n${examples.join('\n')}\n\n${exitCodeHelp}`)
  command.action(async (args: string[], values: Values) => done(await start(definition, args, values)))
}

function optionOf({ kind, flag, about, standard }: Setting<unknown>): Option {
  const isSwitch = !flag.includes('<')
  const option = new Option(flag, standard === undefined ? about : `${about} (default: ${standard})`)
  return isSwitch
    ? option
    : option.argParser((text: string, before: unknown) => {
        const value = kind.parse(text, before)
        if (value === undefined) throw new InvalidArgumentError(`expected ${kind.expected}.`)
        return value
      })
}

/** Resolves the settings of a command, then runs it. */
async function start(
  definition: CommandDefinition,
  args: readonly string[],
  values: Values,
): Promise<ExitCode> {
  const { findConfig, readConfig, resolveSettings, printSettings } = await import('./config.ts')
  const file =
    values.config === false
      ? undefined
      : typeof values.config === 'string'
        ? values.config
        : findConfig(process.cwd())
  const fromFlags: Record<string, unknown> = {}
  for (const name of definition.settings) fromFlags[name] = values[name]
  if (values.json === true) {
    if (values.format !== undefined && values.format !== 'json')
      throw new UserError(
        `--json and --format ${String(values.format)} contradict each other; give one of them`,
      )
    fromFlags.format = 'json'
  }
  const resolved = resolveSettings(
    fromFlags as Config,
    process.env,
    file === undefined ? undefined : await readConfig(file),
  )
  const console = openConsole({
    color: values.color as boolean | undefined,
    quiet: values.quiet === true,
    verbose: values.verbose === true,
    progress: (resolved.values.format ?? 'terminal') === 'terminal',
  })
  if (values.printConfig === true) {
    console.out(printSettings(definition.settings, resolved, values.json === true))
    return exitCodes.fine
  }
  const { what, least, most } = definition.takes
  const needsNone = definition.alone?.some((flag) => values[flag] !== undefined && values[flag] !== false)
  if (!needsNone && (args.length < least || args.length > most))
    throw new UserError(
      `${definition.name} takes ${what}, got ${args.length === 0 ? 'none' : args.length}; see varshift ${definition.name} --help`,
    )
  const { nodeFiles } = await import('../platform/node.ts')
  return definition.run({
    args,
    flags: values as Record<string, string | boolean | undefined>,
    settings: resolved.values,
    console,
    files: nodeFiles,
  })
}

/** Runs the command line `argv` (node and script included) and returns the exit code. Throws nothing. */
export async function run(argv: readonly string[]): Promise<ExitCode> {
  let code: ExitCode = exitCodes.fine
  const program = createProgram((told) => {
    code = told
  })
  try {
    if (argv.length <= 2) {
      program.outputHelp({ error: true })
      return exitCodes.usage
    }
    await program.parseAsync(argv)
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.fine : exitCodes.usage
    return explainError(error, plainConsole(argv))
  }
}

/** A console for errors that come before or outside a command. */
export const plainConsole = (argv: readonly string[]): Console =>
  openConsole({
    color: false,
    quiet: false,
    verbose: argv.includes('--verbose') || argv.includes('-v'),
    progress: false,
  })
