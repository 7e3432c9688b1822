import { z } from 'zod'

/**
 * The JSON of a study: every cell of its grid, and the tables and curves that they make. All reports are made from it.
 * A number that is not finite is null. Version 1 only grows.
 */
export const studyVersion = '1.1'

const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()])

const studyCell = z.object({
  key: z.string().describe('SHA-256 of everything that determines the outcome'),
  parameters: z.record(z.string(), scalar),
  outcome: z.record(z.string(), z.unknown()).nullable().describe('null if the cell was not run'),
  error: z.string().optional().describe('why the cell failed'),
  durationMs: z.number().optional(),
})

const studyTable = z.object({
  title: z.string(),
  columns: z.array(z.string()),
  rows: z.array(z.array(scalar)),
  note: z.string().optional(),
})

const axis = z.object({ label: z.string(), scale: z.enum(['linear', 'log']) })

const studyFigure = z.object({
  title: z.string(),
  x: axis,
  y: axis,
  series: z.array(
    z.object({
      name: z.string(),
      dashed: z.boolean().optional().describe('drawn dashed: the counterpart of the series of its colour'),
      points: z.array(
        z.object({
          x: z.number(),
          y: z.number().nullable(),
          low: z.number().nullable().optional(),
          high: z.number().nullable().optional(),
        }),
      ),
    }),
  ),
  note: z.string().optional(),
})

const studyGallery = z.object({
  title: z.string(),
  width: z.number().describe('of each picture, in pixels'),
  height: z.number(),
  rows: z.array(
    z.object({
      name: z.string(),
      images: z.array(z.string()).describe('base64 of height x width x 3 bytes: red, green, blue'),
    }),
  ),
  note: z.string().optional(),
})

export const budgets = ['smoke', 'small', 'paper'] as const
export type Budget = (typeof budgets)[number]

export const studySchema = z.object({
  schema: z.literal('varshift-study/1'),
  schemaVersion: z.string(),
  tool: z.object({ name: z.literal('varshift'), version: z.string() }),
  study: z.object({ id: z.string(), claim: z.string(), source: z.string(), method: z.string() }),
  budget: z.enum(budgets),
  data: z.string().describe('what the cells were run on'),
  command: z.string().describe('command line that gives this result'),
  machine: z.string(),
  notRun: z.number().describe('cells of the grid without an outcome'),
  cells: z.array(studyCell),
  tables: z.array(studyTable),
  figures: z.array(studyFigure),
  galleries: z.array(studyGallery).optional(),
  conclusions: z.array(z.string()),
})

export type StudyCell = z.infer<typeof studyCell>
export type StudyTable = z.infer<typeof studyTable>
export type StudyFigure = z.infer<typeof studyFigure>
export type StudyGallery = z.infer<typeof studyGallery>
export type StudyResult = z.infer<typeof studySchema>
