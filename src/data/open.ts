import { UserError } from '../ir/errors.ts'
import { openSource, peek } from '../platform/byte-source.ts'
import type { Files } from '../platform/files.ts'
import { isZip } from '../platform/zip.ts'
import { type CifarKind, cifarFilesIn, cifarKindOf, openCifar, openCifarFolder } from './cifar.ts'
import { withLabels } from './column-dataset.ts'
import type { Dataset } from './dataset.ts'
import { isIdx, openIdx } from './idx.ts'
import { type ImageFolderOptions, openImageFolder } from './image-folder.ts'
import { readLabels } from './label-file.ts'
import { openNpy } from './npy.ts'
import { isNpy } from './npy-header.ts'
import { openNpz } from './npz.ts'
import { parseShapesSpec, shapes } from './shapes.ts'

export interface OpenOptions extends ImageFolderOptions {
  /** A file of labels (.npy, .npz, IDX, or text with one whole number a line) in place of those in the data. */
  readonly labels?: string
  /** Names of the array of labels in an .npz file, first found first taken; default `labels`, `label`, `y`. */
  readonly labelKeys?: readonly string[]
}

type Split = 'train' | 'test'

/**
 * The data that `spec` names:
 *
 *   images.npz  x.npy  train-images-idx3-ubyte.gz  data_batch_1.bin  a/folder/of/pictures
 *   shapes:count=2000,seed=7         the embedded generator
 *   cifar10:DIR  cifar10:DIR#test    training or test files of a folder; also cifar100:, or files with commas between
 *   idx:DIR  idx:DIR#test            train-images-... or t10k-images-... of a folder; or idx:FILE
 *
 * What a file is, is decided by its bytes, not by its name. Throws a UserError if nothing fits, if the data is empty
 * or damaged, or if labels and samples differ in number. Some damage is found only when its batch is read.
 */
export async function openDataset(spec: string, files: Files, options: OpenOptions = {}): Promise<Dataset> {
  const dataset = await openUnder(spec, files, options)
  return options.labels === undefined ? dataset : withLabels(dataset, await readLabels(options.labels, files))
}

async function openUnder(spec: string, files: Files, options: OpenOptions): Promise<Dataset> {
  const prefixed = /^(shapes|cifar10|cifar100|idx):(.*)$/s.exec(spec)
  if (prefixed?.[1] === 'shapes') return shapes(parseShapesSpec(spec))
  const { path, split, info } = await locate(prefixed ? prefixed[2]! : spec, files)
  const kind = prefixed?.[1] as CifarKind | 'idx' | undefined

  if (kind === 'idx')
    return info?.kind === 'folder' ? openIdxFolder(path, split, files) : openIdx(path, files)
  if (kind) {
    if (info?.kind === 'folder') return openCifarFolder(path, kind, split ?? 'train', files)
    return openCifar(path.split(','), kind, files)
  }
  if (!info) throw new UserError(`cannot read ${spec}: no such file or folder; check the path`)
  if (info.kind === 'folder') return openFolder(path, split, files, options)
  if (split) throw new UserError(`${path} is a file, expected a folder before '#${split}'; leave that out`)
  return openFile(path, files, options)
}

/** Takes `#train` or `#test` off the end of `text`, unless it belongs to the name. */
async function locate(text: string, files: Files) {
  const info = await files.stat(text)
  const part = /^(.*)#(train|test)$/s.exec(text)
  if (info || !part) return { path: text, split: undefined, info }
  return { path: part[1]!, split: part[2] as Split, info: await files.stat(part[1]!) }
}

async function openFolder(path: string, split: Split | undefined, files: Files, options: OpenOptions) {
  const names = (await files.list(path)).filter(({ kind }) => kind === 'file').map(({ name }) => name)
  for (const kind of ['cifar10', 'cifar100'] as const)
    for (const part of split ? [split] : (['train', 'test'] as const))
      if (cifarFilesIn(names, kind, part).length > 0) return openCifarFolder(path, kind, part, files)
  if (names.some((name) => idxName.train.test(name) || idxName.test.test(name)))
    return openIdxFolder(path, split, files)
  if (split) {
    const inside = files.join(path, split)
    if (await files.stat(inside)) return openImageFolder(inside, files, options)
    throw new UserError(
      `${path} has no part '${split}', expected CIFAR or IDX files, or a folder of that name`,
    )
  }
  return openImageFolder(path, files, options)
}

/** File names of MNIST and its like. */
const idxName = {
  train: /^train-images[.-]idx3-ubyte(\.gz)?$/,
  test: /^(t10k|test)-images[.-]idx3-ubyte(\.gz)?$/,
}

async function openIdxFolder(path: string, split: Split | undefined, files: Files): Promise<Dataset> {
  const names = (await files.list(path)).map(({ name }) => name)
  for (const part of split ? [split] : (['train', 'test'] as const)) {
    const found = names.find((name) => idxName[part].test(name))
    if (found) return openIdx(files.join(path, found), files)
  }
  throw new UserError(
    `${path} holds no ${split === 'test' ? 't10k' : 'train'}-images-idx3-ubyte (or .gz); ` +
      'try another folder, or the file itself',
  )
}

async function openFile(path: string, files: Files, options: OpenOptions): Promise<Dataset> {
  const source = await openSource(path, files)
  const start = await peek(source, 512)
  if (start.length === 0) throw new UserError(`${path} is empty; fetch or save it again`)
  if (isNpy(start)) return openNpy(source)
  if (isZip(start)) return openNpz(source, options.labelKeys ? { labelKeys: options.labelKeys } : {})
  // A dark CIFAR picture can begin as an IDX file does, but then its length fits CIFAR only.
  const kind = cifarKindOf(source.sizeBytes ?? source.claimedBytes ?? 0, start)
  if (isIdx(start) && !(kind && idxLength(start) !== (source.sizeBytes ?? source.claimedBytes)))
    return openIdx(path, files)
  if (kind) return openCifar([path], kind, files)
  throw new UserError(`${path} is not data that varshift knows${looksLike(start)}; ${expected}`)
}

const expected =
  'expected .npz or .npy, IDX, CIFAR binary (these also .gz), a folder of PNG or JPEG pictures, or shapes:count=1000'

/** Bytes that an IDX file with the header `start` has, from its sizes alone. */
function idxLength(start: Uint8Array): number {
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength)
  const itemBytes = [1, 1, 0, 2, 4, 4, 8][start[2]! - 8]!
  let length = itemBytes
  for (let axis = 0; axis < start[3]!; axis++)
    length *= 4 * axis + 8 <= start.length ? view.getUint32(4 + axis * 4) : 0
  return length + 4 + start[3]! * 4
}

/** What else the file may be, for the message. */
function looksLike(start: Uint8Array): string {
  const text = new TextDecoder('latin1').decode(start)
  if (text.startsWith('version https://git-lfs'))
    return ' (a Git LFS pointer: fetch the file with git lfs pull)'
  if (/^\s*<(!doctype|html|\?xml)/i.test(text)) return ' (a web page: the download went wrong)'
  if (text.startsWith('\x89PNG') || text.startsWith('\xff\xd8\xff'))
    return ' (a single picture: give its folder)'
  if (text.startsWith('\x89HDF')) return ' (HDF5: save the arrays with numpy.savez)'
  if (text.startsWith('\x80')) return ' (a Python pickle: save the arrays with numpy.savez)'
  return ''
}
