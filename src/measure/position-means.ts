import {
  floatAttribute,
  intAttribute,
  intsAttribute,
  type Model,
  type Node,
  type TensorType,
} from '../ir/model.ts'
import { usesOf } from '../ir/uses.ts'

/** Means over positions, summed over samples: those of a value, or told by those of others. */
export type Means =
  | { readonly value: string; readonly channels: number }
  | { readonly sumOf: readonly Means[] }
  | { readonly mapOf: Means; readonly map: (sums: Float64Array, samples: number) => Float64Array }

/** The values whose means are asked for. */
export function leavesOf(means: Means): readonly { value: string; channels: number }[] {
  if ('value' in means) return [means]
  return 'mapOf' in means ? leavesOf(means.mapOf) : means.sumOf.flatMap(leavesOf)
}

/** How many nodes a mean is followed back through: residual blocks are two deep, with Identity nodes between. */
const deepest = 6

/**
 * Tells from which values the means of a value over its positions are had with fewest channels to pool. The mean
 * commutes with 1 x 1 convolutions, sums and BatchNormalizations, so that in a residual network the trunk's follows
 * from that of the narrow end of each block, which has a quarter of the channels.
 *
 *   mean(W x + b) = W mean(x) + b,   mean(x + y) = mean(x) + mean(y)
 */
export function meansFinder(
  model: Model,
  types: ReadonlyMap<string, TensorType>,
): (value: string, channels: number) => Means {
  const uses = usesOf(model.graph)
  const { initializers } = model.graph
  const found = new Set<string>()

  function find(value: string, channels: number, depth: number): { means: Means; cost: number } {
    const own = { means: { value, channels }, cost: found.has(value) ? 0 : channels }
    if (own.cost === 0) return own
    const node = depth < deepest && isMap(value) ? uses.producer(value) : undefined
    const told = node && toldBy(node, channels)
    if (!told) return own
    const parts = told.inputs.map((input) => find(input.value, input.channels, depth + 1))
    const cost = parts.reduce((sum, part) => sum + part.cost, 0)
    if (cost >= channels) return own
    const all = parts.map(({ means }) => means)
    return { cost, means: told.map ? { mapOf: all[0]!, map: told.map } : { sumOf: all } }
  }

  /** What has the positions of the node's output and tells its means. */
  function toldBy(
    node: Node,
    channels: number,
  ):
    | {
        inputs: { value: string; channels: number }[]
        map?: (sums: Float64Array, samples: number) => Float64Array
      }
    | undefined {
    const [input, ...others] = node.inputs
    if (node.domain !== '' || !input || !isMap(input)) return undefined
    if (node.opType === 'Identity') return { inputs: [{ value: input, channels }] }
    if (node.opType === 'Add') {
      const alike = node.inputs.every((name) => isLike(name, node.outputs[0]!))
      return alike ? { inputs: node.inputs.map((value) => ({ value, channels })) } : undefined
    }
    const numbers = others.map((name) => (name === '' ? undefined : initializers.get(name)?.toNumbers()))
    if (others.some((name, i) => name !== '' && !numbers[i])) return undefined
    if (node.opType === 'BatchNormalization') {
      const [scale, shift, mean, variance] = numbers
      if (!variance || node.outputs.length > 1 || intAttribute(node, 'training_mode')) return undefined
      const epsilon = floatAttribute(node, 'epsilon') ?? 1e-5
      const slope = variance.map((v, c) => scale![c]! / Math.sqrt(v + epsilon))
      return {
        inputs: [{ value: input, channels }],
        map: (sums, samples) =>
          sums.map((sum, c) => (sum - samples * mean![c]!) * slope[c]! + samples * shift![c]!),
      }
    }
    if (node.opType !== 'Conv') return undefined
    const [outputs = 0, width = 0, ...kernel] = initializers.get(others[0]!)!.dims
    const isPointwise =
      outputs === channels &&
      kernel.every((size) => size === 1) &&
      (intsAttribute(node, 'strides') ?? []).every((stride) => stride === 1) &&
      (intsAttribute(node, 'pads') ?? []).every((pad) => pad === 0)
    if (!isPointwise) return undefined
    const groups = intAttribute(node, 'group') ?? 1
    const [weights, bias] = numbers
    return {
      inputs: [{ value: input, channels: width * groups }],
      map: (sums, samples) =>
        Float64Array.from({ length: outputs }, (_, k) => {
          const first = Math.floor((k * groups) / outputs) * width
          let sum = samples * (bias?.[k] ?? 0)
          for (let c = 0; c < width; c++) sum += weights![k * width + c]! * sums[first + c]!
          return sum
        }),
    }
  }

  /** Whether the value is float32 and has positions. */
  function isMap(value: string): boolean {
    const type = types.get(value)
    return type?.dataType === 'float32' && (type.shape?.length ?? 0) > 2
  }

  /** Whether both are added element by element, with nothing repeated. */
  function isLike(value: string, other: string): boolean {
    const [a, b] = [types.get(value)?.shape, types.get(other)?.shape]
    return isMap(value) && a?.length === b?.length && a!.every((d, i) => d !== undefined && d === b![i])
  }

  return (value, channels) => {
    const { means } = find(value, channels, 0)
    for (const leaf of leavesOf(means)) found.add(leaf.value)
    found.add(value)
    return means
  }
}
