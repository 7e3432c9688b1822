import type { Edit } from '../ir/edit.ts'
import type { Model } from '../ir/model.ts'
import type { Files } from '../platform/files.ts'
import type { Parts } from '../platform/parts.ts'

/** A model together with the file that it came from. */
export interface ModelFile {
  readonly path: string
  readonly sizeBytes: number
  /** Of the bytes, in hexadecimal; absent where the platform cannot tell. */
  readonly sha256?: string | undefined
  /** What the file means: one flat graph with ONNX semantics. */
  readonly model: Model
  /** What the model cannot carry of what the file says, each with its layer; absent where it carries all. */
  readonly notes?: readonly string[] | undefined
  /**
   * Why the file has no graph, and what to do for one: its model then holds the normalizations that it stores, each by
   * itself, and cannot be run. Absent for all others.
   */
  readonly withoutGraph?: string | undefined
  /** Whether the file has a place for new contents of an initializer; absent where it has for all. */
  stores?(initializer: string): boolean
  /** Files beside it that belong to it: path there, and name relative to its folder. */
  readonly companions: readonly { readonly path: string; readonly name: string }[]
  /** The file with `edits` applied, in its own format: chunks whose sum it is. Without edits the very same bytes. */
  write(edits: readonly Edit[]): Uint8Array[]
  /** Those of `companions` that `edits` change, as `write` tells the file itself; absent where edits never do. */
  writeCompanions?(edits: readonly Edit[]): readonly Companion[]
}

/** A file that belongs to another one: its name relative to the folder of that, and chunks whose sum it is. */
export interface Companion {
  readonly name: string
  readonly chunks: readonly Uint8Array[]
}

/** A few words each: which files, whether the network can be run, what repairs change, what is written. */
export interface Support {
  readonly reads: string
  readonly runs: string
  readonly repairs: string
  readonly writes: string
}

export interface Format {
  readonly id: string
  /** One line for the table of formats. */
  readonly name: string
  /** What is done with its files, for the table of formats. */
  readonly support: Support
  /** True if a file is read part by part where it lies, instead of being brought into memory first. */
  readonly readsParts?: true
  /** Whether the file, which begins with `head`, looks like this format; content decides, not the file's name. */
  detect(head: Uint8Array, file: Parts): boolean
  /** Throws a UserError that says what is wrong where. */
  read(file: Parts, path: string, files: Files): Promise<ModelFile>
}

export const defineFormat = (format: Format): Format => format
