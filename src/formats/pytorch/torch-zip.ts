import { UserError } from '../../ir/errors.ts'
import { Archive } from '../../platform/archive.ts'
import { memoryParts } from '../../platform/parts.ts'
import { type Pickled, PickledTensor, readPickle } from './pickle.ts'
import type { StoredTensor } from './storage.ts'

/** A zip file that torch.save wrote: a pickle that names storages, and a member for each. */
export interface TorchZip {
  readonly archive: Archive
  readonly value: Pickled
}

/** Whether the members are those of a file that torch.save wrote, and not those of a TorchScript archive. */
export const isTorchZip = (members: Iterable<string>): boolean =>
  [...members].some((member) => /(^|\/)data\.pkl$/.test(member))

export const isTorchScript = (members: Iterable<string>): boolean =>
  [...members].some((member) => /(^|\/)(constants\.pkl|code\/.*\.py)$/.test(member))

export function readTorchZip(archive: Archive, name: string): TorchZip {
  const pickle = [...archive.entries.keys()].find((member) => /(^|\/)data\.pkl$/.test(member))
  if (!pickle) throw new UserError(`${name}: member 'data.pkl' is missing; save the model again`)
  const root = pickle.slice(0, -'data.pkl'.length)
  if (archive.entries.has(`${root}byteorder`)) {
    const order = archive.text(`${root}byteorder`)
    if (order !== 'little')
      throw new UserError(
        `${name}: its numbers are ${order}-endian, expected little-endian; save it on another machine`,
      )
  }
  const value = readPickle(archive.read(pickle), {
    name,
    storage(key) {
      const member = `${root}data/${key}`
      const entry = archive.entries.get(member)
      if (!entry)
        throw new UserError(
          `${name}: the pickle names the storage '${key}', but member '${member}' is missing; save the model again`,
        )
      let bytes: Uint8Array | undefined
      return {
        key: member,
        sizeBytes: entry.sizeBytes,
        read() {
          bytes ??= archive.read(member)
          return bytes
        },
      }
    },
  })
  return { archive, value }
}

/** Opens a torch zip that is kept inside another archive. */
export const openTorchZip = async (bytes: Uint8Array, name: string): Promise<TorchZip> =>
  readTorchZip(await Archive.open(memoryParts(bytes), name), name)

/** Every dictionary in the pickle that holds tensors under names, with the keys that lead to it, outermost first. */
export function dictionariesOf(
  value: Pickled,
): { path: string; tensors: ReadonlyMap<string, StoredTensor> }[] {
  const found: { path: string; tensors: ReadonlyMap<string, StoredTensor> }[] = []
  const seen = new Set<unknown>()
  const queue: { path: string; item: Pickled }[] = [{ path: '', item: value }]
  for (let next = queue.shift(); next; next = queue.shift()) {
    const { path, item } = next
    if (!(item instanceof Map) || seen.has(item)) continue
    seen.add(item)
    const tensors = new Map<string, StoredTensor>()
    for (const [key, held] of item as ReadonlyMap<Pickled, Pickled>) {
      if (held instanceof PickledTensor) tensors.set(String(key), { ...held.view, name: String(key) })
      else if (held instanceof Map)
        queue.push({ path: path ? `${path}.${String(key)}` : String(key), item: held })
    }
    if (tensors.size > 0) found.push({ path, tensors })
  }
  return found
}
