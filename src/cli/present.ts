import type { Result } from '../result/result.ts'
import type { CommandContext } from './define-command.ts'
import { type Form, formOf, render } from './render.ts'
import { checkWritable, inputsOf, writeText } from './write.ts'

/** A file to write results to. */
export interface ReportFile {
  readonly path: string
  readonly form: Form
}

/**
 * Files that a command was asked to write its results to: `--html`, and `-o` unless that is the `model` to write.
 * Throws a UserError if one cannot be written.
 */
export async function reportFiles(
  context: CommandContext,
  { model }: { readonly model?: string | undefined } = {},
): Promise<ReportFile[]> {
  const { output, html } = context.flags
  const wanted: ReportFile[] = []
  if (typeof output === 'string' && output !== model) wanted.push({ path: output, form: formOf(output) })
  if (typeof html === 'string') wanted.push({ path: html, form: 'html' })
  const taken = inputsOf(context)
  if (model !== undefined) taken.push(model)
  for (const { path } of wanted) {
    await checkWritable(path, taken, context.files)
    taken.push(path)
  }
  return wanted
}

/** Writes results to the files asked for, then prints them. */
export async function present(
  context: CommandContext,
  results: readonly Result[],
  wanted: readonly ReportFile[],
): Promise<void> {
  const { console, settings, files } = context
  for (const { path, form } of wanted) {
    const text = await render(results, form, { color: false, width: console.width, verbose: true })
    await writeText(path, text, files)
    console.note(`wrote ${path}`)
  }
  const form = settings.format ?? 'terminal'
  if (form === 'terminal' && console.quiet) {
    const { verdictOf } = await import('../report/verdict.ts')
    for (const result of results) console.out(`${result.model.path}: ${verdictOf(result).sentence}\n`)
  } else console.out(await render(results, form, console))
}
