import { UserError } from '../../ir/errors.ts'
import { printable } from '../../report/format.ts'
import { wrap } from '../../report/terminal/text.ts'
import type { Result } from '../../result/result.ts'
import { nameInBaseline, readBaseline, writeBaseline } from '../baseline.ts'
import type { Config } from '../config.ts'
import { type CommandContext, defineCommand } from '../define-command.ts'
import { type ExitCode, exitCodes } from '../exit-codes.ts'
import { explainError } from '../explain-error.ts'
import { interruptible, unlessStopped } from '../interrupt.ts'
import { present, reportFiles } from '../present.ts'
import { ruleOptions, runOptions } from '../work-options.ts'

/** Findings about models, without data and without running them. */
export const checkCommand = defineCommand({
  name: 'check',
  summary: 'Find what in a model causes variance shift, and predict how much, without data.',
  usage: '<model...>',
  takes: { what: 'one model file or more', least: 1, most: Number.POSITIVE_INFINITY },
  settings: [
    'select',
    'ignore',
    'severity',
    'failOn',
    'maxWarnings',
    'baseline',
    'seed',
    'threads',
    'format',
  ],
  flags: [
    [
      '--distill',
      'measure the predictions that are estimates, on inputs distilled from the model; runs it, up to a minute',
    ],
    ['--update-baseline', 'write all findings to the baseline file, so that only new ones are reported'],
    ['--list-rules', 'list the rules'],
    ['--explain <rule>', 'what a rule finds, why it matters, when to ignore it and what to do'],
    ['-o, --output <file>', 'also write the findings to a .json, .sarif, .html or .txt file'],
    ['--html <file>', 'also write an HTML report'],
  ],
  alone: ['listRules', 'explain'],
  examples: [
    ['varshift check model.onnx', 'findings and predicted shift'],
    ['varshift check model.onnx --distill', 'sharper predictions, still without data'],
    ['varshift check nets/*.onnx --fail-on error', 'several models; only errors count'],
    ['varshift check model.onnx --format sarif', 'for code scanning'],
    ['varshift check --explain dropout-before-batch-norm', 'what a finding means'],
    ['varshift check model.onnx --baseline known.json --update-baseline', 'from now on only new findings'],
  ],
  async run(context) {
    const { flags } = context
    if (flags.listRules) return listRules(context)
    if (typeof flags.explain === 'string') return explainRule(flags.explain, context)
    return checkModels(context)
  },
})

async function checkModels(context: CommandContext): Promise<ExitCode> {
  const { args, flags, settings, console, files } = context
  const { baseline: file } = settings
  if (flags.updateBaseline && file === undefined)
    throw new UserError('--update-baseline needs a file to write to: --baseline FILE')
  const isNew = flags.updateBaseline && file !== undefined && !(await files.stat(file))
  const known = file === undefined || isNew ? {} : await readBaseline(file, files)
  const wanted = await reportFiles(context)
  const options = await ruleOptions(context)
  const [{ openModel }, { check }] = await Promise.all([
    import('../../formats/open-model.ts'),
    import('../../commands/check.ts'),
  ])
  // ONNX Runtime is not loaded unless something is to be run.
  const distilled = flags.distill ? await import('../../commands/check-distilled.ts') : undefined
  const results: Result[] = []
  let failed: ExitCode = exitCodes.fine
  for (const path of args) {
    const hidden = flags.updateBaseline || file === undefined ? [] : known[nameInBaseline(file, path)]
    try {
      const model = await openModel(path, files)
      const wishes = { ...options, baseline: hidden ?? [] }
      const result = distilled
        ? await interruptible(console, (signal) =>
            unlessStopped(
              signal,
              distilled.checkDistilled(model, { ...wishes, ...runOptions(context, signal) }, files),
            ),
          )
        : check(model, wishes)
      if (!result) {
        console.error('varshift: stopped')
        return exitCodes.interrupted
      }
      results.push(result)
    } catch (error) {
      // One broken file of many does not keep the findings of the others back.
      const code = explainError(error, console)
      failed = failed === exitCodes.defect ? failed : code
    }
  }
  if (failed === exitCodes.fine && flags.updateBaseline && file !== undefined) {
    const found = results.map(({ model, findings }) => [
      nameInBaseline(file, model.path),
      findings.map(({ fingerprint }) => fingerprint),
    ])
    await writeBaseline(file, { ...known, ...Object.fromEntries(found) }, files)
    console.note(`wrote ${file}`)
  }
  if (results.length > 0) await present(context, results, wanted)
  if (failed !== exitCodes.fine) return failed
  return flags.updateBaseline || !isTooMuch(results, settings) ? exitCodes.fine : exitCodes.findings
}

const failing = { error: ['error'], warning: ['error', 'warning'], info: ['error', 'warning', 'info'] }

function isTooMuch(results: readonly Result[], { failOn, maxWarnings }: Config): boolean {
  const found = results.flatMap(({ findings }) => findings.map(({ severity }) => severity as string))
  const level = failOn ?? (maxWarnings === undefined ? 'warning' : 'error')
  if (level === 'never') return false
  const warnings = found.filter((severity) => severity === 'warning').length
  return found.some((severity) => failing[level].includes(severity)) || warnings > (maxWarnings ?? Infinity)
}

async function listRules({ console, settings }: CommandContext): Promise<ExitCode> {
  const { rules } = await import('../../rules/index.ts')
  const { plain } = await import('../../rules/document.ts')
  if (settings.format === 'json') {
    const list = rules.map(({ id, severity, summary, why, ignoreWhen, fix, source }) => ({
      id,
      severity,
      summary,
      why,
      ignoreWhen,
      fix,
      source,
    }))
    console.out(`${JSON.stringify(list, undefined, 2)}\n`)
    return exitCodes.fine
  }
  const width = Math.max(...rules.map(({ id }) => id.length))
  const room = Math.max(30, Math.min(console.width, 120) - width - 12)
  for (const { id, severity, summary } of rules)
    wrap(plain(summary), room).forEach((line, i) => {
      const head = i === 0 ? `${id.padEnd(width)}  ${severity.padEnd(8)}` : ' '.repeat(width + 10)
      console.out(`${head}  ${line}\n`)
    })
  return exitCodes.fine
}

async function explainRule(id: string, { console, settings }: CommandContext): Promise<ExitCode> {
  const { ruleOf } = await import('../../rules/index.ts')
  const { chaptersOf, plain } = await import('../../rules/document.ts')
  const rule = ruleOf(id)
  if (settings.format === 'json') {
    const { severity, summary, why, ignoreWhen, fix, source, examples } = rule
    console.out(
      `${JSON.stringify({ id, severity, summary, why, ignoreWhen, fix, source, examples }, undefined, 2)}\n`,
    )
    return exitCodes.fine
  }
  const room = Math.max(40, Math.min(console.width, 100)) - 2
  const lines = [`${id} (${rule.severity})`, '', ...wrap(plain(rule.summary), room + 2)]
  for (const [heading, text] of chaptersOf(rule))
    lines.push('', heading, ...wrap(plain(text), room).map((line) => `  ${line}`))
  console.out(`${lines.map(printable).join('\n')}\n`)
  return exitCodes.fine
}
