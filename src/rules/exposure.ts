import type { Facts, Noise, NoisePath, Norm } from '../analysis/facts.ts'
import { isNorm } from '../analysis/norms.ts'
import { storedTensor } from '../ir/edit.ts'
import { type Model, type Node, opsetOf } from '../ir/model.ts'
import type { Flow } from '../ops/define-op.ts'
import { opOf } from '../ops/index.ts'

/**
 * A layer is called shifted from this ratio on (either way): measured ratios of repaired networks stay below it, see
 * `shiftedRatio` in the reports.
 */
export const shiftedRatio = 1.1

/** max(ratio, 1 / ratio): how far a ratio is from 1, either way. */
export const asShift = (ratio: number): number => Math.max(ratio, 1 / ratio)

/** Whether a noise does anything: every noise is off where its parameter is 0. */
export const isActing = ({ parameter }: Noise): boolean => parameter.value !== 0

/** The ways of noises that do anything. */
export const actingPaths = ({ paths }: Facts): NoisePath[] => paths.filter(({ noise }) => isActing(noise))

/** `paths` by what `keyOf` names, in order. */
export function grouped(
  paths: readonly NoisePath[],
  keyOf: (path: NoisePath) => string,
): (readonly [NoisePath, ...NoisePath[]])[] {
  const groups = new Map<string, [NoisePath, ...NoisePath[]]>()
  for (const path of paths) {
    const group = groups.get(keyOf(path))
    if (group) group.push(path)
    else groups.set(keyOf(path), [path])
  }
  return [...groups.values()]
}

/** The way with the fewest nodes; direct before linear before non-linear. */
export function nearestOf(paths: readonly [NoisePath, ...NoisePath[]]): NoisePath {
  const order = ['direct', 'linear', 'nonlinear']
  const far = ({ through, steps }: NoisePath) => order.indexOf(through) * 1e6 + steps.length
  return paths.reduce((a, b) => (far(b) < far(a) ? b : a))
}

/** Whether another normalization by running statistics lies on the way. */
export const crossesNorm = ({ steps }: NoisePath): boolean => steps.some(isNorm)

/** For each step of a way, how what comes along it leaves the step. */
export function flowsAlong(model: Model, { noise, steps }: NoisePath): Flow[] {
  let arriving: readonly string[] = [noise.output]
  return steps.map((node) => {
    const moving = node.inputs.map((input) => arriving.includes(input))
    arriving = node.outputs
    const flows = opOf(node).flow({ node, opset: opsetOf(model), moving })
    return flows.find((_, i) => moving[i]) ?? 'nonlinear'
  })
}

/** Number of channels of a norm, as far as the file tells. */
export const channelsOf = ({ mean, variance, scale, shift }: Norm): number =>
  (mean ?? variance ?? scale ?? shift)?.length ?? 0

/** The stored bias that a node adds to its result, if it is a weight layer with one: its elements. */
export function biasOf(model: Model, node: Node): Float64Array | undefined {
  const { role, inputs } = opOf(node)
  // Conv and ConvTranspose call it bias, Gemm c.
  const index = inputs.findIndex((name) => name === 'bias' || name === 'c')
  const value = role === 'weight' && index >= 0 ? node.inputs[index] : undefined
  return value ? storedTensor(model.graph, value)?.toNumbers() : undefined
}
