import type { Batch, Dataset } from '../data/dataset.ts'
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
  const { name, sampleShape } = field
  return {
    ...dataset,
    fields: [{ ...field, sampleShape: [1, ...sampleShape] }],
    async *batches(options) {
      for await (const batch of dataset.batches(options)) {
        const { dataType, bytes } = batch.inputs.get(name)!
        const tensor = new Tensor(dataType, [batch.size, 1, ...sampleShape], bytes)
        yield { ...batch, inputs: new Map([[name, tensor]]) }
      }
    },
  }
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
  const [field] = dataset.fields
  const dims = [channels, height >> 1, width >> 1]
  return {
    ...dataset,
    fields: [{ ...field!, sampleShape: dims }],
    async *batches(options) {
      for await (const batch of dataset.batches(options)) yield shrunk(batch, field!.name, dims, width)
    },
  }
}

function shrunk(batch: Batch, name: string, dims: readonly number[], fullWidth: number): Batch {
  const source = batch.inputs.get(name)!
  const [channels, height, width] = dims as [number, number, number]
  const fullHeight = source.dims[2]!
  const bytes = new Uint8Array(batch.size * channels * height * width)
  let at = 0
  for (let plane = 0; plane < batch.size * channels; plane++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const from = (plane * fullHeight + 2 * y) * fullWidth + 2 * x
        const { bytes: pixels } = source
        bytes[at++] =
          (pixels[from]! +
            pixels[from + 1]! +
            pixels[from + fullWidth]! +
            pixels[from + fullWidth + 1]! +
            2) >>
          2
      }
  return { ...batch, inputs: new Map([[name, new Tensor('uint8', [batch.size, ...dims], bytes)]]) }
}
