import { UserError } from '../ir/errors.ts'
import { Tensor } from '../ir/tensor.ts'
import { type ByteReader, type ByteSource, openSource, readFrom } from '../platform/byte-source.ts'
import type { Files } from '../platform/files.ts'
import { type Batch, batchRanges, type Dataset } from './dataset.ts'

export type CifarKind = 'cifar10' | 'cifar100'

/** A row: the labels (of CIFAR-100 the coarse, then the fine one), then red, green and blue, 32 x 32 each. */
const forms = {
  cifar10: {
    labelBytes: 1,
    classes: 10,
    train: /^data_batch_\d+\.bin(\.gz)?$/,
    test: /^test_batch\.bin(\.gz)?$/,
  },
  cifar100: { labelBytes: 2, classes: 100, train: /^train\.bin(\.gz)?$/, test: /^test\.bin(\.gz)?$/ },
} as const

const pixelBytes = 3 * 32 * 32

const cifar10Names = [
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
]

/** The files of a split among the names of a folder, in order; of a file and its .gz the first. */
export function cifarFilesIn(names: readonly string[], kind: CifarKind, split: 'train' | 'test'): string[] {
  const numberOf = (name: string): number => Number(/\d+/.exec(name)?.[0] ?? 0)
  return names
    .filter((name) => forms[kind][split].test(name))
    .filter((name) => !(name.endsWith('.gz') && names.includes(name.slice(0, -3))))
    .sort((a, b) => numberOf(a) - numberOf(b))
}

/** Which CIFAR the bytes of a file can be, by its size and its first label; undefined if neither. */
export function cifarKindOf(sizeBytes: number, start: Uint8Array): CifarKind | undefined {
  for (const kind of ['cifar10', 'cifar100'] as const) {
    const { labelBytes, classes } = forms[kind]
    const rows = sizeBytes / (labelBytes + pixelBytes)
    if (rows >= 1 && Number.isInteger(rows) && start[labelBytes - 1]! < classes) return kind
  }
  return undefined
}

/** The CIFAR folder `folder`: its training files, or the test file. Throws a UserError if they are not there. */
export async function openCifarFolder(
  folder: string,
  kind: CifarKind,
  split: 'train' | 'test',
  files: Files,
): Promise<Dataset> {
  const names = (await files.list(folder)).filter((entry) => entry.kind === 'file').map(({ name }) => name)
  const found = cifarFilesIn(names, kind, split)
  if (found.length === 0)
    throw new UserError(
      `${folder} holds no ${split} files of ${kind}, expected ` +
        `${kind === 'cifar10' ? (split === 'train' ? 'data_batch_1.bin' : 'test_batch.bin') : `${split}.bin`} (or .gz); ` +
        `try ${kind}:${folder}#${split === 'train' ? 'test' : 'train'} or another folder`,
    )
  const paths = found.map((name) => files.join(folder, name))
  return openCifar(paths, kind, files, `${files.nameOf(folder)}#${split}`)
}

/**
 * Pictures of the binary version of CIFAR-10 or CIFAR-100 (fine labels), one file after another, packed or not, as
 * the field `x` of N x 3 x 32 x 32 bytes.
 * Throws a UserError if a file is damaged; a label beyond the classes is found when its batch is read.
 * Source: Krizhevsky, "The CIFAR-10 and CIFAR-100 datasets", section "Binary version".
 */
export async function openCifar(
  paths: readonly string[],
  kind: CifarKind,
  files: Files,
  name = paths.map((path) => files.nameOf(path)).join(','),
): Promise<Dataset> {
  const { labelBytes, classes } = forms[kind]
  const rowBytes = labelBytes + pixelBytes
  const parts: { source: ByteSource; size: number }[] = []
  for (const path of paths) {
    const source = await openSource(path, files)
    const sizeBytes = source.sizeBytes ?? source.claimedBytes ?? 0
    const size = sizeBytes / rowBytes
    if (size < 1 || !Number.isInteger(size) || sizeBytes > source.maxBytes)
      throw new UserError(
        `${source.name} holds ${sizeBytes} bytes, expected rows of ${rowBytes} bytes (${kind}); ` +
          'it is cut short or of another kind: fetch it again',
      )
    parts.push({ source, size })
  }
  const size = parts.reduce((sum, part) => sum + part.size, 0)
  return {
    name,
    size,
    fields: [{ name: 'x', dataType: 'uint8', sampleShape: [3, 32, 32], layout: 'NCHW' }],
    labelled: true,
    seekable: parts.every(({ source }) => source.random !== undefined),
    ...(kind === 'cifar10' && { classNames: cifar10Names }),
    async *batches(options) {
      const rows = new RowsOfParts(parts, rowBytes)
      try {
        for (const [from, to] of batchRanges(size, options))
          yield split(await rows.take(from, to - from), from)
      } finally {
        await rows.close()
      }
    },
  }

  function split(rows: Uint8Array, start: number): Batch {
    const size = rows.length / rowBytes
    const labels = new Int32Array(size)
    const pixels = new Uint8Array(size * pixelBytes)
    for (let i = 0; i < size; i++) {
      const label = rows[i * rowBytes + labelBytes - 1]!
      if (label >= classes)
        throw new UserError(
          `${name}: sample ${start + i} has label ${label}, expected 0 to ${classes - 1} of ${kind}; ` +
            'the file is damaged or of another kind: fetch it again',
        )
      labels[i] = label
      pixels.set(rows.subarray(i * rowBytes + labelBytes, (i + 1) * rowBytes), i * pixelBytes)
    }
    return { inputs: new Map([['x', new Tensor('uint8', [size, 3, 32, 32], pixels)]]), labels, size }
  }
}

/** Reads rows on across the ends of files. */
class RowsOfParts {
  readonly #parts: readonly { source: ByteSource; size: number }[]
  readonly #rowBytes: number
  #part = 0
  #row = 0
  #reader: ByteReader | undefined

  constructor(parts: readonly { source: ByteSource; size: number }[], rowBytes: number) {
    this.#parts = parts
    this.#rowBytes = rowBytes
  }

  /** `count` rows from row `from`, which has to follow the rows taken before. */
  async take(from: number, count: number): Promise<Uint8Array> {
    if (!this.#reader) this.#skip(from)
    const pieces: Uint8Array[] = []
    for (let left = count; left > 0; ) {
      const { source, size } = this.#parts[this.#part]!
      this.#reader ??= await readFrom(source, this.#row * this.#rowBytes)
      const piece = Math.min(left, size - this.#row)
      pieces.push(await this.#reader.take(piece * this.#rowBytes))
      this.#row += piece
      left -= piece
      if (this.#row < size) continue
      await this.#reader.finish()
      await this.close()
      this.#part++
      this.#row = 0
    }
    if (pieces.length === 1) return pieces[0]!
    const rows = new Uint8Array(count * this.#rowBytes)
    let at = 0
    for (const piece of pieces) {
      rows.set(piece, at)
      at += piece.length
    }
    return rows
  }

  async close(): Promise<void> {
    await this.#reader?.close()
    this.#reader = undefined
  }

  #skip(rows: number): void {
    this.#part = 0
    this.#row = rows
    while (this.#row >= this.#parts[this.#part]!.size) this.#row -= this.#parts[this.#part++]!.size
  }
}
