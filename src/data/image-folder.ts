import { UserError } from '../ir/errors.ts'
import { Tensor } from '../ir/tensor.ts'
import type { Files, Picture } from '../platform/files.ts'
import { batchRanges, type Dataset } from './dataset.ts'

export interface ImageFolderOptions {
  /** 1 = grey, 3 = RGB (default). */
  readonly channels?: 1 | 3
  /** Resize every picture to this height and width; by default all have to be as large as the first. */
  readonly height?: number
  readonly width?: number
}

/** Whether a file of this name is taken for a picture. What is in it is looked at when it is read. */
export const isPictureName = (name: string): boolean => /^[^.].*\.(png|jpe?g)$/i.test(name)

/** Pictures decoded at the same time. */
const concurrency = 8

/** Largest height or width to resize to. */
const maxSide = 8192

/**
 * A folder of PNG and JPEG pictures as the field `x`, uint8, N x C x H x W. One folder a class: the labels number
 * their names in sorted order, and the classes take turns; or all pictures in the folder itself: unlabelled, sorted by name. Memory holds the
 * names of all files, and the pictures of one batch.
 * Throws a UserError if there are none, or, when its batch is read, for a picture that is damaged or of another size.
 */
export async function openImageFolder(
  folder: string,
  files: Files,
  options: ImageFolderOptions = {},
): Promise<Dataset> {
  const { channels = 3, height, width } = options
  for (const side of [height, width])
    if (side !== undefined && !(Number.isInteger(side) && side >= 1 && side <= maxSide))
      throw new UserError(
        `pictures cannot be resized to ${height} x ${width}; give 1 to ${maxSide} pixels a side`,
      )
  if ((height === undefined) !== (width === undefined))
    throw new UserError('to resize pictures give both height and width')

  const { classNames, paths, labels } = await listPictures(folder, files)
  const decode = async (path: string): Promise<Picture> => {
    const bytes = await files.read(path)
    try {
      return await files.decodeImage(bytes, { channels, ...(height && width && { height, width }) })
    } catch (error) {
      if (error instanceof UserError) throw new UserError(`${path}: ${error.message}`, { cause: error })
      throw error
    }
  }
  const first = await decode(paths[0]!)
  const sampleShape = [channels, first.height, first.width]
  const length = channels * first.height * first.width

  async function read(from: number, to: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const pixels = new Uint8Array((to - from) * length)
    let next = from
    const work = async (): Promise<void> => {
      while (next < to) {
        signal?.throwIfAborted()
        const i = next++
        const path = paths[i]!
        const picture = await decode(path).catch((error) => {
          // The others need not go on.
          next = to
          throw error
        })
        if (picture.height !== first.height || picture.width !== first.width)
          throw new UserError(
            `${path} has ${picture.width} x ${picture.height} pixels, expected ${first.width} x ${first.height} as ` +
              `in ${paths[0]}; give a height and width to resize all pictures to`,
          )
        toPlanes(picture, pixels.subarray((i - from) * length, (i - from + 1) * length))
      }
    }
    await Promise.all(Array.from({ length: Math.min(concurrency, to - from) }, work))
    return pixels
  }

  return {
    name: files.nameOf(folder),
    size: paths.length,
    fields: [{ name: 'x', dataType: 'uint8', sampleShape, layout: 'NCHW' }],
    labelled: labels !== undefined,
    mixed: true,
    ...(classNames && { classNames }),
    async *batches(range) {
      for (const [from, to] of batchRanges(paths.length, range)) {
        const x = new Tensor('uint8', [to - from, ...sampleShape], await read(from, to, range.signal))
        yield {
          inputs: new Map([['x', x]]),
          size: to - from,
          ...(labels && { labels: labels.slice(from, to) }),
        }
      }
    },
  }
}

/** H x W x C to C x H x W. */
function toPlanes({ data, channels }: Picture, planes: Uint8Array): void {
  const pixels = planes.length / channels
  for (let channel = 0; channel < channels; channel++)
    for (let i = 0; i < pixels; i++) planes[channel * pixels + i] = data[i * channels + channel]!
}

interface Listing {
  readonly paths: string[]
  readonly classNames?: string[]
  readonly labels?: Int32Array
}

async function listPictures(folder: string, files: Files): Promise<Listing> {
  const entries = await files.list(folder)
  const picturesIn = (found: typeof entries): string[] =>
    found.filter(({ kind, name }) => kind === 'file' && isPictureName(name)).map(({ name }) => name)
  const flat = picturesIn(entries).map((name) => files.join(folder, name))
  const folders = entries.filter(({ kind, name }) => kind === 'folder' && !name.startsWith('.'))
  if (flat.length > 0 && folders.length === 0) return { paths: flat }

  const classNames: string[] = []
  const pictures: { path: string; label: number; position: number }[] = []
  for (const { name } of folders) {
    const inside = files.join(folder, name)
    const found = await files.list(inside)
    const names = picturesIn(found)
    if (names.length === 0 && found.some(({ kind }) => kind === 'folder'))
      throw new UserError(
        `${inside} holds folders, expected the pictures of one class; try ${inside} as the data`,
      )
    const label = classNames.length
    for (const [i, picture] of names.entries())
      pictures.push({ path: files.join(inside, picture), label, position: (i + 0.5) / names.length })
    classNames.push(name)
  }
  if (pictures.length === 0)
    throw new UserError(
      `${folder} holds no PNG or JPEG pictures, expected some, or one folder of them for each class; check the path`,
    )
  if (flat.length > 0)
    throw new UserError(
      `${folder} holds both pictures (${files.nameOf(flat[0]!)}) and folders of pictures (${folders[0]!.name}); ` +
        'move the pictures into the folder of their class',
    )
  // Classes take turns, so that the first samples are a fair part of all.
  pictures.sort((a, b) => a.position - b.position || a.label - b.label)
  return {
    paths: pictures.map(({ path }) => path),
    classNames,
    labels: Int32Array.from(pictures, ({ label }) => label),
  }
}
