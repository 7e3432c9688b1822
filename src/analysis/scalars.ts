import { type Graph, isOnnxDomain, type Node } from '../ir/model.ts'
import { usesOf } from '../ir/uses.ts'
import type { Known } from '../ops/define-op.ts'

/** Looks up the one number that all elements of a value equal, whatever its shape; undefined if there is none. */
export type Scalars = (value: string) => number | undefined

/** Scalars are computed by a few nodes; longer chains are not followed. */
const maxDepth = 40

/** Largest stored tensor that is looked through for being uniform. */
const maxElements = 1 << 16

const binary: Readonly<Record<string, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
}

const passing = new Set([
  'Identity',
  'Cast',
  'CastLike',
  'Expand',
  'Reshape',
  'Unsqueeze',
  'Squeeze',
  'Tile',
  'Flatten',
])

export function scalarsOf(graph: Graph, known: ReadonlyMap<string, Known>): Scalars {
  const uses = usesOf(graph)
  const feeds = new Set(graph.inputs.map(({ name }) => name))
  const found = new Map<string, number | undefined>()

  const compute = (value: string): number | undefined => {
    const { contents, tensor } = known.get(value) ?? {}
    if (contents) return uniformOf(contents)
    if (tensor && tensor.size > 0 && tensor.size <= maxElements && !tensor.strings)
      return uniformOf(tensor.toNumbers())
    // A default can be replaced, but until somebody does it holds.
    if (feeds.has(value)) return undefined
    const node = uses.producer(value)
    return node && isOnnxDomain(node.domain) ? ofNode(node) : undefined
  }

  const ofNode = (node: Node): number | undefined => {
    const [first, second] = node.inputs
    if (node.opType === 'ConstantOfShape') {
      const fill = node.attributes.get('value')
      return fill?.type === 'tensor' ? fill.value.toNumbers()[0] : 0
    }
    if (passing.has(node.opType)) return first ? scalar(first) : undefined
    const f = binary[node.opType]
    if (!f || !first || !second) return undefined
    const [a, b] = [scalar(first), scalar(second)]
    if (node.opType === 'Mul' && (a === 0 || b === 0)) return 0
    return a === undefined || b === undefined ? undefined : f(a, b)
  }

  let depth = 0
  const scalar: Scalars = (value) => {
    if (!found.has(value)) {
      if (depth >= maxDepth) return undefined
      found.set(value, undefined)
      depth++
      found.set(value, compute(value))
      depth--
    }
    return found.get(value)
  }
  return scalar
}

function uniformOf(values: ArrayLike<unknown>): number | undefined {
  const first = values[0]
  if (typeof first !== 'number') return undefined
  for (let i = 1; i < values.length; i++) if (values[i] !== first) return undefined
  return first
}
