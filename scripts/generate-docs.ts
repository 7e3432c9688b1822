/**
 * Writes docs/rules from the rules themselves, docs/studies from the studies and their results, docs/cli.md from the
 * help of the command line, and the README's table of formats from the formats. What was written by hand stays.
 *
 *   npx jiti scripts/generate-docs.ts            writes
 *   npx jiti scripts/generate-docs.ts --check    fails if what is there is stale
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { factsOf } from '../src/analysis/index.ts'
import { exitCodeHelp } from '../src/cli/exit-codes.ts'
import { createProgram } from '../src/cli/program.ts'
import { environmentName, settingNames, settings } from '../src/cli/settings.ts'
import { formats } from '../src/formats/open-model.ts'
import { parseModel } from '../src/ir/text.ts'
import type { Rule } from '../src/rules/define-rule.ts'
import { chaptersOf } from '../src/rules/document.ts'
import { rules, runRules } from '../src/rules/index.ts'
import { studies } from '../src/studies/index.ts'
import { studyPages } from './study-pages.ts'

const docs = fileURLToPath(new URL('../docs', import.meta.url))
const generated = (source: string) => `<!-- Generated from ${source} by \`npm run docs\`. -->\n\n`

function rulePage(rule: Rule): string {
  const { id, severity, summary, examples } = rule
  const chapters = chaptersOf(rule).map(([heading, text]) => `## ${heading}\n\n${text}\n`)
  const code = (text: string) => `\`\`\`\n${text}\n\`\`\`\n`
  const found = examples.finding.map((text) => {
    const messages = messagesFor(text, rule).map((message) => `- ${message.replaceAll('*', '\\*')}`)
    return `${code(text)}\n${messages.join('\n')}\n`
  })
  return [
    `${generated(`src/rules/${id}.ts`)}# ${id}\n`,
    `${summary}\n`,
    `Severity: **${severity}** unless said otherwise below. Off: \`--ignore ${id}\`; another severity: \`--severity ${id}=error\`.\n`,
    ...chapters,
    '## Examples\n',
    'Models in the [text form of ONNX](https://onnx.ai/onnx/repo-docs/Syntax.html), with what is reported:\n',
    ...found,
    'Nothing is reported for:\n',
    ...examples.quiet.map(code),
  ].join('\n')
}

function messagesFor(text: string, { id }: Rule): string[] {
  const model = parseModel(text)
  const { findings } = runRules({ model, facts: factsOf(model) }, { select: [id] })
  return findings.map(({ severity, message }) => `${severity}: ${message}`)
}

function ruleIndex(): string {
  const rows = rules.map(({ id, severity, summary }) => `| [${id}](${id}.md) | ${severity} | ${summary} |`)
  return `${generated('src/rules')}# Rules

What \`varshift check\` looks for. \`varshift check --explain ID\` shows a page in the terminal.

| rule | severity | finds |
| --- | --- | --- |
${rows.join('\n')}
`
}

function helpOf(command: Command): string {
  let text = ''
  command.configureOutput({
    writeOut: (part) => {
      text += part
    },
    getOutHelpWidth: () => 110,
    getOutHasColors: () => false,
  })
  command.outputHelp()
  return text.trimEnd()
}

function commandLine(): string {
  const program = createProgram()
  const commands = program.commands.filter((command) => command.name() !== 'help')
  const chapters = [program, ...commands].map((command) => {
    const name = command === program ? 'varshift' : `varshift ${command.name()}`
    return `## ${name}\n\n\`\`\`\n${helpOf(command)}\n\`\`\`\n`
  })
  const [first = '', ...others] = chapters
  const rest = others.map((chapter) => chapter.replace(`\n\n${exitCodeHelp}`, ''))
  return `${generated('src/cli')}# Command line\n\n${[first, ...rest].join('\n')}\n${configuration()}`
}

function configuration(): string {
  const rows = settingNames.map((name) => {
    const { flag, kind, standard = '' } = settings[name]
    return `| \`${name}\` | \`${flag}\` | \`${environmentName(name)}\` | ${kind.expected} | ${standard} |`
  })
  return `## Configuration

A flag goes before an environment variable, that before the configuration file: \`varshift.config.ts\`, \`.js\`, \`.mjs\` or \`.json\` in the working folder or the nearest one above, up to the root of the repository. The file exports its settings as default:

\`\`\`ts
export default {
  ignore: ['bias-before-batch-norm'],
  severity: { 'dropout-upstream-of-batch-norm': 'warning' },
  baseline: 'varshift-known.json',
}
\`\`\`

Paths in it are relative to its folder; severities are merged rule by rule. \`--print-config\` shows each value and where it comes from.

| setting | flag | variable | takes | default |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

Also: \`NO_COLOR\`, \`FORCE_COLOR\`, \`COLUMNS\`, and \`VARSHIFT_DEBUG=1\` for the stack of an error.
`
}

const pages = new Map<string, string>([
  ['cli.md', commandLine()],
  ['rules/index.md', ruleIndex()],
  ...rules.map((rule) => [`rules/${rule.id}.md`, rulePage(rule)] as const),
  ...studyPages(studies, docs),
])

/** The table of formats stands in the README itself, between two comments. */
const readmePath = fileURLToPath(new URL('../README.md', import.meta.url))
const readme = readFileSync(readmePath, 'utf8')
const marks = ['<!-- formats: generated from src/formats by `npm run docs` -->', '<!-- /formats -->'] as const
const table = [
  '| format | reads | runs | repairs | writes |',
  '| --- | --- | --- | --- | --- |',
  ...formats.map(
    ({ name, support: { reads, runs, repairs, writes } }) =>
      `| ${[name, reads, runs, repairs, writes].join(' | ')} |`,
  ),
].join('\n')
const [head = '', rest = ''] = readme.split(marks[0])
const [, tail = ''] = rest.split(marks[1])
const readmeWithTable = `${head}${marks[0]}\n\n${table}\n\n${marks[1]}${tail}`

const existing = (path: string): string | undefined => {
  try {
    return readFileSync(join(docs, path), 'utf8')
  } catch {
    return undefined
  }
}

/** Pages that were generated from what is there no more. */
const orphans = ['rules', 'studies'].flatMap((folder) => {
  mkdirSync(join(docs, folder), { recursive: true })
  return readdirSync(join(docs, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `${folder}/${name}`)
    .filter((path) => !pages.has(path) && existing(path)!.startsWith('<!-- Generated from '))
})
const stale = [...pages].filter(([path, text]) => existing(path) !== text).map(([path]) => path)

if (process.argv.includes('--check')) {
  const wrong = [
    ...[...stale, ...orphans].map((path) => `docs/${path}`),
    ...(readmeWithTable === readme ? [] : ['README.md']),
  ]
  if (wrong.length > 0) {
    console.error(`stale: ${wrong.join(', ')}; run \`npm run docs\``)
    process.exitCode = 1
  }
} else {
  for (const path of orphans) rmSync(join(docs, path))
  for (const path of stale) writeFileSync(join(docs, path), pages.get(path)!)
  if (readmeWithTable !== readme) writeFileSync(readmePath, readmeWithTable)
  console.log(stale.length + orphans.length === 0 ? 'docs are up to date' : `wrote ${stale.join(', ')}`)
}
