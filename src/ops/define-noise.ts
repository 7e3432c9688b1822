import { attributesOf, float, type GraphBuilder } from '../ir/builder.ts'
import { type DataType, dataTypes, Tensor } from '../ir/tensor.ts'
import type { Outcome } from './moments/points.ts'
import type { RandomWords } from './random-words.ts'

/** What one draw of a noise is shared by: nothing (every element its own), the positions of a channel, a sample, all. */
export type Sharing = 'element' | 'channel' | 'sample' | 'batch'

/** Random values in the shape that the noise draws (shared axes have size 1) and of the type of what it perturbs. */
export interface Draw {
  uniform(low: number, high: number): string
  normal(mean: number, scale: number): string
  /** 1 with probability `keep`, else 0. */
  bernoulli(keep: number): string
  /** What is perturbed, with what shares a draw set to 0 with probability `ratio` and scaled by 1 / (1 - ratio) else. */
  dropout(ratio: number): string
  /** A scalar of the type of what is perturbed. */
  constant(value: number): string
}

export interface NoiseDefinition<Name extends string> {
  readonly id: string
  readonly parameter: { readonly name: Name; readonly min: number; readonly max: number }
  /** What shares one draw where the noise is made anew. */
  readonly sharing: Sharing
  /** s2 = Var[m]; for additive noise the variance added. */
  readonly relativeVariance: (parameter: { readonly [N in Name]: number }) => number
  /** True if it multiplies by factors that are never negative, so that it commutes with Relu. */
  readonly isScaling: (parameter: { readonly [N in Name]: number }) => boolean
  /** What may happen to an element, exact in mean and variance. */
  readonly outcomes: (parameter: { readonly [N in Name]: number }) => readonly Outcome[]
  /** Writes the noise on `x` and returns the value that it makes. */
  readonly emit: (
    build: GraphBuilder,
    x: string,
    settings: { readonly [N in Name]: number } & { readonly draw: Draw },
  ) => string
  /**
   * The same for a float32 x and a parameter that is a value of the graph; absent where the change that the noise makes
   * is proportional to its parameter.
   */
  readonly emitWith?: (build: GraphBuilder, x: string, parameter: string) => string
}

export interface EmitSettings {
  /** Value of the noise's parameter. */
  readonly value: number
  /** Whole number; each noise of a graph needs its own. */
  readonly seed: number
  /** Axes of x along which one draw is shared (default: none). */
  readonly sharedAxes?: readonly number[] | undefined
  /** Element type of x (default float32). */
  readonly dataType?: DataType | undefined
  /** What the graph is fed to draw from, and the shape of x; else the graph draws by itself, from the seed on. */
  readonly fed?: { readonly words: RandomWords; readonly dims: readonly number[] } | undefined
}

/** Axes of a value with `rank` dimensions, samples first and channels second, along which a draw is shared. */
export function sharedAxesOf(sharing: Sharing, rank: number): readonly number[] {
  const own = { element: rank, channel: 2, sample: 1, batch: 0 }[sharing]
  return Array.from({ length: Math.max(0, rank - own) }, (_, i) => own + i)
}

/** A stochastic regulariser: what it does to moments, and how a graph spells it out. */
export interface NoiseUnit {
  readonly id: string
  readonly parameter: {
    readonly name: 'ratio' | 'sigma' | 'beta'
    readonly min: number
    readonly max: number
  }
  readonly sharing: Sharing
  relativeVariance(value: number): number
  isScaling(value: number): boolean
  outcomes(value: number): readonly Outcome[]
  /** Writes nodes that ONNX Runtime's CPU engine runs, from opset 7 on, and returns the value that they make of `x`. */
  emit(build: GraphBuilder, x: string, settings: EmitSettings): string
  readonly emitWith: NoiseDefinition<never>['emitWith'] | undefined
}

export function defineNoise<const Name extends 'ratio' | 'sigma' | 'beta'>(
  definition: NoiseDefinition<Name>,
): NoiseUnit {
  const { id, parameter, sharing } = definition
  const named = (value: number) => ({ [parameter.name]: value }) as { readonly [N in Name]: number }
  return {
    id,
    parameter,
    sharing,
    relativeVariance: (value) => definition.relativeVariance(named(value)),
    isScaling: (value) => definition.isScaling(named(value)),
    outcomes: (value) => definition.outcomes(named(value)),
    emit: (build, x, settings) =>
      definition.emit(build, x, {
        ...named(settings.value),
        draw: settings.fed ? drawingFrom(settings.fed, build, x, settings) : drawing(build, x, settings),
      }),
    emitWith: definition.emitWith,
  }
}

function drawingFrom(
  { words, dims }: NonNullable<EmitSettings['fed']>,
  build: GraphBuilder,
  x: string,
  { sharedAxes = [], dataType = 'float32' }: EmitSettings,
): Draw {
  const maskDims = dims.map((size, axis) => (sharedAxes.includes(axis) ? 1 : size))
  const inTypeOfX = (value: string) =>
    dataType === 'float32' ? value : build.op('Cast', [value], { to: dataTypes[dataType].onnx })
  const constant = (value: number) => build.scalar(value, dataType)
  const affine = (value: string, scale: number, shift: number) =>
    build.add(build.mul(value, constant(scale)), constant(shift))
  const bernoulli = (keep: number) => {
    // Kept where the number is above this; ONNX Runtime's fastest step function.
    const threshold = keep >= 1 ? -(2 ** 32) : 2 ** 32 * (0.5 - keep)
    return inTypeOfX(
      build.op('HardSigmoid', [words.draw(build, maskDims)], { alpha: float(1), beta: float(-threshold) }),
    )
  }
  return {
    constant,
    bernoulli,
    uniform: (low, high) =>
      affine(inTypeOfX(words.draw(build, maskDims)), (high - low) / 2 ** 32, (low + high) / 2),
    normal: (mean, scale) => affine(inTypeOfX(words.normal(build, maskDims)), scale, mean),
    dropout: (ratio) => {
      const mask = bernoulli(1 - ratio)
      return build.mul(x, ratio < 1 ? build.mul(mask, constant(1 / (1 - ratio))) : mask)
    },
  }
}

function drawing(build: GraphBuilder, x: string, settings: EmitSettings): Draw {
  const { seed, sharedAxes = [], dataType = 'float32' } = settings
  let draws = 0
  const nextSeed = () => mixed(seed, draws++)
  const cast = (value: string) => build.op('Cast', [value], { to: dataTypes[dataType].onnx })
  const inTypeOfX = (value: string) => (dataType === 'float32' ? value : cast(value))
  const constant = (value: number) => build.scalar(value, dataType)
  const shape = lazily(() => maskShape(build, x, sharedAxes))
  const like = (opType: string, attributes: Record<string, number>) =>
    build.op(opType, [shape()], {
      ...Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, float(value)])),
      dtype: dataTypes.float32.onnx,
      seed: float(nextSeed()),
    })
  /** A Dropout of `value` in training mode: what it keeps, scaled, and which elements it keeps. */
  const dropped = (value: string, ratio: number) => {
    const outputs = [build.fresh('dropped'), build.fresh('kept')] as const
    build.keep({
      name: outputs[0],
      opType: 'Dropout',
      domain: '',
      inputs: [value, build.scalar(ratio), build.constant(Tensor.of('bool', [], [1]), 'training')],
      outputs,
      attributes: attributesOf({ seed: nextSeed() }),
    })
    return { scaled: outputs[0], kept: outputs[1] }
  }
  /** The sum of the weights, each with a sign of its own drawn at random. */
  const signed = (weights: readonly number[]) =>
    weights
      .map((w) => build.op('Where', [dropped(shape(), 0.5).kept, constant(w), constant(-w)]))
      .reduce((sum, term) => build.add(sum, term))
  const bernoulli = (keep: number) => {
    if (keep <= 0) return cast(build.op('Less', [shape(), shape()]))
    if (build.opset >= dropoutWithMask) return cast(dropped(shape(), 1 - keep).kept)
    return cast(build.op('Less', [like('RandomUniformLike', { low: 0, high: 1 }), build.scalar(keep)]))
  }
  return {
    constant,
    bernoulli,
    uniform: (low, high) =>
      build.opset < withoutRandom
        ? inTypeOfX(like('RandomUniformLike', { low, high }))
        : build.add(constant((low + high) / 2), signed(uniformWeights.map((w) => w * (high - low)))),
    normal: (mean, scale) =>
      build.opset < withoutRandom
        ? inTypeOfX(like('RandomNormalLike', { mean, scale }))
        : build.add(constant(mean), signed(normalWeights.map((w) => w * scale))),
    dropout: (ratio) => {
      // Not Dropout's own output: where only that is used, ONNX Runtime removes the node, training mode or not.
      const mask = bernoulli(1 - ratio)
      return build.mul(x, ratio < 1 ? build.div(mask, constant(1 - ratio)) : mask)
    },
  }
}

/** From this opset on Dropout takes its training mode as an input and tells what it kept. */
const dropoutWithMask = 12

/** From this opset on ONNX Runtime (1.30) draws no random numbers on the CPU but through Dropout. */
const withoutRandom = 22

/** Signs of these add up to a uniform variable on (-1/2, 1/2) in steps of 2^-16. */
const uniformWeights = Array.from({ length: 16 }, (_, i) => 2 ** -(i + 2))

/**
 * Signs of these add up to variance 1 and nearly to a normal variable (excess kurtosis -0.13); they differ from each
 * other so that the sums do not fall on a few values.
 */
const normalWeights = (() => {
  const weights = Array.from({ length: 16 }, (_, i) => 1 + i / 24)
  const length = Math.hypot(...weights)
  return weights.map((w) => w / length)
})()

function lazily<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

/**
 * ONNX Runtime's generator is multiplicative, so neighbouring seeds give draws that are small multiples of each other:
 * seeds are spread over the whole numbers that a float32 holds.
 */
function mixed(seed: number, draw: number): number {
  let h = Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(draw, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  return ((h ^ (h >>> 13)) >>> 0) % 2 ** 24 || 1
}

/** A value with the shape of x, except that axes along which a draw is shared have size 1. */
function maskShape(build: GraphBuilder, x: string, axes: readonly number[]): string {
  if (axes.length === 0) return x
  const starts = axes.map(() => 0)
  const ends = axes.map(() => 1)
  if (build.opset < 10) return build.op('Slice', [x], { starts, ends, axes })
  const list = (values: readonly number[]) => build.constant(Tensor.int64([values.length], values), 'slice')
  return build.op('Slice', [x, list(starts), list(ends), list(axes)])
}
