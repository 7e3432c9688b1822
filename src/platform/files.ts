import type { Parts } from './parts.ts'

/**
 * The door to files, so that the rooms above run in Node and in a browser alike. `node.ts` is the one for Node.
 * Every method throws a UserError that names the path where the user can help (no such file, no permission, disk
 * full, ...).
 */
export interface Files {
  /** The whole file. */
  read(path: string): Promise<Uint8Array>
  /** The whole file and its SHA-256 in hexadecimal, taken while it is read; absent where impossible. */
  readWithHash?(path: string): Promise<{ bytes: Uint8Array; sha256: string }>
  /** `length` bytes from `offset`, exactly; a UserError if the file ends before, found without allocating. */
  readRange(path: string, offset: number, length: number): Promise<Uint8Array>
  /** The same without waiting, for bytes that are fetched when first looked at; absent where impossible. */
  readRangeSync?(path: string, offset: number, length: number): Uint8Array
  /** The file as it is now, for reading parts of it; reading throws a UserError once it has been changed. */
  parts(path: string): Parts
  /** SHA-256 of the file in hexadecimal; absent where impossible. */
  hash?(path: string): Promise<string>
  /** A file held open for many ranged reads. */
  open(path: string): Promise<RandomAccess>
  /** What a folder holds, sorted by name (by UTF-16 code unit, the same everywhere). */
  list(folder: string): Promise<readonly FolderEntry[]>
  /** Undefined if there is nothing at `path`. Links are followed. */
  stat(path: string): Promise<FileInfo | undefined>
  /**
   * Writes the whole file or nothing: the chunks go to a temporary file in the same folder, which reaches the disk
   * and then takes the name `path`. On failure the temporary file is removed and an old file stays as it was.
   */
  writeAtomic(path: string, chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void>
  /** Makes the folder, and those it lies in, where they are missing. */
  createFolder(path: string): Promise<void>
  /** Writes behind what the file holds; a file that is not there is made. */
  append(path: string, bytes: Uint8Array): Promise<void>
  /** Lends an empty folder that is removed afterwards; absent where impossible. */
  withTemporaryFolder?<Result>(use: (folder: string) => Promise<Result>): Promise<Result>
  /** Copies a file as `writeAtomic` writes one. */
  copy(from: string, to: string): Promise<void>
  /**
   * Writes files that belong together, all or none: every temporary file is complete before the first takes its
   * name. They take their names in the order given; folders that do not exist yet are made.
   */
  writeTogether(files: readonly NewFile[]): Promise<void>
  /** Decodes a PNG or JPEG picture; a UserError if it is none or damaged, without a path. */
  decodeImage(bytes: Uint8Array, options: DecodeOptions): Promise<Picture>
  /** The path of `name`, which may be a relative path, inside `folder`. */
  join(folder: string, name: string): string
  /** The folder that holds `path`. */
  folderOf(path: string): string
  /** The last part of `path`. */
  nameOf(path: string): string
  /** Absolute, with links resolved: equal for two paths to the same file. */
  realPath(path: string): Promise<string>
}

/** A file to be written: its contents, or the file that it is to be a copy of. */
export type NewFile = { readonly path: string } & (
  | { readonly chunks: Iterable<Uint8Array> }
  | { readonly copyOf: string }
)

export interface FolderEntry {
  readonly name: string
  /** A link has the kind of what it points to; what is neither (sockets, broken links) is left out. */
  readonly kind: 'file' | 'folder'
}

export interface FileInfo {
  readonly kind: 'file' | 'folder'
  readonly sizeBytes: number
}

export interface RandomAccess {
  readonly sizeBytes: number
  /** `length` bytes from `offset`, exactly, in memory of their own; a UserError if the file ends before. */
  read(offset: number, length: number): Promise<Uint8Array>
  close(): Promise<void>
}

export interface DecodeOptions {
  /** 1 = grey, 3 = RGB; transparency is dropped. */
  readonly channels: 1 | 3
  /** Resize to this width and height, in pixels, without keeping proportions; give both or none. */
  readonly width?: number
  readonly height?: number
}

/** A decoded picture: H x W x C bytes, 0 to 255. */
export interface Picture {
  readonly width: number
  readonly height: number
  readonly channels: 1 | 3
  readonly data: Uint8Array
}
