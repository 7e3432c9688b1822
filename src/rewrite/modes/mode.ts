import type { Noise, Norm } from '../../analysis/facts.ts'
import { factsOf } from '../../analysis/index.ts'
import { attributesOf, float, GraphBuilder } from '../../ir/builder.ts'
import { UserError } from '../../ir/errors.ts'
import { keyOf, type Model, type Node, type TensorType } from '../../ir/model.ts'
import { usesOf } from '../../ir/uses.ts'
import { noiseUnit } from '../../ops/noises/index.ts'
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
 * repeatable: each session starts the same sequence of draws.
 */
export function toMode(model: Model, mode: Mode, { seed = 0 }: { seed?: number } = {}): Model {
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
      if (noiseIsOn[mode])
        emitNoise(build, noise, types.get(noise.input), seed * 10_007 + noises.indexOf(noise) + 1)
      else build.op('Identity', [noise.input], {}, noise.output)
      const mask = node.opType === 'Dropout' ? node.outputs[1] : undefined
      if (mask && isRead(mask)) build.op('Equal', [noise.input, noise.input], {}, mask)
    } else if (norm) {
      emitNorm(build, norm, usesBatch[mode])
      // A training BatchNormalization also returns the updated statistics; here nothing is updated.
      for (const [output, input] of [
        [1, 3],
        [2, 4],
      ] as const)
        if (isRead(node.outputs[output]))
          build.op('Identity', [node.inputs[input]!], {}, node.outputs[output])
    } else build.keep(node)
  }
  const graph = { ...model.graph, nodes: build.nodes, initializers: build.initializers }
  return removeDeadNodes({ ...model, graph })
}

function emitNorm(build: GraphBuilder, norm: Norm, batch: boolean): void {
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
}

function emitNoise(build: GraphBuilder, noise: Noise, type: TensorType | undefined, seed: number): void {
  const { value, name } = noise.parameter
  if (value === undefined)
    throw new UserError(`noise '${noise.label}' cannot be switched on: its ${name} is not stored in the file`)
  const made = noiseUnit(noise.kind).emit(build, noise.input, {
    value,
    seed,
    sharedAxes: noise.sharedAxes,
    dataType: type?.dataType,
  })
  build.op('Identity', [made], {}, noise.output)
}
