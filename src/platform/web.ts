import { UserError } from '../ir/errors.ts'
import type { Files } from './files.ts'
import { memoryParts } from './parts.ts'

/** The few browser interfaces used here; the project is typed for Node. */
declare const createImageBitmap: (blob: Blob) => Promise<{ readonly width: number; readonly height: number }>
declare const OffscreenCanvas: new (
  width: number,
  height: number,
) => {
  getContext(kind: '2d'): {
    drawImage(image: unknown, x: number, y: number, width: number, height: number): void
    getImageData(x: number, y: number, width: number, height: number): { readonly data: Uint8ClampedArray }
  } | null
}

const normalize = (path: string) => path.replace(/^\.\//, '')

/** Files held in memory, by name: what a person dropped onto a page. Nothing can be written. */
export function memoryFiles(contents: ReadonlyMap<string, Uint8Array>): Files {
  const get = (path: string): Uint8Array => {
    const bytes = contents.get(normalize(path))
    if (!bytes)
      throw new UserError(`'${path}' is not among the files given (${[...contents.keys()].join(', ')})`)
    return bytes
  }
  const range = (path: string, offset: number, length: number): Uint8Array => {
    const bytes = get(path)
    if (offset + length > bytes.length)
      throw new UserError(
        `'${path}' ends at byte ${bytes.length}, expected ${offset + length}; it may be truncated`,
      )
    return bytes.slice(offset, offset + length)
  }
  const readOnly = async (): Promise<never> => {
    throw new UserError('files cannot be written here; take the bytes and offer them as a download')
  }
  return {
    read: async (path) => get(path),
    readRange: async (path, offset, length) => range(path, offset, length),
    readRangeSync: range,
    parts: (path) => memoryParts(get(path)),
    open: async (path) => ({
      sizeBytes: get(path).length,
      read: async (offset, length) => range(path, offset, length),
      close: async () => {},
    }),
    list: async (folder) => {
      const prefix = normalize(folder) === '.' ? '' : `${normalize(folder)}/`
      const names = [...contents.keys()]
        .filter((name) => name.startsWith(prefix))
        .map((name) => name.slice(prefix.length))
      const kinds = new Map(
        names.map((name) => [name.split('/')[0]!, name.includes('/') ? 'folder' : 'file'] as const),
      )
      return [...kinds].map(([name, kind]) => ({ name, kind })).sort((a, b) => (a.name < b.name ? -1 : 1))
    },
    stat: async (path) => {
      const bytes = contents.get(normalize(path))
      if (bytes) return { kind: 'file', sizeBytes: bytes.length }
      const folder = normalize(path)
      const isFolder = folder === '.' || [...contents.keys()].some((name) => name.startsWith(`${folder}/`))
      return isFolder ? { kind: 'folder', sizeBytes: 0 } : undefined
    },
    writeAtomic: readOnly,
    createFolder: readOnly,
    append: readOnly,
    copy: readOnly,
    writeTogether: readOnly,
    async decodeImage(bytes, { channels, width, height }) {
      const bitmap = await createImageBitmap(new Blob([bytes.slice()]))
      const size = { width: width ?? bitmap.width, height: height ?? bitmap.height }
      const context = new OffscreenCanvas(size.width, size.height).getContext('2d')!
      context.drawImage(bitmap, 0, 0, size.width, size.height)
      const rgba = context.getImageData(0, 0, size.width, size.height).data
      const data = new Uint8Array(size.width * size.height * channels)
      for (let i = 0; i < size.width * size.height; i++) {
        const [r, g, b] = [rgba[4 * i]!, rgba[4 * i + 1]!, rgba[4 * i + 2]!]
        if (channels === 3) data.set([r, g, b], 3 * i)
        // The weights of ITU-R BT.601, as PNG decoders use them.
        else data[i] = Math.round(0.299 * r + 0.587 * g + 0.114 * b)
      }
      return { ...size, channels, data }
    },
    join: (folder, name) => normalize(folder === '.' || folder === '' ? name : `${folder}/${name}`),
    folderOf: (path) => (path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '.'),
    nameOf: (path) => path.slice(path.lastIndexOf('/') + 1),
    realPath: async (path) => normalize(path),
  }
}
