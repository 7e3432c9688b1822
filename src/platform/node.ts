import { createHash, randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import * as nodePath from 'node:path'
import { UserError } from '../ir/errors.ts'
import type { DecodeOptions, FileInfo, Files, FolderEntry, Picture, RandomAccess } from './files.ts'
import type { OpenParts, Parts } from './parts.ts'

/** Files of the computer, through Node. Pictures are decoded by sharp, which is loaded when first needed. */
export const nodeFiles: Files = {
  async read(path) {
    const { handle, sizeBytes } = await openFile(path)
    try {
      return await readFully(handle, path, 0, sizeBytes)
    } finally {
      await handle.close()
    }
  },

  async readWithHash(path) {
    const { handle, sizeBytes } = await openFile(path)
    const hash = createHash('sha256')
    try {
      const bytes = await readFully(handle, path, 0, sizeBytes, (chunk) => hash.update(chunk))
      return { bytes, sha256: hash.digest('hex') }
    } finally {
      await handle.close()
    }
  },

  async hash(path) {
    const { handle, sizeBytes } = await openFile(path)
    const hash = createHash('sha256')
    try {
      const piece = new Uint8Array(Math.min(sizeBytes, hashPieceBytes))
      for (let at = 0; at < sizeBytes; ) {
        const count = Math.min(piece.length, sizeBytes - at)
        const { bytesRead } = await explain('read', path, handle.read(piece, 0, count, at))
        if (bytesRead === 0) throw endsEarly(path, 0, sizeBytes, at)
        hash.update(piece.subarray(0, bytesRead))
        at += bytesRead
      }
      return hash.digest('hex')
    } finally {
      await handle.close()
    }
  },

  parts: (path) => explainSync('read', path, () => fileParts(path)),

  async readRange(path, offset, length) {
    const file = await nodeFiles.open(path)
    try {
      return await file.read(offset, length)
    } finally {
      await file.close()
    }
  },

  readRangeSync(path, offset, length) {
    return explainSync('read', path, () => {
      const descriptor = openSync(path, 'r')
      try {
        checkRange(path, offset, length, fstatSync(descriptor).size)
        const bytes = new Uint8Array(length)
        fillSync(descriptor, path, bytes, offset)
        return bytes
      } finally {
        closeSync(descriptor)
      }
    })
  },

  async open(path): Promise<RandomAccess> {
    const { handle, sizeBytes } = await openFile(path)
    return {
      sizeBytes,
      async read(offset, length) {
        checkRange(path, offset, length, sizeBytes)
        return readFully(handle, path, offset, length)
      },
      close: () => handle.close(),
    }
  },

  async list(folder) {
    const entries = await explain('list', folder, fs.readdir(folder, { withFileTypes: true }))
    const kinds = entries.map(async (entry): Promise<FolderEntry | undefined> => {
      const { name } = entry
      if (entry.isDirectory()) return { name, kind: 'folder' }
      if (entry.isFile()) return { name, kind: 'file' }
      if (!entry.isSymbolicLink()) return undefined
      const info = await nodeFiles.stat(nodePath.join(folder, name))
      return info && { name, kind: info.kind }
    })
    const known = (await Promise.all(kinds)).filter((entry) => entry !== undefined)
    return known.sort((a, b) => (a.name < b.name ? -1 : 1))
  },

  async stat(path): Promise<FileInfo | undefined> {
    try {
      const info = await fs.stat(path)
      if (info.isDirectory()) return { kind: 'folder', sizeBytes: 0 }
      return { kind: 'file', sizeBytes: info.size }
    } catch (error) {
      if (['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes(codeOf(error))) return undefined
      // Node refuses paths with a zero byte before asking the system.
      if (codeOf(error) === 'ERR_INVALID_ARG_VALUE') return undefined
      throw explained('read', path, error)
    }
  },

  async writeAtomic(path, chunks) {
    await (await prepared(path, writing(chunks))).commit()
  },

  async createFolder(path) {
    await explain('create', path, fs.mkdir(path, { recursive: true }))
  },

  async withTemporaryFolder(use) {
    const parent = tmpdir()
    const folder = await explain('make a folder in', parent, fs.mkdtemp(nodePath.join(parent, 'varshift-')))
    try {
      return await use(folder)
    } finally {
      await fs.rm(folder, { recursive: true, force: true })
    }
  },

  async append(path, bytes) {
    await explain('write', path, fs.appendFile(path, bytes))
  },

  async copy(from, to) {
    await (await prepared(to, copying(from))).commit()
  },

  async writeTogether(files) {
    const ready: Prepared[] = []
    const made: string[] = []
    let done = 0
    try {
      for (const file of files) {
        const folder = nodePath.dirname(file.path)
        const first = await explain('write', file.path, fs.mkdir(folder, { recursive: true }))
        if (first !== undefined) made.push(first)
        ready.push(await prepared(file.path, 'chunks' in file ? writing(file.chunks) : copying(file.copyOf)))
      }
      for (; done < ready.length; done++) await ready[done]!.commit()
    } catch (error) {
      for (const [i, file] of ready.entries()) await (i < done ? file.undo() : file.discard())
      for (const folder of made) await fs.rm(folder, { recursive: true }).catch(() => {})
      throw error
    }
  },

  decodeImage,

  join: (folder, name) => nodePath.join(folder, name),
  folderOf: (path) => nodePath.dirname(path),
  nameOf: (path) => nodePath.basename(path),
  realPath: (path) => explain('read', path, fs.realpath(path)),
}

const maxReadBytes = 2 ** 30
const hashPieceBytes = 2 ** 22

function fillSync(descriptor: number, path: string, target: Uint8Array, offset: number): void {
  for (let done = 0; done < target.length; ) {
    const count = readSync(
      descriptor,
      target,
      done,
      Math.min(target.length - done, maxReadBytes),
      offset + done,
    )
    if (count === 0) throw endsEarly(path, offset, target.length, offset + done)
    done += count
  }
}

function fileParts(path: string): Parts {
  const first = statSync(path)
  checkIsFile(path, first)
  const open = (): OpenParts =>
    explainSync('read', path, () => {
      const descriptor = openSync(path, 'r')
      const now = fstatSync(descriptor)
      if (now.ino !== first.ino || now.size !== first.size || now.mtimeMs !== first.mtimeMs) {
        closeSync(descriptor)
        throw new UserError(`${path} was changed while it was in use; read it again`)
      }
      return {
        fill: (target, offset) => explainSync('read', path, () => fillSync(descriptor, path, target, offset)),
        close: () => closeSync(descriptor),
      }
    })
  return {
    sizeBytes: first.size,
    open,
    read(offset, length) {
      checkRange(path, offset, length, first.size)
      const file = open()
      try {
        const bytes = new Uint8Array(length)
        file.fill(bytes, offset)
        return bytes
      } finally {
        file.close()
      }
    },
  }
}

function checkIsFile(path: string, info: Stats): void {
  if (info.isDirectory()) throw new UserError(`cannot read ${path}: it is a folder, expected a file`)
  if (!info.isFile())
    throw new UserError(
      `cannot read ${path}: it is a pipe or device, expected a file; save it to a file first`,
    )
}

async function openFile(path: string): Promise<{ handle: fs.FileHandle; sizeBytes: number }> {
  const handle = await explain('read', path, fs.open(path, 'r'))
  try {
    const info = await handle.stat()
    checkIsFile(path, info)
    return { handle, sizeBytes: info.size }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** Size of the pieces that are looked at while the next one is read. */
const pieceBytes = 2 ** 24

/** `onPiece` is shown the bytes piece by piece, each while the next is on its way. */
async function readFully(
  handle: fs.FileHandle,
  path: string,
  offset: number,
  length: number,
  onPiece?: (piece: Uint8Array) => void,
): Promise<Uint8Array> {
  // Every byte is written below, so none needs to be zeroed first.
  const bytes = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)
  const most = onPiece ? pieceBytes : maxReadBytes
  const readFrom = (at: number) =>
    explain('read', path, handle.read(bytes, at, Math.min(length - at, most), offset + at))
  let done = 0
  let reading = length > 0 ? readFrom(0) : undefined
  while (reading) {
    const { bytesRead } = await reading
    // The file was cut after its size was taken.
    if (bytesRead === 0) throw endsEarly(path, offset, length, offset + done)
    const piece = bytes.subarray(done, done + bytesRead)
    done += bytesRead
    reading = done < length ? readFrom(done) : undefined
    onPiece?.(piece)
  }
  return bytes
}

function checkRange(path: string, offset: number, length: number, sizeBytes: number): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0)
    throw new RangeError(`${path}: cannot read ${length} bytes at ${offset}`)
  if (offset + length > sizeBytes) throw endsEarly(path, offset, length, sizeBytes)
}

const endsEarly = (path: string, offset: number, length: number, sizeBytes: number): UserError =>
  new UserError(
    `${path} is cut short: expected ${length} bytes at ${offset}, but the file ends at ${sizeBytes}; ` +
      'fetch or save it again',
  )

type Fill = (handle: fs.FileHandle) => Promise<void>

const writing =
  (chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Fill =>
  async (handle) => {
    // One write takes at most 2 GiB on Linux.
    for await (const chunk of chunks)
      for (let at = 0; at < chunk.length; )
        at += (await handle.write(chunk, at, Math.min(chunk.length - at, maxReadBytes))).bytesWritten
  }

const copying =
  (from: string): Fill =>
  async (handle) => {
    const source = await openFile(from)
    try {
      const chunkBytes = 4 * 2 ** 20
      for (let at = 0; at < source.sizeBytes; at += chunkBytes) {
        const chunk = await readFully(source.handle, from, at, Math.min(chunkBytes, source.sizeBytes - at))
        await writing([chunk])(handle)
      }
    } finally {
      await source.handle.close()
    }
  }

/** A file that is complete under a temporary name. */
interface Prepared {
  /** Gives it its name; on failure the temporary file is removed. */
  commit(): Promise<void>
  discard(): Promise<void>
  /** After `commit`: removes the file, if there was none of its name before. */
  undo(): Promise<void>
}

/** Lets `fill` write a temporary file beside `path`, which is to take the place of `path`. */
async function prepared(path: string, fill: Fill): Promise<Prepared> {
  // A link stays a link: what it points to is replaced.
  const target = await fs.realpath(path).catch(() => path)
  const old = await fs.stat(target).catch(() => undefined)
  if (old && !old.isFile())
    throw new UserError(`cannot write ${path}: it is not a plain file; choose another name`)
  const name = `.${nodePath.basename(target)}.${randomBytes(6).toString('hex')}.tmp`
  const temporary = nodePath.join(nodePath.dirname(target), name)
  const discard = () => fs.unlink(temporary).catch(() => {})
  let handle: fs.FileHandle | undefined
  try {
    handle = await fs.open(temporary, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o666)
    await fill(handle)
    if (old) await handle.chmod(old.mode)
    await handle.sync()
    await handle.close()
  } catch (error) {
    // Closing twice fails, and the file may never have come to be: the first error is the one to tell.
    await handle?.close().catch(() => {})
    if (handle) await discard()
    throw explained('write', path, error)
  }
  return {
    discard,
    async commit() {
      try {
        await fs.rename(temporary, target)
      } catch (error) {
        await discard()
        throw explained('write', path, error)
      }
      // The new name itself reaches the disk too, where the system lets one ask for it (not on Windows).
      const folder = await fs.open(nodePath.dirname(target), 'r').catch(() => undefined)
      await folder?.sync().catch(() => {})
      await folder?.close().catch(() => {})
    },
    undo: async () => {
      if (!old) await fs.unlink(target).catch(() => {})
    },
  }
}

const reasons: Record<string, string> = {
  ENOENT: 'no such file or folder; check the path',
  ENOTDIR: 'a part of the path is not a folder; check the path',
  EEXIST: 'a file stands where a folder is needed; choose another name',
  EISDIR: 'it is a folder, expected a file',
  EACCES: 'permission denied; check who may use it',
  EPERM: 'not permitted; check who may use it',
  EROFS: 'the file system is read-only; choose another folder',
  ENOSPC: 'the disk is full; free some space or choose another folder (nothing was changed)',
  EDQUOT: 'the disk quota is used up; free some space or choose another folder (nothing was changed)',
  EFBIG: 'the file is too large for this file system; choose another folder',
  EMFILE: 'too many files are open; close some and try again',
  ENAMETOOLONG: 'the name is too long; choose a shorter one',
  ELOOP: 'its links go in a circle; check the path',
  EBUSY: 'another program holds it; close that and try again',
  EIO: 'the device failed; check the disk',
  ERR_INVALID_ARG_VALUE: 'the name holds a zero byte; check the path',
}

const codeOf = (error: unknown): string => String((error as { code?: unknown } | null)?.code ?? '')

/** A system error as a UserError; whatever else it is, unchanged. */
function explained(what: string, path: string, error: unknown): unknown {
  const reason = reasons[codeOf(error)]
  return reason ? new UserError(`cannot ${what} ${path}: ${reason}`, { cause: error }) : error
}

async function explain<T>(what: string, path: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw explained(what, path, error)
  }
}

function explainSync<T>(what: string, path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw explained(what, path, error)
  }
}

/** Pictures beyond this many pixels are refused before they are decoded: 64 megapixels, 192 MB as RGB. */
const maxPixels = 2 ** 26

async function decodeImage(bytes: Uint8Array, options: DecodeOptions): Promise<Picture> {
  const { default: sharp } = await import('sharp').catch((error) => {
    throw new UserError(
      'pictures are decoded by the package sharp, which cannot be loaded here; ' +
        'try npm install sharp, or save the pictures as arrays in an .npz file',
      { cause: error },
    )
  })
  if (!isPicture(bytes)) throw new UserError('not a PNG or JPEG picture; convert it to one of these')
  try {
    let picture = sharp(bytes, { failOn: 'error', limitInputPixels: maxPixels })
    picture = picture.removeAlpha().toColourspace(options.channels === 1 ? 'b-w' : 'srgb')
    if (options.width && options.height)
      picture = picture.resize(options.width, options.height, { fit: 'fill' })
    const { data, info } = await picture.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
    if (info.channels !== options.channels) throw new Error(`it decodes to ${info.channels} channels`)
    return { width: info.width, height: info.height, channels: options.channels, data }
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error)).split('\n')[0]
    throw new UserError(`not a readable picture (${reason}); save it again as PNG or JPEG`, { cause: error })
  }
}

const isPicture = (bytes: Uint8Array): boolean =>
  (bytes[0] === 0x89 && bytes[1] === 0x50 && bytes[2] === 0x4e && bytes[3] === 0x47) ||
  (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff)
