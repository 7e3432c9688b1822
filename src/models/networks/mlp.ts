import { UserError } from '../../ir/errors.ts'
import { elementCount } from '../../ir/tensor.ts'
import { defineNetwork } from '../define-network.ts'
import { batchNorm, flatten, linear, relu, sequential } from '../layers.ts'

export interface MlpSettings {
  /** Numbers of inputs, of the units of each hidden layer, and of classes. */
  readonly sizes: readonly number[]
}

/** Sizes of a name such as `mlp-784-100-10`; undefined if it starts otherwise. */
export function sizesIn(name: string, prefix: string): number[] | undefined {
  const [, digits] = new RegExp(`^${prefix}((?:-\\d+)+)$`).exec(name) ?? []
  return digits?.slice(1).split('-').map(Number)
}

/**
 * Dense layers, each but the last followed by batch normalisation and ReLU. Samples of any shape are flattened.
 * Noise `before-norm` stands in front of every norm, `before-weight` in front of every dense layer but the first,
 * `head-after-pool` in front of the last.
 */
export const mlp = defineNetwork<MlpSettings>({
  id: 'mlp',
  form: 'mlp-INPUTS-HIDDEN-...-CLASSES',
  examples: ['mlp-784-1024-1024-10'],
  parse: (name) => {
    const sizes = sizesIn(name, 'mlp')
    if (sizes && (sizes.length < 2 || sizes.includes(0)))
      throw new UserError(`${name}: expected at least two sizes above 0, as in mlp-784-100-10`)
    return sizes && { sizes }
  },
  input: ({ sizes }) => [sizes[0]!],
  classes: ({ sizes }) => sizes.at(-1)!,
  placements: ['before-norm', 'before-weight', 'head-after-pool'],
  layers: ({ sizes }, { classes, input, noiseAt }) => {
    if (elementCount(input) !== sizes[0])
      throw new UserError(`mlp: made for ${sizes[0]} inputs, the samples have ${elementCount(input)}`)
    const hidden = sizes.slice(1, -1).map(
      (units, i) =>
        [
          `hidden${i + 1}`,
          sequential({
            ...(i > 0 ? noiseAt('before-weight') : {}),
            linear: linear(units),
            ...noiseAt('before-norm'),
            bn: batchNorm(),
            relu,
          }),
        ] as const,
    )
    return sequential({
      ...(input.length > 1 ? { flatten } : {}),
      ...Object.fromEntries(hidden),
      ...(hidden.length > 0 ? noiseAt('before-weight') : {}),
      ...noiseAt('head-after-pool'),
      fc: linear(classes),
    })
  },
})
