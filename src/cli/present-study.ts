import { UserError } from '../ir/errors.ts'
import type { StudyResult } from '../result/study.ts'
import type { CommandContext } from './define-command.ts'
import type { ReportFile } from './present.ts'
import { writeText } from './write.ts'

/** Writes the result of a study to the files asked for, then prints it. */
export async function presentStudy(
  { console, files, settings }: CommandContext,
  result: StudyResult,
  wanted: readonly ReportFile[],
): Promise<void> {
  for (const { path, form } of wanted) {
    await writeText(path, await renderStudy(result, form, { color: false, width: 160 }), files)
    console.note(`wrote ${path}`)
  }
  console.out(await renderStudy(result, settings.format ?? 'terminal', console))
}

/** The result of a study in `contents`, which the file at `path` holds; undefined if that is something else. */
export async function studyIn(contents: unknown, path: string): Promise<StudyResult | undefined> {
  if ((contents as { schema?: unknown } | null)?.schema !== 'varshift-study/1') return undefined
  const { studySchema } = await import('../result/study.ts')
  const parsed = studySchema.safeParse(contents)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new UserError(`${path} is no result of a study: ${issue?.path.join('.')}: ${issue?.message}`)
}

async function renderStudy(
  result: StudyResult,
  form: string,
  options: { readonly color: boolean; readonly width: number },
): Promise<string> {
  if (form === 'json') return `${JSON.stringify(result, undefined, 2)}\n`
  if (form === 'html') return (await import('../report/study/html.ts')).renderStudyHtml(result)
  if (form === 'terminal')
    return (await import('../report/study/terminal.ts')).renderStudyTerminal(result, options)
  throw new UserError(`a study has no ${form} form; choose terminal, json or html`)
}
