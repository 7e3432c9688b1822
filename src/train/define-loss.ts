import type { GraphBuilder } from '../ir/builder.ts'
import type { Dim } from '../ir/model.ts'
import type { SettingDefinitions, SettingsOf } from './settings.ts'

/** What a loss is computed of, as values of a graph. */
export interface LossContext {
  readonly build: GraphBuilder
  /** Output of the model: N x C, or N x anything. For a penalty: the activations that it is on. */
  readonly output: string
  /** Sizes of `output`; the first may be a name. */
  readonly shape: readonly Dim[]
  /** Class numbers, N of int64, for a loss that takes classes. */
  readonly labels: string
  /** What the output should be, float32 in its shape, for a loss that takes values. */
  readonly target: string
}

/** A mean as two scalars, so that means of batches can be put together: sum / weight. */
export interface Term {
  readonly sum: string
  readonly weight: string
}

export interface LossDefinition<Settings extends SettingDefinitions> {
  readonly id: string
  /** `classes`: class numbers; `values`: a target in the shape of the output; `nothing`: a penalty on activations. */
  readonly takes: 'classes' | 'values' | 'nothing'
  readonly settings: Settings
  /** Activations that the output has to have gone through, or that are taken off because the loss has them in itself. */
  readonly emit: (context: LossContext, settings: SettingsOf<Settings>) => Term
  /** Number of samples that were told right, a scalar; absent where there is no right and wrong. */
  readonly right?: (context: LossContext) => string
  /** An activation at the end of the model that the loss contains: where the model ends in it, its input is taken. */
  readonly absorbs?: string
}

/** A loss: the mean over a batch of how wrong the output is. */
export interface LossUnit extends Omit<LossDefinition<SettingDefinitions>, 'emit'> {
  emit(context: LossContext, settings: Readonly<Record<string, unknown>>): Term
}

export const defineLoss = <const Settings extends SettingDefinitions>(
  definition: LossDefinition<Settings>,
): LossUnit => definition as unknown as LossUnit

/** Sum of all elements, a scalar. */
export const sumOf = (build: GraphBuilder, x: string): string => build.op('ReduceSum', [x], { keepdims: 0 })

/** Number of elements, as a float32 scalar. */
export const countOf = (build: GraphBuilder, x: string): string =>
  build.op('Cast', [build.op('Size', [x])], { to: 1 })

/** The mean over all elements of `x`, which has as many as `target`. */
export const meanTerm = ({ build, target }: LossContext, x: string): Term => ({
  sum: sumOf(build, x),
  weight: countOf(build, target),
})
