import { intAttribute, labelOf, type Model, type Node } from '../ir/model.ts'
import type { Tensor } from '../ir/tensor.ts'
import { usesOf } from '../ir/uses.ts'
import { elementsOf } from '../ops/conv.ts'
import { opOf } from '../ops/index.ts'
import type { Norm } from './facts.ts'
import { knownValues } from './infer-types.ts'
import { noisesOf } from './noises.ts'

/** The layer directly in front of a norm. */
export interface WeightsInFront {
  readonly node: Node
  readonly label: string
  /** Mean over filters of (sum w)^2 / sum w^2, theory's d cos^2: the larger, the smaller the shift through this layer. */
  readonly dCos2: number
}

/**
 * The convolution or dense layer whose output reaches the norm through nothing but nodes that move or scale elements,
 * add a constant, or perturb (a bias, a noise, a reshape); undefined if there is none.
 */
export function weightsInFront(model: Model, norm: Norm): WeightsInFront | undefined {
  const uses = usesOf(model.graph)
  const known = knownValues(model)
  const noises = new Map(noisesOf(model).map((noise) => [noise.output, noise]))
  const isStored = (value: string) => value === '' || known.get(value)?.tensor !== undefined
  let value = norm.node.inputs[0]
  const seen = new Set<string>()
  while (value && !seen.has(value)) {
    seen.add(value)
    const noise = noises.get(value)
    if (noise) {
      value = noise.input
      continue
    }
    const node = uses.producer(value)
    if (!node) return undefined
    const op = opOf(node)
    if (op.role === 'weight') {
      const tensor = known.get(node.inputs[1] ?? '')?.tensor
      return tensor && { node, label: labelOf(node), dCos2: dCos2Of(tensor, filterAxes(node, tensor)) }
    }
    const moving = node.inputs.map((input) => !isStored(input))
    const flows = op.flow({ node, opset: 0, moving })
    const carried = flows.flatMap((flow, i) => (moving[i] && flow !== 'none' ? [i] : []))
    if (carried.length === 0) return undefined
    const linear = carried.every(
      (i) => flows[i] === 'layout' || flows[i] === 'scaling' || flows[i] === 'linear',
    )
    if (carried.length > 1 || !linear) return undefined
    value = node.inputs[carried[0]!]
  }
  return undefined
}

/** Which axes of the weight number the filters. */
function filterAxes(node: Node, weight: Tensor): readonly number[] {
  if (node.opType === 'ConvTranspose') return [1]
  if (node.opType === 'Gemm') return [intAttribute(node, 'transB') === 1 ? 0 : 1]
  if (node.opType.includes('MatMul'))
    return [intAttribute(node, 'transB') === 1 ? weight.dims.length - 2 : weight.dims.length - 1]
  return [0]
}

function dCos2Of(weight: Tensor, [axis]: readonly number[]): number {
  const { dims } = weight
  const w = elementsOf(weight)
  const filters = dims[axis!]!
  const inner = dims.slice(axis! + 1).reduce((n, d) => n * d, 1)
  const sums = new Float64Array(filters)
  const squares = new Float64Array(filters)
  for (let i = 0; i < w.length; i++) {
    const filter = Math.floor(i / inner) % filters
    sums[filter]! += w[i]!
    squares[filter]! += w[i]! ** 2
  }
  let total = 0
  for (let k = 0; k < filters; k++) total += squares[k]! > 0 ? sums[k]! ** 2 / squares[k]! : 0
  return total / filters
}
