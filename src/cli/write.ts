import { UserError } from '../ir/errors.ts'
import type { Files } from '../platform/files.ts'

/**
 * Whether `path` can be written, asked before long work. Throws a UserError if its folder does not exist, if it is a
 * folder, or if it is one of `inputs`.
 */
export async function checkWritable(path: string, inputs: readonly string[], files: Files): Promise<void> {
  const folder = files.folderOf(path)
  if ((await files.stat(folder))?.kind !== 'folder')
    throw new UserError(`cannot write ${path}: there is no folder ${folder}; create it first`)
  const existing = await files.stat(path)
  if (existing?.kind === 'folder')
    throw new UserError(`cannot write ${path}: it is a folder; give the name of a file`)
  if (!existing) return
  const real = await files.realPath(path)
  for (const input of inputs)
    if ((await files.stat(input)) && (await files.realPath(input)) === real)
      throw new UserError(`${path} is an input of this command and would be overwritten; give another name`)
}

export const writeText = (path: string, text: string, files: Files): Promise<void> =>
  files.writeAtomic(path, [new TextEncoder().encode(text)])
