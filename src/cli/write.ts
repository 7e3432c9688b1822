import { resolve } from 'node:path'
import { UserError } from '../ir/errors.ts'
import type { Files } from '../platform/files.ts'
import type { CommandContext } from './define-command.ts'

/** Files that a command reads: its arguments and those that flags and settings name. */
export function inputsOf({ args, flags, settings }: CommandContext): string[] {
  const { data, labels, baseline } = settings
  return [...args, data, labels, baseline, flags.from].filter((path) => typeof path === 'string')
}

/**
 * Whether `path` can be written, asked before long work. Throws a UserError if its folder does not exist, if it is a
 * folder, or if it is one of `taken`: inputs and other outputs.
 */
export async function checkWritable(path: string, taken: readonly string[], files: Files): Promise<void> {
  const folder = files.folderOf(path)
  if ((await files.stat(folder))?.kind !== 'folder')
    throw new UserError(`cannot write ${path}: there is no folder ${folder}; create it first`)
  const existing = await files.stat(path)
  if (existing?.kind === 'folder')
    throw new UserError(`cannot write ${path}: it is a folder; give the name of a file`)
  const real = existing && (await files.realPath(path))
  for (const other of taken) {
    const isSame =
      resolve(other) === resolve(path) ||
      (real !== undefined &&
        (await files.stat(other)) !== undefined &&
        (await files.realPath(other)) === real)
    if (isSame)
      throw new UserError(
        `${path} is an input or another output of this command and would be overwritten; give another name`,
      )
  }
}

export const writeText = (path: string, text: string, files: Files): Promise<void> =>
  files.writeAtomic(path, [new TextEncoder().encode(text)])
