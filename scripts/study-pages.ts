import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { figureText, statusOf } from '../src/report/study/words.ts'
import { budgets, type StudyResult, type StudyTable, studySchema } from '../src/result/study.ts'
import type { Study } from '../src/studies/define-study.ts'

/**
 * The pages of docs/studies: what each study asks and how, from its own words, and what it found where a result
 * (`docs/studies/results/*.json`, as `varshift study ID -o FILE` writes it) is there.
 */
export function studyPages(studies: readonly Study[], docs: string): [path: string, text: string][] {
  const results = resultsIn(join(docs, 'studies/results'))
  return [
    ['studies/index.md', index(studies, results)],
    ...studies.map((study): [string, string] => [
      `studies/${fileOf(study.id)}.md`,
      page(study, results.get(study.id)),
    ]),
  ]
}

const fileOf = (id: string) => id.replaceAll('/', '-')

function resultsIn(folder: string): Map<string, StudyResult> {
  if (!existsSync(folder)) return new Map()
  const found = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => studySchema.parse(JSON.parse(readFileSync(join(folder, name), 'utf8'))))
  return new Map(found.map((result) => [result.study.id, result]))
}

const generated = '<!-- Generated from src/studies and docs/studies/results by `npm run docs`. -->\n\n'

function index(studies: readonly Study[], results: ReadonlyMap<string, StudyResult>): string {
  const rows = studies.map(({ id, claim, minutes, grid }) => {
    const run = results.get(id)
    const cost = budgets.map((budget) => `${grid(budget).length} (${minutes[budget]} min)`).join(', ')
    return `| [${id}](${fileOf(id)}.md) | ${claim} | ${cost} | ${run ? `${run.budget}, ${statusOf(run)}` : 'not run yet'} |`
  })
  return `${generated}# Studies

Declared experiments: \`varshift study ID --budget smoke|small|paper [--data cifar10:DIR]\`. Without \`--data\` they run on the
built-in pictures. Finished cells are kept, so that a study goes on where it stopped. What they say together, in words:
[conclusions](conclusions.md).

| study | claim put to the test | cells (about) for ${budgets.join(', ')} | result here |
| --- | --- | --- | --- |
${rows.join('\n')}
`
}

function page({ id, claim, source, method }: Study, result: StudyResult | undefined): string {
  const found = result
    ? [
        '## What was found\n',
        ...result.conclusions.map((line) => `- ${line}`),
        `\n\`${result.command}\`, ${statusOf(result)}; ${result.machine}; varshift ${result.tool.version}.\n`,
        ...result.tables.map(tableOf),
      ]
    : ['Not run yet at a budget that would tell.\n']
  return `${generated}# ${id}\n\n${claim}\n\n${method}\n\nSource: ${source}.\n\n${found.join('\n')}`
}

function tableOf({ title, columns, rows, note }: StudyTable): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [
    `### ${title}\n`,
    line(columns),
    line(columns.map(() => '---')),
    ...rows.map((row) => line(row.map(figureText))),
    note ? `\n${note}\n` : '',
  ].join('\n')
}
