import type { Noise, Norm } from '../../analysis/facts.ts'
import { factsOf } from '../../analysis/index.ts'
import { attributesOf, float, GraphBuilder } from '../../ir/builder.ts'
import { UserError } from '../../ir/errors.ts'
import { type Dim, intAttribute, isOpaque, keyOf, labelOf, type Model, type Node } from '../../ir/model.ts'
import { type DataType, dataTypes, isFloat } from '../../ir/tensor.ts'
import { usesOf } from '../../ir/uses.ts'
import type { EmitSettings } from '../../ops/define-noise.ts'
import { noiseUnit } from '../../ops/noises/index.ts'
import type { RandomWords } from '../../ops/random-words.ts'
import { removeDeadNodes } from '../passes/remove-dead-nodes.ts'

/**
 * How a model runs. `train`: noise on, batch statistics. `eval`: noise off, running statistics. `sample`: noise on,
 * running statistics (Monte Carlo dropout). `calibrate`: noise off, batch statistics.
 */
export type Mode = 'train' | 'eval' | 'sample' | 'calibrate'

const noiseIsOn = { train: true, sample: true, eval: false, calibrate: false } as const
const usesBatch = { train: true, calibrate: true, eval: false, sample: false } as const

/**
 * The model with every noise and every BatchNormalization of its main graph set to `mode`, whatever the file says.
 * Written with operators of the model's own opset (7 and up). Norms keep their keys. `seed` makes the noise
 * repeatable: each session starts the same sequence of draws. With `words`, noise takes its random numbers from an input
 * of that name instead; shapes of what is perturbed must then be known.
 */
export const toMode = (model: Model, mode: Mode, options: NoiseOptions = {}): Model =>
  rewritten(model, {
    ...options,
    noise: noiseIsOn[mode],
    norm: (build, norm) => {
      emitNorm(build, norm, usesBatch[mode])
      // A training BatchNormalization also returns statistics, updated and saved; here nothing is updated.
      return [3, 4, 3, 4].map((input) => norm.node.inputs[input]!)
    },
  })

export interface NoiseOptions {
  /** Makes the noise repeatable. */
  readonly seed?: number | undefined
  /** What the noise is drawn from, instead. */
  readonly words?: RandomWords | undefined
}

/**
 * The model with its noises on or off and every BatchNormalization as `norm` writes it, which returns the values of its
 * further outputs: statistics updated and saved.
 */
export function rewritten(
  model: Model,
  {
    noise: noiseOn,
    norm: writeNorm,
    seed = 0,
    words,
  }: NoiseOptions & {
    noise: boolean
    norm: (build: GraphBuilder, norm: Norm) => readonly string[]
  },
): Model {
  const unknown = model.graph.nodes.find(isOpaque)
  if (unknown)
    throw new UserError(
      `the model cannot be run: '${labelOf(unknown)}' (${unknown.opType}) has no counterpart in ONNX; \`check\` tells what can be said without running it`,
    )
  const { noises, norms, types } = factsOf(model)
  const uses = usesOf(model.graph)
  const build = new GraphBuilder(model)
  const normOf = new Map<Node, Norm>(norms.map((norm) => [norm.node, norm]))
  const noiseOf = new Map<Node, Noise>(noises.map((noise) => [noise.nodes.at(-1)!, noise]))
  const isRead = (value: string | undefined) =>
    value !== undefined && value !== '' && (uses.isOutput(value) || uses.consumers(value).length > 0)

  for (const node of model.graph.nodes) {
    const noise = noiseOf.get(node)
    const norm = normOf.get(node)
    if (noise) {
      const mask = node.opType === 'Dropout' && isRead(node.outputs[1]) ? node.outputs[1] : undefined
      const { dataType: type = 'float32', shape } = types.get(noise.input) ?? {}
      const fed = words && { words, dims: fixedShape(shape, noise) }
      if (noiseOn)
        emitNoise(build, noise, { type, mask, seed: seed * 10_007 + noises.indexOf(noise) + 1, fed })
      else {
        build.op('Identity', [noise.input], {}, noise.output)
        if (mask) emitMask(build, allTrue(build, noise.input), { type, mask })
      }
    } else if (norm) {
      for (const [i, statistic] of writeNorm(build, norm).entries())
        if (isRead(node.outputs[i + 1])) build.op('Identity', [statistic], {}, node.outputs[i + 1])
    } else build.keep(node)
  }
  const graph = { ...model.graph, nodes: build.nodes, initializers: build.initializers }
  const drawn = words?.size
    ? [{ name: words.input, type: { dataType: 'int32' as const, shape: [words.size] } }]
    : []
  return removeDeadNodes({ ...model, graph: { ...graph, inputs: [...graph.inputs, ...drawn] } })
}

function fixedShape(shape: readonly Dim[] | undefined, { label }: Noise): number[] {
  if (shape?.every((size) => typeof size === 'number')) return shape as number[]
  throw new UserError(
    `noise '${label}' acts on values of shape ${shape ? `[${shape.map((size) => size ?? '?').join(', ')}]` : 'unknown'}, expected one that is known before the model runs; export the model with fixed sizes`,
  )
}

/** Throws a UserError for a BatchNormalization that does not normalise channels. */
export function refusePositions({ node, label }: Norm): void {
  if (intAttribute(node, 'spatial') === 0)
    throw new UserError(
      `'${label}' normalises every position by itself (spatial = 0), which is not supported; export the model with opset 9 or newer`,
    )
}

/** Writes a norm that uses the batch or what is stored, and returns the values of the mean and variance it uses. */
export function emitNorm(
  build: GraphBuilder,
  norm: Norm,
  batch: boolean,
): readonly [mean: string, variance: string] {
  refusePositions(norm)
  const [x = '', scale = '', shift = '', storedMean = '', storedVariance = ''] = norm.node.inputs
  let mean = storedMean
  let variance = storedVariance
  if (batch) {
    // N x C x (all positions): zeros copy the axis, so the rank of x need not be known.
    const flat = build.reshape(x, [0, 0, -1])
    const center = build.reduceMean(flat, [0, 2])
    const deviation = build.sub(flat, center)
    mean = build.reshape(center, [-1])
    variance = build.reshape(build.reduceMean(build.mul(deviation, deviation), [0, 2]), [-1])
  }
  build.keep({
    ...norm.node,
    opType: 'BatchNormalization',
    domain: '',
    inputs: [x, scale, shift, mean, variance],
    outputs: [keyOf(norm.node)],
    attributes: attributesOf({ epsilon: float(norm.epsilon), ...(build.opset < 7 ? { is_test: 1 } : {}) }),
  })
  return [mean, variance]
}

interface NoiseSettings {
  readonly type: DataType
  /** Name of the value that tells which elements a Dropout kept, if anything reads it. */
  readonly mask: string | undefined
  readonly seed: number
  readonly fed: EmitSettings['fed']
}

function emitNoise(build: GraphBuilder, noise: Noise, { type, mask, seed, fed }: NoiseSettings): void {
  const { value, name } = noise.parameter
  if (value === undefined)
    throw new UserError(`noise '${noise.label}' cannot be switched on: its ${name} is not stored in the file`)
  if (!isFloat(type))
    throw new UserError(
      `noise '${noise.label}' acts on values of type ${type}, expected floating-point numbers; export the model again`,
    )
  const { sharedAxes } = noise
  const emit = (x: string) =>
    noiseUnit(noise.kind).emit(build, x, { value, seed, sharedAxes, dataType: type, fed })
  if (!mask) {
    build.op('Identity', [emit(noise.input)], {}, noise.output)
    return
  }
  const factors = emit(build.op('Cast', [allTrue(build, noise.input)], { to: dataTypes[type].onnx }))
  build.op('Mul', [noise.input, factors], {}, noise.output)
  emitMask(build, build.op('Cast', [factors], { to: dataTypes.bool.onnx }), { type, mask })
}

/** True in the shape of x: no number is less than itself. (Equal takes no floating-point numbers before opset 11.) */
const allTrue = (build: GraphBuilder, x: string) => build.op('Not', [build.op('Less', [x, x])])

/** Before opset 10 a mask has the type of what it masks. */
function emitMask(build: GraphBuilder, kept: string, { type, mask }: { type: DataType; mask: string }): void {
  if (build.opset < 10) build.op('Cast', [kept], { to: dataTypes[type].onnx }, mask)
  else build.op('Identity', [kept], {}, mask)
}
