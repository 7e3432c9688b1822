import { z } from 'zod'
import { UserError } from '../../ir/errors.ts'

/**
 * The JSON of an exported program, as far as it is read; unknown fields are left alone.
 * Source: torch/_export/serde/schema.py, major versions 1 to 8.
 */

/** Unions are objects of which one key is set; schema 2 writes the others as explicit nulls. */
type Union = readonly [kind: string, value: unknown]

const union = z.record(z.string(), z.unknown()).transform((held): Union => {
  for (const kind in held) if (held[kind] !== null && held[kind] !== undefined) return [kind, held[kind]]
  return ['as_none', true]
})

const named = z.object({ name: z.string() })

const symbolic = z.union([
  z.object({ as_int: z.number() }).transform(({ as_int }) => as_int),
  z
    .object({ as_expr: z.object({ expr_str: z.string() }) })
    .transform(({ as_expr }) => as_expr.expr_str.replace(/^Symbol\('(\w+)'.*\)$/, '$1')),
])

export const tensorMeta = z.object({
  dtype: z.number(),
  /** Numbers, and expressions of symbols. */
  sizes: z.array(symbolic),
  strides: z.array(symbolic),
  storage_offset: z.union([z.number(), symbolic]).nullish(),
  layout: z.number(),
})
export type TensorMeta = z.infer<typeof tensorMeta>

const node = z.object({
  target: z.string(),
  inputs: z.array(z.object({ name: z.string(), arg: union })),
  outputs: z.array(union),
  metadata: z.object({ nn_module_stack: z.string().optional() }),
})
export type ProgramNode = z.infer<typeof node>

const graph = z.object({
  inputs: z.array(union),
  outputs: z.array(union),
  nodes: z.array(node),
  tensor_values: z.record(z.string(), tensorMeta).transform((metas) => new Map(Object.entries(metas))),
})
export type ProgramGraph = z.infer<typeof graph>

const program = z.object({
  graph_module: z.object({
    graph,
    signature: z.object({ input_specs: z.array(union), output_specs: z.array(union) }),
  }),
  opset_version: z.record(z.string(), z.number()).nullish(),
  schema_version: z.object({ major: z.number(), minor: z.number() }),
  torch_version: z.string().nullish(),
})
export type Program = z.infer<typeof program>

const payloads = z.object({
  config: z.record(
    z.string(),
    z.object({
      path_name: z.string(),
      use_pickle: z.boolean(),
      tensor_meta: tensorMeta.nullish(),
    }),
  ),
})
export type Payloads = z.infer<typeof payloads>

/** JSON of more characters is refused: a program of a million nodes holds some. */
const maxText = 2 ** 28

/** Writers before schema 8 leave Python's words for numbers that JSON does not have. */
function parseJson(text: string, member: string): unknown {
  if (text.length > maxText)
    throw new UserError(
      `'${member}' holds ${text.length} characters, more than any program has; export the model again`,
    )
  try {
    const standard = text.replace(/"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g, (token) =>
      token.startsWith('"') ? token : `"${token}"`,
    )
    return JSON.parse(standard)
  } catch (error) {
    throw new UserError(
      `'${member}' is no JSON (${(error as Error).message}); the file is damaged: export the model again`,
    )
  }
}

function checked<T>(schema: z.ZodType<T>, text: string, member: string): T {
  const json = parseJson(text, member)
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new UserError(
    `'${member}' is no exported program that varshift knows: ${issue!.path.join('.') || 'it'}: ${issue!.message}; export the model again with torch.export.save of PyTorch 2.4 or newer`,
  )
}

/** The newest major version of the schema that is known. */
const newestMajor = 8

export function parseProgram(text: string, member: string): Program {
  const parsed = checked(program, text, member)
  const { major, minor } = parsed.schema_version
  if (major > newestMajor)
    throw new UserError(
      `'${member}' has schema version ${major}.${minor} of torch.export, which is newer than ${newestMajor}, the newest known; update varshift, or export with PyTorch 2.13`,
    )
  return parsed
}

export const parsePayloads = (text: string, member: string): Payloads => checked(payloads, text, member)

const spec = z.object({
  arg: union,
  parameter_name: z.string().optional(),
  buffer_name: z.string().optional(),
  tensor_constant_name: z.string().optional(),
})

/** What an input or output of the program is; undefined for those without a value (constants). */
export const parseSpec = (value: unknown): z.infer<typeof spec> | undefined => spec.safeParse(value).data

/** The tensor that an argument names; a UserError says where another thing stands. */
export const parseName = (value: unknown): string | undefined => named.safeParse(value).data?.name

export const parseUnion = (value: unknown): Union => union.safeParse(value).data ?? ['as_none', true]
export type Argument = Union

/** A graph inside an argument (the body of a `with` block, a branch). */
export const parseGraph = (value: unknown): { name: string; graph: ProgramGraph } | undefined =>
  z.object({ name: z.string(), graph }).safeParse(value).data

/** Element types by the numbers of torch.export's schema. */
export const scalarTypes = {
  1: 'uint8',
  2: 'int8',
  3: 'int16',
  4: 'int32',
  5: 'int64',
  6: 'float16',
  7: 'float32',
  8: 'float64',
  10: 'complex64',
  11: 'complex128',
  12: 'bool',
  13: 'bfloat16',
  28: 'uint16',
  29: 'float8e4m3fn',
  30: 'float8e5m2',
  31: 'float8e4m3fnuz',
  32: 'float8e5m2fnuz',
  33: 'float8e8m0',
  34: 'uint32',
  35: 'uint64',
} as const

export const stridedLayout = 7
