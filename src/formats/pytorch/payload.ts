import { UserError } from '../../ir/errors.ts'
import { type DataType, dataTypes, type Tensor } from '../../ir/tensor.ts'
import type { Archive } from '../../platform/archive.ts'
import { parsePayloads, scalarTypes, stridedLayout, type TensorMeta } from './program.ts'
import { contiguousStrides, type Storage, type StoredTensor, scatter } from './storage.ts'
import { dictionariesOf, openTorchZip } from './torch-zip.ts'

/** New contents for a stored tensor. */
export interface Replacement {
  readonly view: StoredTensor
  readonly tensor: Tensor
}

/** Where a program's parameters, buffers and constants are kept. */
export interface Payload {
  /** By the name that the user's module gives them: `layer1.0.bn2.running_mean`. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** Members of the archive with the replacements made; all others stay. */
  replace(replacements: readonly Replacement[]): Map<string, Uint8Array>
}

/** A payload whose storages are members of `archive` by the storage's key. */
export function inMembers(archive: Archive, tensors: ReadonlyMap<string, StoredTensor>): Payload {
  return {
    tensors,
    replace: (replacements) => {
      const changed = new Map<string, Uint8Array>()
      for (const { view, tensor } of replacements) {
        const member = view.storage.key
        const bytes = changed.get(member) ?? archive.read(member).slice()
        scatter(view, tensor, bytes)
        changed.set(member, bytes)
      }
      return changed
    },
  }
}

/** A payload that a torch zip holds which is itself a member of `outer`. */
async function inTorchZip(outer: Archive, member: string): Promise<Payload> {
  const zip = await openTorchZip(outer.read(member), `'${member}'`)
  const inner = inMembers(
    zip.archive,
    new Map(dictionariesOf(zip.value).flatMap(({ tensors }) => [...tensors])),
  )
  return {
    tensors: inner.tensors,
    replace: (replacements) => {
      const changed = inner.replace(replacements)
      if (changed.size === 0) return changed
      return new Map([[member, joined(zip.archive.write(changed))]])
    },
  }
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

/** A payload that a config JSON describes: raw elements in one member for each storage. */
function configured(archive: Archive, config: string): Payload {
  const folder = config.slice(0, config.lastIndexOf('/') + 1)
  const storages = new Map<string, Storage>()
  const storage = (member: string): Storage => {
    const known = storages.get(member)
    if (known) return known
    const entry = archive.entries.get(member)
    if (!entry)
      throw new UserError(
        `member '${member}' is missing, where '${config}' says weights are; export the model again`,
      )
    let bytes: Uint8Array | undefined
    const made: Storage = {
      key: member,
      sizeBytes: entry.sizeBytes,
      read() {
        bytes ??= archive.read(member)
        return bytes
      },
    }
    storages.set(member, made)
    return made
  }
  const tensors = new Map<string, StoredTensor>()
  for (const [name, payload] of Object.entries(parsePayloads(archive.text(config), config).config)) {
    // Custom objects have no tensor.
    if (!payload.tensor_meta) continue
    if (payload.use_pickle)
      throw new UserError(
        `'${name}' is pickled as a tensor of a class of its own, which is never opened; export the model with plain tensors`,
      )
    tensors.set(name, described(name, payload.tensor_meta, storage(folder + payload.path_name)))
  }
  return inMembers(archive, tensors)
}

function described(name: string, meta: TensorMeta, storage: Storage): StoredTensor {
  const dataType = dataTypeOf(meta.dtype)
  const number = (value: number | string | null | undefined) =>
    typeof value === 'number' ? value : Number.NaN
  if (!dataType)
    throw new UserError(
      `'${name}' has the element type ${meta.dtype} of torch.export's schema, which is not known; is the file from a newer release?`,
    )
  if (meta.layout !== stridedLayout)
    throw new UserError(
      `'${name}' is a sparse tensor (layout ${meta.layout}); export the model with dense tensors`,
    )
  return {
    name,
    dataType,
    sizes: meta.sizes.map(number),
    strides: meta.strides.length === 0 ? contiguousStrides(meta.sizes.map(number)) : meta.strides.map(number),
    offset: number(meta.storage_offset ?? 0),
    storage,
  }
}

export const dataTypeOf = (code: number): DataType | undefined => {
  const name = (scalarTypes as Readonly<Record<number, DataType>>)[code]
  return name && name in dataTypes ? name : undefined
}

/** The payload of the program in the archive, wherever its release put it. */
export async function readPayload(archive: Archive, model: string, root: string): Promise<Payload> {
  const parts: Payload[] = []
  const has = (member: string) => archive.entries.has(member)
  for (const kind of ['weights', 'constants'] as const) {
    const config = `${root}data/${kind}/${model}_${kind}_config.json`
    if (has(config)) parts.push(configured(archive, config))
  }
  const old = [
    `${root}data/weights/${model}.pt`,
    `${root}data/constants/${model}.pt`,
    ...['state_dict', 'constants'].flatMap((part) =>
      ['pt', 'json'].map((end) => `serialized_${part}.${end}`),
    ),
  ]
  for (const member of old)
    if (has(member) && archive.read(member).length > 0) parts.push(await inTorchZip(archive, member))
  return {
    tensors: new Map(parts.flatMap(({ tensors }) => [...tensors]).reverse()),
    replace: (replacements) =>
      new Map(
        parts.flatMap((part) => {
          const own = new Set(part.tensors.values())
          return [...part.replace(replacements.filter(({ view }) => own.has(view)))]
        }),
      ),
  }
}
