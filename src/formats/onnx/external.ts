import { UserError } from '../../ir/errors.ts'
import type { Files } from '../../platform/files.ts'
import { companionOf } from '../companion.ts'
import type { ExternalData, ExternalTensor } from './tensor.ts'

/** Exporters that write a file for every tensor stay far below. */
const maxFiles = 20_000

/** The files beside a model at `modelPath`: noted while the model is read, then checked, then read on demand. */
export class FolderOfModel implements ExternalData {
  readonly #files: Files
  readonly #modelPath: string
  readonly #required = new Map<string, ExternalTensor[]>()
  readonly #paths = new Map<string, string>()

  constructor(files: Files, modelPath: string) {
    this.#files = files
    this.#modelPath = modelPath
  }

  require(tensor: ExternalTensor): void {
    const same = this.#required.get(tensor.location)
    if (same) same.push(tensor)
    else this.#required.set(tensor.location, [tensor])
    if (this.#required.size > maxFiles)
      throw new UserError(
        `the model names more than ${maxFiles} external files; no network is like this: the file is damaged or was made to exhaust time`,
      )
  }

  /** Locations of all external files, as the model states them. */
  get locations(): string[] {
    return [...this.#required.keys()]
  }

  pathOf(location: string): string {
    return this.#paths.get(location)!
  }

  /** Throws a UserError if a file is missing, too short, or outside the model's folder (also by way of a link). */
  async check(): Promise<void> {
    for (const [location, needed] of this.#required) {
      const owner = `tensor '${needed[0]?.name ?? ''}'`
      const { path, sizeBytes } = await companionOf(this.#files, this.#modelPath, location, owner)
      for (const tensor of needed)
        if (tensor.offset + tensor.length > sizeBytes)
          throw new UserError(
            `tensor '${tensor.name}' needs bytes ${tensor.offset} to ${tensor.offset + tensor.length} of '${path}', which has ${sizeBytes}; the file may be truncated: copy it again`,
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
