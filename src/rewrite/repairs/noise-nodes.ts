import type { Noise } from '../../analysis/facts.ts'
import type { Edit, NoiseNode, ReplaceNoise } from '../../ir/edit.ts'
import { UserError } from '../../ir/errors.ts'
import { keyOf, labelOf, type Model, type Node, opsetOf } from '../../ir/model.ts'
import { usesOf } from '../../ir/uses.ts'
import { noiseCall, noiseFunction } from '../../ops/noise-call.ts'
import { noiseUnit } from '../../ops/noises/index.ts'
import type { RepairContext } from './define-repair.ts'

/** The noises that reach a BatchNormalization, whatever lies between. */
export const exposed = ({ facts }: RepairContext): readonly Noise[] => {
  const reaching = new Set(facts.paths.map(({ noise }) => noise.key))
  return facts.noises.filter(({ key }) => reaching.has(key))
}

/** The dropped share that is as noisy as the noisiest. */
export function largestRatio(noises: readonly Noise[]): number {
  const s2 = Math.max(...noises.map(({ relativeVariance }) => relativeVariance ?? 0))
  if (!(s2 > 0))
    throw new UserError(
      'the file does not say how strong its noise is, so none can be chosen for the new Dropout; give its ratio',
    )
  return s2 / (1 + s2)
}

/** A node for that noise. Throws a UserError if the parameter is out of its range. */
export function noiseNode(
  model: Model,
  kind: string,
  parameter: number,
  { training, label }: { readonly training: boolean | string; readonly label: string },
): NoiseNode {
  const unit = noiseUnit(kind)
  const { name, min, max } = unit.parameter
  if (!(parameter >= min && parameter <= max && Number.isFinite(parameter)))
    throw new UserError(`${kind} takes a ${name} from ${min} to ${max}, got ${parameter}`)
  const call = noiseCall(kind)
  if (!call) throw new RangeError(`no node stands for the noise '${kind}'`)
  const definition = noiseFunction(call.opType, opsetOf(model))
  if (call.domain !== '' && !definition)
    throw new UserError(
      `opset ${opsetOf(model)} cannot express ${kind}, expected 12 or newer; export the model again, or choose another noise`,
    )
  return { noise: kind, ...call, parameter, training, label, definition }
}

/** When a noise that takes the place of `noise` acts: just as that did. */
export function trainingOf(noise: Noise, model: Model): boolean | string {
  const last = noise.nodes.at(-1)!
  const switched = noise.nodes.length === 1 && opsetOf(model) >= 12 ? last.inputs[2] : undefined
  if (switched) return switched
  if (noise.active !== 'dynamic') return noise.active === 'always'
  throw new UserError(
    `'${noise.label}' is switched by a value inside a few nodes and cannot be replaced; export the model with plain Dropout nodes`,
  )
}

/** The edit that puts `by`, or nothing, in the place of the noise. Throws a UserError where that cannot be. */
export function replaceNoise(
  { model, facts }: RepairContext,
  noise: Noise,
  by: NoiseNode | undefined,
): ReplaceNoise {
  const uses = usesOf(model.graph)
  const last = noise.nodes.at(-1)!
  const mask = last.outputs[1]
  if (mask && (uses.isOutput(mask) || uses.consumers(mask).length > 0))
    throw new UserError(
      `'${noise.label}' also gives away its mask ('${mask}'), which other nodes read; it cannot be replaced`,
    )
  const type = facts.types.get(noise.input)?.dataType ?? 'float32'
  if (by?.definition && type !== 'float32')
    throw new UserError(
      `'${noise.label}' acts on ${type} values, expected float32; export the model in float32 or use a Dropout`,
    )
  return {
    kind: 'replace-noise',
    node: noise.key,
    nodes: noise.nodes.map(keyOf),
    input: noise.input,
    output: noise.output,
    by,
  }
}

/**
 * Edits that take away every noise that reaches a norm and put one Dropout in front of each of the nodes that `places`
 * finds. Its ratio is the largest of those taken away unless one is chosen, and it acts when they did. None if no noise
 * reaches a norm.
 */
export function moveDropout(context: RepairContext, places: () => readonly Node[]): Edit[] {
  const { model, choices } = context
  const taken = exposed(context)
  const [first] = taken
  if (!first) return []
  const at = places()
  const ratio = choices.parameter ?? largestRatio(taken)
  const training = trainingOf(first, model)
  return [
    ...taken.map((noise): Edit => replaceNoise(context, noise, undefined)),
    ...at.map((node): Edit => {
      const label = `dropout_before_${labelOf(node)}`
      const noise = noiseNode(model, 'dropout', ratio, { training, label })
      return { kind: 'insert-noise', node: keyOf(node), inputIndex: 0, noise }
    }),
  ]
}
