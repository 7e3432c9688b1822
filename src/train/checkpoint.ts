import { z } from 'zod'
import { UserError } from '../ir/errors.ts'
import type { Tensor } from '../ir/tensor.ts'
import type { Files } from '../platform/files.ts'
import { version } from '../version.ts'
import { decodeSafetensors, encodeSafetensors } from './safetensors.ts'

const figures = z.object({ loss: z.number().nullable(), accuracy: z.number().nullable() })

const epochFigures = z.object({
  epoch: z.number().describe('counted from 1'),
  step: z.number().describe('steps done at its end'),
  learningRate: z.number().describe('in its last step'),
  train: figures.describe('means over its steps, as the parameters changed'),
  validation: figures.nullable(),
  gradientNorm: z.number().nullable().describe('mean over its steps, before clipping'),
  durationMs: z.number(),
})

const stateSchema = z.object({
  /** Of this layout. */
  format: z.literal(1),
  version: z.string(),
  /** What the run was told to do; a run that goes on has to be told the same. */
  recipe: z.record(z.string(), z.unknown()),
  /** Whatever the caller needs to find model and data again. */
  note: z.unknown(),
  /** Steps done. Everything random is a function of it and the seed. */
  step: z.number().int().min(0),
  /** Sums over the steps of an epoch that is not done. */
  totals: z.object({
    terms: z.array(z.object({ sum: z.number(), weight: z.number() })),
    right: z.number(),
    samples: z.number(),
    gradientNorm: z.number(),
    steps: z.number(),
    durationMs: z.number(),
  }),
  curve: z.array(epochFigures),
  /** The best epoch so far, where it decides when to stop; its tensors are those called `best/...`. */
  best: z.object({ epoch: z.number(), loss: z.number() }).nullable(),
})

export type EpochFigures = z.infer<typeof epochFigures>
export type TrainingState = z.infer<typeof stateSchema>

/** The file in a folder of checkpoints that holds the last one. */
export const checkpointName = 'last.safetensors'

/**
 * Writes the last checkpoint of a run: one safetensors file with all tensors, and the state as JSON in its metadata.
 * It takes the place of the one before in one move, so there is a whole one at any moment.
 */
export async function writeCheckpoint(
  folder: string,
  state: Omit<TrainingState, 'format' | 'version'>,
  tensors: ReadonlyMap<string, Tensor>,
  files: Files,
): Promise<string> {
  const path = files.join(folder, checkpointName)
  const text = JSON.stringify({ format: 1, version, ...state } satisfies TrainingState)
  await files.writeAtomic(path, encodeSafetensors(tensors, { varshift: text }))
  return path
}

export interface Checkpoint {
  readonly path: string
  readonly state: TrainingState
  readonly tensors: ReadonlyMap<string, Tensor>
}

/** The last checkpoint in a folder. Throws a UserError if there is none, or none that this version reads. */
export async function readCheckpoint(folder: string, files: Files): Promise<Checkpoint> {
  const path = files.join(folder, checkpointName)
  if (!(await files.stat(path)))
    throw new UserError(
      `'${folder}' holds no checkpoint (${checkpointName}); give the --checkpoint-dir of a run`,
    )
  const bytes = await files.read(path)
  try {
    const { tensors, metadata } = decodeSafetensors(bytes)
    if (metadata.varshift === undefined) throw new UserError('it is no checkpoint of varshift')
    const parsed = stateSchema.safeParse(JSON.parse(metadata.varshift))
    if (!parsed.success)
      throw new UserError(
        `its state cannot be understood (${parsed.error.issues[0]?.path.join('.')}: ${parsed.error.issues[0]?.message}); was it written by another version?`,
      )
    return { path, state: parsed.data, tensors }
  } catch (error) {
    if (error instanceof UserError) throw new UserError(`${path}: ${error.message}`)
    throw new UserError(`${path}: its state is no JSON; the file is damaged`)
  }
}
