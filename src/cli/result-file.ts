import { UserError } from '../ir/errors.ts'
import type { Files } from '../platform/files.ts'
import type { Result } from '../result/result.ts'
import { resultVersion } from '../result/version.ts'

/** The results in a JSON file that varshift wrote. Throws a UserError that says what is wrong where. */
export const readResults = async (path: string, files: Files): Promise<Result[]> =>
  resultsIn(await readJson(path, files), path)

/** What a JSON file that varshift wrote holds. */
export async function readJson(path: string, files: Files): Promise<unknown> {
  const text = new TextDecoder().decode(await files.read(path))
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new UserError(
      `${path} is not JSON (${(error as Error).message}); give a result that varshift wrote, such as \`varshift measure MODEL --data DATA -o shift.json\` makes`,
    )
  }
}

/** The results in `contents`, which the file at `path` holds. */
export async function resultsIn(contents: unknown, path: string): Promise<Result[]> {
  const { resultSchema } = await import('../result/result.ts')
  const results = Array.isArray(contents) ? contents : [contents]
  if (results.length === 0) throw new UserError(`${path} holds no results`)
  return results.map((value: unknown) => {
    const version = (value as { version?: unknown } | null)?.version
    const major = (of: string) => of.split('.')[0]
    if (typeof version === 'string' && major(version) !== major(resultVersion))
      throw new UserError(
        `${path} holds a result of version ${version}, this varshift reads ${major(resultVersion)}.x; use a matching version`,
      )
    let parsed = resultSchema.safeParse(value)
    if (!parsed.success) {
      // JSON has no numbers that are not finite: they were written as null.
      for (const { code, path: at, ...issue } of parsed.error.issues)
        if (code === 'invalid_type' && 'expected' in issue && issue.expected === 'number')
          restoreNumber(value, at)
      parsed = resultSchema.safeParse(value, { reportInput: false })
    }
    if (parsed.success) return parsed.data
    const [issue] = parsed.error.issues
    throw new UserError(
      `${path} is not a result of varshift: ${issue?.path.join('.') || 'the whole'}: ${issue?.message}`,
    )
  })
}

function restoreNumber(value: unknown, path: readonly PropertyKey[]): void {
  let holder = value
  for (const key of path.slice(0, -1)) holder = (holder as Record<PropertyKey, unknown>)[key]
  const last = path.at(-1)
  const record = holder as Record<PropertyKey, unknown>
  if (last !== undefined && record[last] === null) record[last] = Number.NaN
}
