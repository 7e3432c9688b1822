import { UserError } from '../ir/errors.ts'
import type { Files } from '../platform/files.ts'

/** Absolute paths, addresses (`https:`, `C:`) and paths with a step upwards. */
const leadsOut = /^([\\/]|[a-z][a-z0-9+.-]*:)|(^|[\\/])\.\.([\\/]|$)/i

/**
 * The file that a model at `modelPath` calls `location`, relative to its own folder. `owner` is what needs it, for
 * messages. Throws a UserError if there is none, or if it lies outside the model's folder (also by way of a link).
 */
export async function companionOf(
  files: Files,
  modelPath: string,
  location: string,
  owner: string,
): Promise<{ path: string; sizeBytes: number }> {
  if (location === '' || leadsOut.test(location))
    throw new UserError(
      `${owner} points to the external file '${location}', outside the model's folder; such files are not read: move the data beside the model and export it again`,
    )
  const folder = files.folderOf(modelPath)
  const path = files.join(folder, location)
  const info = await files.stat(path)
  if (!info)
    throw new UserError(`external data file '${path}' of ${owner} is missing; copy it beside the model`)
  if (info.kind !== 'file')
    throw new UserError(
      `external data file '${path}' of ${owner} is a folder, expected a file; copy the file there`,
    )
  const inside = await files.realPath(folder)
  const real = await files.realPath(path)
  if (files.folderOf(real) !== inside && !real.startsWith(files.join(inside, ' ').slice(0, -1)))
    throw new UserError(
      `external data file '${path}' of ${owner} is a link that leads out of the model's folder; such files are not read: copy the data there`,
    )
  return { path, sizeBytes: info.sizeBytes }
}
