import { UserError } from '../../ir/errors.ts'
import { elementCount } from '../../ir/tensor.ts'
import type { Step, Value } from '../construction.ts'
import { defineNetwork } from '../define-network.ts'
import { batchNorm, flatten, linear, relu, reshape, sequential, sigmoid } from '../layers.ts'
import { sizesIn } from './mlp.ts'

export interface AutoencoderSettings {
  /** Numbers of inputs, of the units of each hidden layer of the encoder, and of the code; the decoder mirrors them. */
  readonly sizes: readonly number[]
  /** What bounds the code (default sigmoid). */
  readonly activation?: Step
  /** Norm in front of the code's activation (default: with its usual start); `false` for none. */
  readonly codeNorm?: Parameters<typeof batchNorm>[0] | false
}

/**
 * Autoencoder of dense layers: hidden ones with batch normalisation and ReLU, the code with batch normalisation and
 * sigmoid, the output linear. Outputs are `reconstruction` (of the input's shape) and `code` (N x code), so that a
 * penalty can keep the code sparse. Noise `before-norm` stands in front of the code's norm, `before-weight` in front
 * of the decoder.
 */
export const autoencoder = defineNetwork<AutoencoderSettings>({
  id: 'autoencoder',
  form: 'autoencoder-INPUTS-HIDDEN-...-CODE',
  examples: ['autoencoder-784-256-64'],
  parse: (name) => {
    const sizes = sizesIn(name, 'autoencoder')
    if (sizes && (sizes.length < 2 || sizes.includes(0)))
      throw new UserError(`${name}: expected at least two sizes above 0, as in autoencoder-784-256-64`)
    return sizes && { sizes }
  },
  input: ({ sizes }) => [sizes[0]!],
  classes: ({ sizes }) => sizes[0]!,
  placements: ['before-norm', 'before-weight'],
  layers: ({ sizes, activation = sigmoid, codeNorm = {} }, { input, noiseAt }) => {
    const inputs = elementCount(input)
    if (inputs !== sizes[0])
      throw new UserError(`autoencoder: made for ${sizes[0]} inputs, the samples have ${inputs}`)
    const hidden = sizes.slice(1, -1)
    const stack = (units: readonly number[]) =>
      Object.fromEntries(
        units.map((size, i) => [
          `hidden${i + 1}`,
          sequential({ linear: linear(size), bn: batchNorm(), relu }),
        ]),
      )
    const encoder = sequential({
      ...(input.length > 1 ? { flatten } : {}),
      ...stack(hidden),
      code: sequential({
        linear: linear(sizes.at(-1)!),
        ...noiseAt('before-norm'),
        ...(codeNorm ? { bn: batchNorm(codeNorm) } : {}),
        activation,
      }),
    })
    const decoder = sequential({
      ...noiseAt('before-weight'),
      ...stack(hidden.toReversed()),
      output: linear(inputs),
      ...(input.length > 1 ? { reshape: reshape(...input) } : {}),
    })
    return {
      encoder,
      decoder,
      forward: (x: Value) => {
        const code = x.through(encoder)
        return { reconstruction: code.through(decoder), code }
      },
    }
  },
})
