import type { ModelFile } from '../formats/define-format.ts'
import { UserError } from '../ir/errors.ts'
import type { Files } from '../platform/files.ts'

/**
 * Writes `chunks`, the repaired form of `file`, to `output`: the whole file or nothing. External data files that the
 * model names are copied along if `output` lies in another folder. Throws a UserError if `output` is the file itself
 * (unless `inPlace`), or would overwrite one of its data files.
 */
export async function save(
  file: ModelFile,
  chunks: readonly Uint8Array[],
  output: string,
  files: Files,
  { inPlace = false }: { inPlace?: boolean } = {},
): Promise<void> {
  const folder = files.folderOf(output)
  if ((await files.stat(folder))?.kind !== 'folder')
    throw new UserError(`cannot write '${output}': there is no folder '${folder}'; create it first`)
  const existing = await files.stat(output)
  if (existing?.kind === 'folder')
    throw new UserError(`cannot write '${output}': it is a folder; give a file name`)
  const real = existing ? await files.realPath(output) : undefined
  if (real !== undefined && !inPlace && real === (await files.realPath(file.path)))
    throw new UserError(`'${output}' is the model itself; give another name, or --in-place to replace it`)
  for (const { path } of file.companions)
    if (real !== undefined && real === (await files.realPath(path)))
      throw new UserError(`'${output}' is a data file of the model; give another name`)

  const elsewhere = (await files.realPath(folder)) !== (await files.realPath(files.folderOf(file.path)))
  const copies = elsewhere
    ? file.companions.map(({ path, name }) => [path, files.join(folder, name)] as const)
    : []
  for (const [, copy] of copies) {
    if (copy === files.join(folder, files.nameOf(output)))
      throw new UserError(`'${output}' is the name of a data file of the model; give another name`)
    if (await files.stat(copy))
      throw new UserError(`the model's data file would overwrite '${copy}'; write into another folder`)
  }
  for (const [path, copy] of copies) await files.copy(path, copy)
  await files.writeAtomic(output, chunks)
}
