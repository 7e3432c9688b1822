import { UserError } from '../../ir/errors.ts'
import type { Dim, Model, TensorType } from '../../ir/model.ts'

/** The model with the dimensions that have those names bound to sizes: `{ N: 64 }` fixes the batch. */
export function bindDimensions(model: Model, sizes: Readonly<Record<string, number>>): Model {
  for (const [name, size] of Object.entries(sizes))
    if (!Number.isInteger(size) || size < 1)
      throw new UserError(`dimension '${name}' is to be ${size}, expected a whole number of at least 1`)
  const bound = (dim: Dim): Dim => (typeof dim === 'string' && Object.hasOwn(sizes, dim) ? sizes[dim] : dim)
  const withBound = <T extends TensorType | undefined>(type: T): T =>
    type?.shape ? { ...type, shape: type.shape.map(bound) } : type
  const { graph } = model
  return {
    ...model,
    graph: {
      ...graph,
      inputs: graph.inputs.map((input) => ({ ...input, type: withBound(input.type) })),
      outputs: graph.outputs.map((output) => ({ ...output, type: withBound(output.type) })),
      types: new Map([...graph.types].map(([name, type]) => [name, withBound(type)])),
    },
  }
}

/**
 * The model with its inputs in exactly those shapes, also where a size has no name. Every dimension that shares a name
 * with one of theirs is bound too.
 */
export function bindShapes(model: Model, shapes: ReadonlyMap<string, readonly number[]>): Model {
  const sizes: Record<string, number> = {}
  const inputs = model.graph.inputs.map((input) => {
    const wanted = shapes.get(input.name)
    if (!wanted) return input
    const stated: readonly Dim[] = input.type?.shape ?? wanted
    const fits =
      stated.length === wanted.length &&
      stated.every((dim, axis) => {
        if (typeof dim === 'string') sizes[dim] ??= wanted[axis]!
        return (typeof dim === 'string' ? sizes[dim] : (dim ?? wanted[axis])) === wanted[axis]
      })
    if (!fits)
      throw new UserError(
        `input '${input.name}' is to have shape [${wanted.join(', ')}], expected [${stated.map((dim) => dim ?? '?').join(', ')}]; give the data in the shape that the model was exported with`,
      )
    return { ...input, type: { ...input.type, shape: wanted } }
  })
  return bindDimensions({ ...model, graph: { ...model.graph, inputs } }, sizes)
}
