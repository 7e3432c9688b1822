import type { Dataset } from '../data/dataset.ts'
import { fairPart } from '../data/fair-part.ts'
import { UserError } from '../ir/errors.ts'
import { Tensor } from '../ir/tensor.ts'
import type { CellContext } from './define-study.ts'

export interface PictureOptions {
  /** Samples, from all over the dataset. */
  readonly samples: number
  /** Halve height and width so many times, by averaging 2 x 2 pixels: what small budgets train on. */
  readonly halvings: number
}

/** Labelled pictures of the study's data: C x H x W bytes. */
export async function pictures(
  part: 'train' | 'test',
  { samples, halvings }: PictureOptions,
  context: CellContext,
): Promise<Dataset> {
  let dataset = withChannel(fairPart(await context.openData(part), samples))
  for (let i = 0; i < halvings; i++) dataset = halved(dataset)
  return dataset
}

/** Grey pictures without an axis of channels get one. */
function withChannel(dataset: Dataset): Dataset {
  const [field] = dataset.fields
  if (dataset.fields.length !== 1 || field?.sampleShape.length !== 2) return dataset
  return converted(dataset, [1, ...field.sampleShape], ({ bytes }) => bytes)
}

/** Shape of one picture. */
export function shapeOf(dataset: Dataset): readonly [number, number, number] {
  const [field] = dataset.fields
  if (dataset.fields.length !== 1 || field?.sampleShape.length !== 3 || field.dataType !== 'uint8')
    throw new UserError(
      `${dataset.name}: studies take labelled pictures as bytes, such as CIFAR-10 or IDX files`,
    )
  return field.sampleShape as unknown as readonly [number, number, number]
}

function halved(dataset: Dataset): Dataset {
  const [channels, height, width] = shapeOf(dataset)
  const dims = [channels, height >> 1, width >> 1]
  return converted(dataset, dims, (pictures) => shrunk(pictures, dims))
}

/** The dataset with its one field in another shape, of the bytes that `convert` makes of a batch. */
function converted(
  dataset: Dataset,
  sampleShape: readonly number[],
  convert: (pictures: Tensor) => Uint8Array,
): Dataset {
  const field = dataset.fields[0]!
  return {
    ...dataset,
    fields: [{ ...field, sampleShape }],
    async *batches(options) {
      for await (const batch of dataset.batches(options)) {
        const pictures = batch.inputs.get(field.name)!
        const tensor = new Tensor(pictures.dataType, [batch.size, ...sampleShape], convert(pictures))
        yield { ...batch, inputs: new Map([[field.name, tensor]]) }
      }
    },
  }
}

/** Means of 2 x 2 pixels. */
function shrunk({ dims, bytes: pixels }: Tensor, [channels, height, width]: readonly number[]): Uint8Array {
  const [samples, , fullHeight, fullWidth] = dims as [number, number, number, number]
  const bytes = new Uint8Array(samples * channels! * height! * width!)
  let at = 0
  for (let plane = 0; plane < samples * channels!; plane++)
    for (let y = 0; y < height!; y++)
      for (let x = 0; x < width!; x++) {
        const from = (plane * fullHeight + 2 * y) * fullWidth + 2 * x
        bytes[at++] =
          (pixels[from]! +
            pixels[from + 1]! +
            pixels[from + fullWidth]! +
            pixels[from + fullWidth + 1]! +
            2) >>
          2
      }
  return bytes
}
