import type { Result } from '../result/result.ts'
import type { CommandContext } from './define-command.ts'
import { formOf, render } from './render.ts'
import { checkWritable, writeText } from './write.ts'

/** Files that a command was asked to write its results to (`-o`, `--html`). Throws a UserError if one cannot be. */
export async function reportFiles(
  { flags, files }: CommandContext,
  inputs: readonly string[],
  { output = true }: { output?: boolean } = {},
): Promise<{ path: string; form: ReturnType<typeof formOf> }[]> {
  const wanted: { path: string; form: ReturnType<typeof formOf> }[] = []
  if (output && typeof flags.output === 'string')
    wanted.push({ path: flags.output, form: formOf(flags.output) })
  if (typeof flags.html === 'string') wanted.push({ path: flags.html, form: 'html' })
  for (const { path } of wanted) await checkWritable(path, inputs, files)
  return wanted
}

/** Writes results to the files asked for, then prints them. */
export async function present(
  context: CommandContext,
  results: readonly Result[],
  wanted: Awaited<ReturnType<typeof reportFiles>>,
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
