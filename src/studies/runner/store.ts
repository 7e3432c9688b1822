import type { Files } from '../../platform/files.ts'
import type { Outcome, Parameters, Study } from '../define-study.ts'

/** A finished cell as it is kept. */
export interface StoredCell {
  readonly outcome: Outcome
  readonly durationMs: number
}

/** Finished cells by what determines them: a cell that is there is never run again. */
export interface CellStore {
  read(key: string): Promise<StoredCell | undefined>
  write(key: string, cell: StoredCell): Promise<void>
}

/** Identity of a cell: the experiment and its version, the contents of the data, and the parameters (the seed among them). */
export function keyOfCell(
  { experiment }: Pick<Study, 'experiment'>,
  parameters: Parameters,
  dataHash: string | undefined,
): Promise<string> {
  const sorted = Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1))
  return sha256(JSON.stringify([experiment.id, experiment.version, dataHash ?? null, sorted]))
}

export async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** Cells as files `KEY.json` of a folder that exists. What cannot be read as a cell counts as not there. */
export function folderStore(folder: string, files: Files): CellStore {
  const pathOf = (key: string) => files.join(folder, `${key}.json`)
  return {
    async read(key) {
      if (!(await files.stat(pathOf(key)))) return undefined
      try {
        const stored = JSON.parse(new TextDecoder().decode(await files.read(pathOf(key)))) as StoredCell
        return typeof stored.outcome === 'object' && stored.outcome !== null ? stored : undefined
      } catch {
        return undefined
      }
    },
    write: (key, cell) =>
      files.writeAtomic(pathOf(key), [new TextEncoder().encode(`${JSON.stringify(cell)}\n`)]),
  }
}
