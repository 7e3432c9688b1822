import type { ModelFile } from '../formats/define-format.ts'
import type { Edit } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import type { Files, NewFile } from '../platform/files.ts'

/**
 * Writes `file` with `edits` applied to `output`, and the files that belong to it beside it: all of them or nothing.
 * Throws a UserError if `output` is the file itself (unless `inPlace`), or if anything else would be overwritten.
 */
export async function save(
  file: ModelFile,
  edits: readonly Edit[],
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
  const isItself = real !== undefined && real === (await files.realPath(file.path))
  if (isItself && !inPlace)
    throw new UserError(`'${output}' is the model itself; give another name, or --in-place to replace it`)
  for (const { path } of file.companions)
    if (real !== undefined && real === (await files.realPath(path)))
      throw new UserError(`'${output}' is a data file of the model; give another name`)

  const changed = new Map(file.writeCompanions?.(edits).map(({ name, chunks }) => [name, chunks]))
  const elsewhere = (await files.realPath(folder)) !== (await files.realPath(files.folderOf(file.path)))
  if (!elsewhere && !isItself && changed.size > 0)
    throw new UserError(
      `cannot write '${output}': the repair also changes '${[...changed.keys()][0]}', which the model there uses; write into another folder, or --in-place to replace both`,
    )
  const written: NewFile[] = []
  for (const { path, name } of file.companions) {
    const target = elsewhere ? files.join(folder, name) : path
    if (elsewhere) {
      if (target === files.join(folder, files.nameOf(output)))
        throw new UserError(`'${output}' is the name of a data file of the model; give another name`)
      if (await files.stat(target))
        throw new UserError(`the model's data file would overwrite '${target}'; write into another folder`)
    }
    const chunks = changed.get(name)
    if (chunks) written.push({ path: target, chunks })
    else if (elsewhere) written.push({ path: target, copyOf: path })
  }
  // The model last: whoever finds it finds what it names.
  await files.writeTogether([...written, { path: output, chunks: file.write(edits) }])
}
