import { UserError } from '../../ir/errors.ts'
import type { Files } from '../../platform/files.ts'
import type { ExternalData, ExternalTensor } from './tensor.ts'

/** The files beside a model at `modelPath`: noted while the model is read, then checked, then read on demand. */
export class FolderOfModel implements ExternalData {
  readonly #files: Files
  readonly #modelPath: string
  readonly #required: ExternalTensor[] = []
  #paths = new Map<string, string>()

  constructor(files: Files, modelPath: string) {
    this.#files = files
    this.#modelPath = modelPath
  }

  require(tensor: ExternalTensor): void {
    this.#required.push(tensor)
  }

  /** Locations of all external files, as the model states them. */
  get locations(): string[] {
    return [...new Set(this.#required.map(({ location }) => location))]
  }

  pathOf(location: string): string {
    return this.#paths.get(location)!
  }

  /** Throws a UserError if a file is missing, too short, or outside the model's folder (also by way of a link). */
  async check(): Promise<void> {
    const files = this.#files
    const folder = files.folderOf(this.#modelPath)
    for (const location of this.locations) {
      const needed = this.#required.filter((tensor) => tensor.location === location)
      const name = needed[0]?.name ?? ''
      if (location === '' || /^([\\/]|[a-zA-Z]:)|(^|[\\/])\.\.([\\/]|$)/.test(location))
        throw new UserError(
          `tensor '${name}' points to the external file '${location}', outside the model's folder; such files are not read: move the data beside the model and export it again`,
        )
      const path = files.join(folder, location)
      const info = await files.stat(path)
      if (info?.kind !== 'file')
        throw new UserError(
          `external data file '${path}' of tensor '${name}' is missing; copy it beside the model`,
        )
      const inside = await files.realPath(folder)
      const real = await files.realPath(path)
      if (files.folderOf(real) !== inside && !real.startsWith(files.join(inside, ' ').slice(0, -1)))
        throw new UserError(
          `external data file '${path}' of tensor '${name}' is a link that leads out of the model's folder; such files are not read: copy the data there`,
        )
      for (const tensor of needed)
        if (tensor.offset + tensor.length > info.sizeBytes)
          throw new UserError(
            `tensor '${tensor.name}' needs bytes ${tensor.offset} to ${tensor.offset + tensor.length} of '${path}', which has ${info.sizeBytes}; the file may be truncated`,
          )
      this.#paths.set(location, path)
    }
  }

  read(tensor: ExternalTensor): Uint8Array {
    if (!this.#files.readRangeSync)
      throw new UserError(
        `external data of tensor '${tensor.name}' cannot be read here; embed it in the model`,
      )
    return this.#files.readRangeSync(this.pathOf(tensor.location), tensor.offset, tensor.length)
  }
}
