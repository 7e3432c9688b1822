import { float } from '../ir/builder.ts'
import { UserError } from '../ir/errors.ts'
import { elementCount, Tensor } from '../ir/tensor.ts'
import { sharedAxesOf } from '../ops/define-noise.ts'
import { noiseCall, noiseFunction } from '../ops/noise-call.ts'
import { noiseUnit, noiseUnits } from '../ops/noises/index.ts'
import {
  defineFunction,
  defineLayer,
  type Layer,
  type Step,
  sampleSize,
  shapeText,
  type Value,
} from './construction.ts'
import { constantly, heNormal, type Initializer, uniformBy } from './initializers.ts'

/** One number for all axes of space, or one for each. */
export type PerAxis = number | readonly number[]

/** Layers one after the other: in a list they are named 0, 1, ..., in an object by their keys. */
export const sequential = (steps: readonly Step[] | Readonly<Record<string, Step>>): Layer => ({
  ...steps,
  forward: (x: Value) => throughAll(steps, x),
})

const throughAll = (steps: object, x: Value): Value =>
  Object.entries(steps).reduce((value, [key, step]) => value.graph.enter(step, value, key), x)

/** A branch, named as in `sequential`, added to its input or to what `shortcut` makes of that. */
export const residual = (branch: Readonly<Record<string, Step>>, shortcut?: Layer): Layer => ({
  ...branch,
  ...(shortcut ? { shortcut } : {}),
  forward: (x: Value) => add(throughAll(branch, x), shortcut ? x.through(shortcut) : x),
})

export interface ConvOptions {
  /** Default 1. */
  readonly stride?: PerAxis
  /** Zeros at both ends of each axis (default 0); 'same' keeps the size at stride 1 for odd kernels. */
  readonly padding?: PerAxis | 'same'
  /** Default 1. */
  readonly dilation?: PerAxis
  /** Default 1: every output sees all channels. */
  readonly groups?: number
  /** Default true. */
  readonly bias?: boolean
}

/**
 * Convolution over 1 to 3 axes: N x C x D1 ... becomes N x `outputs` x D1' ... .
 * Starts with He's normal weights and zero bias.
 */
export function conv(outputs: number, kernel: PerAxis, options: ConvOptions = {}): Layer {
  const { stride = 1, padding = 0, dilation = 1, groups = 1, bias = true } = options
  return defineLayer('conv', ({ build, parameter }, x) => {
    const axes = spatialAxes(x, 'conv')
    const channels = x.size(1)
    if (channels % groups !== 0 || outputs % groups !== 0)
      throw new UserError(
        `conv: ${channels} channels and ${outputs} outputs do not fall into ${groups} groups`,
      )
    const sizes = perAxis(kernel, axes)
    const dilations = perAxis(dilation, axes)
    const pads =
      padding === 'same' ? sizes.map((size, i) => (dilations[i]! * (size - 1)) >> 1) : perAxis(padding, axes)
    const weight = parameter('weight', [outputs, channels / groups, ...sizes], heNormal)
    const inputs = [x.name, weight, ...(bias ? [parameter('bias', [outputs], constantly(0))] : [])]
    return build.op('Conv', inputs, {
      kernel_shape: sizes,
      strides: perAxis(stride, axes),
      pads: [...pads, ...pads],
      dilations,
      group: groups,
    })
  })
}

export interface LinearOptions {
  /** Default true. */
  readonly bias?: boolean
  /** Default: as PyTorch, uniform within 1 / sqrt(inputs), weights and bias. */
  readonly weights?: Initializer
  readonly biases?: Initializer
}

/** Dense layer over the last axis: N x ... x inputs becomes N x ... x `outputs`. */
export function linear(outputs: number, options: LinearOptions = {}): Layer {
  return defineLayer('linear', ({ build, parameter }, x) => {
    const inputs = x.size(x.shape.length - 1)
    const { bias = true, weights = uniformBy(inputs), biases = uniformBy(inputs) } = options
    const weight = parameter('weight', [outputs, inputs], weights)
    const shift = bias ? [parameter('bias', [outputs], biases)] : []
    if (x.shape.length === 2) return build.op('Gemm', [x.name, weight, ...shift], { transB: 1 })
    const product = build.op('MatMul', [x.name, build.op('Transpose', [weight], { perm: [1, 0] })])
    return shift[0] === undefined ? product : build.add(product, shift[0])
  })
}

export interface BatchNormOptions {
  /** Share of the batch in the new running statistics, as PyTorch counts it (default 0.1; ONNX stores 1 - momentum). */
  readonly momentum?: number
  /** Default 1e-5. */
  readonly epsilon?: number
  /** What the scale (gamma) starts at, default 1. */
  readonly scale?: number
  /** What the shift (beta) starts at, default 0. */
  readonly shift?: number
}

/** Batch normalisation of N x C x ...: by the batch in train mode, by running statistics in eval mode. */
export function batchNorm(options: BatchNormOptions = {}): Layer {
  const { momentum = 0.1, epsilon = 1e-5, scale = 1, shift = 0 } = options
  return defineLayer('bn', ({ build, parameter, statistic }, x) => {
    const dims = [x.size(1)]
    const inputs = [
      parameter('weight', dims, constantly(scale)),
      parameter('bias', dims, constantly(shift)),
      statistic('running_mean', dims, constantly(0)),
      statistic('running_var', dims, constantly(1)),
    ]
    return build.op('BatchNormalization', [x.name, ...inputs], {
      epsilon: float(epsilon),
      momentum: float(1 - momentum),
    })
  })
}

/** Normalisation of every sample over its last `axes` axes (default 1), then scale and shift of their shape. */
export function layerNorm({ axes = 1, epsilon = 1e-5 }: { axes?: number; epsilon?: number } = {}): Layer {
  return defineLayer('norm', ({ build, parameter }, x) => {
    const first = x.shape.length - axes
    const dims = x.shape.slice(first).map((_, i) => x.size(first + i))
    const inputs = [parameter('weight', dims, constantly(1)), parameter('bias', dims, constantly(0))]
    return build.op('LayerNormalization', [x.name, ...inputs], { axis: -axes, epsilon: float(epsilon) })
  })
}

/** Normalisation of every sample's channels in `groups` groups, then scale and shift of each channel. */
export function groupNorm(groups: number, { epsilon = 1e-5 }: { epsilon?: number } = {}): Layer {
  return defineLayer('norm', ({ build, parameter }, x) => {
    const channels = x.size(1)
    if (channels % groups !== 0)
      throw new UserError(`groupNorm: ${channels} channels do not fall into ${groups} groups`)
    const inputs = [
      parameter('weight', [channels], constantly(1)),
      parameter('bias', [channels], constantly(0)),
    ]
    return build.op('GroupNormalization', [x.name, ...inputs], {
      num_groups: groups,
      epsilon: float(epsilon),
    })
  })
}

export const relu = defineFunction('relu', (build, x) => build.op('Relu', [x.name]))
export const sigmoid = defineFunction('sigmoid', (build, x) => build.op('Sigmoid', [x.name]))
export const tanh = defineFunction('tanh', (build, x) => build.op('Tanh', [x.name]))
export const selu = defineFunction('selu', (build, x) => build.op('Selu', [x.name]))
export const softplus = defineFunction('softplus', (build, x) => build.op('Softplus', [x.name]))
/** x sigmoid(x), also called swish. */
export const silu = defineFunction('silu', (build, x) => build.mul(x.name, build.op('Sigmoid', [x.name])))
/** x Phi(x) with the standard normal distribution Phi. */
export const gelu = defineFunction('gelu', (build, x) => {
  const phi = build.add(build.op('Erf', [build.mul(x.name, build.scalar(Math.SQRT1_2))]), build.scalar(1))
  return build.mul(build.mul(x.name, build.scalar(0.5)), phi)
})
export const leakyRelu = (alpha = 0.01): ((x: Value) => Value) =>
  defineFunction('leakyRelu', (build, x) => build.op('LeakyRelu', [x.name], { alpha: float(alpha) }))
export const elu = (alpha = 1): ((x: Value) => Value) =>
  defineFunction('elu', (build, x) => build.op('Elu', [x.name], { alpha: float(alpha) }))
/** Over one axis (default: the last). */
export const softmax = (axis = -1): ((x: Value) => Value) =>
  defineFunction('softmax', (build, x) => build.op('Softmax', [x.name], { axis }))
/** Over one axis (default: the last). */
export const logSoftmax = (axis = -1): ((x: Value) => Value) =>
  defineFunction('logSoftmax', (build, x) => build.op('LogSoftmax', [x.name], { axis }))

export interface PoolOptions {
  /** Default: the kernel, so that windows do not overlap. */
  readonly stride?: PerAxis
  /** Default 0. */
  readonly padding?: PerAxis
}

const pool =
  (opType: 'MaxPool' | 'AveragePool', kind: string) =>
  (kernel: PerAxis, { stride = kernel, padding = 0 }: PoolOptions = {}): ((x: Value) => Value) =>
    defineFunction(kind, (build, x) => {
      const axes = spatialAxes(x, kind)
      const pads = perAxis(padding, axes)
      return build.op(opType, [x.name], {
        kernel_shape: perAxis(kernel, axes),
        strides: perAxis(stride, axes),
        pads: [...pads, ...pads],
        // As PyTorch counts by default.
        ...(opType === 'AveragePool' && pads.some((pad) => pad > 0) ? { count_include_pad: 1 } : {}),
      })
    })

export const maxPool = pool('MaxPool', 'maxPool')
export const averagePool = pool('AveragePool', 'averagePool')
/** Mean over all positions: N x C x D1 ... becomes N x C x 1 ... . */
export const globalAveragePool = defineFunction('pool', (build, x) => build.op('GlobalAveragePool', [x.name]))
/** Maximum over all positions: N x C x D1 ... becomes N x C x 1 ... . */
export const globalMaxPool = defineFunction('pool', (build, x) => build.op('GlobalMaxPool', [x.name]))

/** N x everything else. */
export const flatten = defineFunction('flatten', (build, x) => build.op('Flatten', [x.name], { axis: 1 }))

/** Gives every sample the shape `dims`; one of them may be -1, for what remains. */
export const reshape = (...dims: readonly number[]): ((x: Value) => Value) =>
  defineFunction('reshape', (build, x) => {
    const size = sampleSize(x)
    const known = elementCount(dims.filter((dim) => dim !== -1))
    const full = dims.map((dim) => (dim === -1 ? size / known : dim))
    if (elementCount(full) !== size || !full.every((dim) => Number.isInteger(dim) && dim > 0))
      throw new UserError(
        `reshape: a sample of shape ${shapeText(x.shape.slice(1))} does not fill ${shapeText(dims)}`,
      )
    return build.reshape(x.name, [0, ...full])
  })

/** Repeats every position `factor` times along each axis of space. */
export const upsample = (factor: PerAxis): ((x: Value) => Value) =>
  defineFunction('upsample', (build, x) => {
    const scales = [1, 1, ...perAxis(factor, spatialAxes(x, 'upsample'))]
    return build.op(
      'Resize',
      [x.name, '', build.constant(Tensor.float32([scales.length], scales), 'scales')],
      {
        mode: 'nearest',
        coordinate_transformation_mode: 'asymmetric',
        nearest_mode: 'floor',
      },
    )
  })

/** The sum of values of one shape, or of shapes that broadcast. */
export const add = (first: Value, ...others: readonly Value[]): Value =>
  others.reduce((sum, x) => {
    const rank = Math.max(sum.shape.length, x.shape.length)
    const fits = Array.from({ length: rank }, (_, i) => [sum, x].map(({ shape }) => shape.at(-1 - i) ?? 1))
    refuseUnless(
      fits.every(([a, b]) => a === b || a === 1 || b === 1),
      'add',
      [sum, x],
    )
    return sum.graph.place(undefined, 'add', ({ build }) => build.add(sum.name, x.name))
  }, first)

/** Values side by side along an axis (default: channels). */
export const concat = (values: readonly Value[], axis = 1): Value => {
  const [first, ...others] = values as [Value, ...Value[]]
  const fits = others.every(
    ({ shape }) =>
      shape.length === first.shape.length && shape.every((dim, i) => i === axis || dim === first.shape[i]),
  )
  refuseUnless(fits, 'concat', values)
  const names = values.map(({ name }) => name)
  return first.graph.place(undefined, 'concat', ({ build }) => build.op('Concat', names, { axis }))
}

function refuseUnless(fits: boolean, kind: string, values: readonly Value[]): void {
  if (fits) return
  const shapes = values.map(({ name, shape }) => `'${name}' ${shapeText(shape)}`)
  throw new UserError(`${kind}: shapes do not fit: ${shapes.join(', ')}`)
}

/** Ids of the noises that `noise` takes. */
export const noiseKinds: readonly string[] = noiseUnits.map(({ id }) => id)

/**
 * A stochastic regulariser, on in train mode only. `kind` is the id of a noise (`dropout`, `gaussian`, `uout`, ...),
 * `value` its parameter (ratio, sigma or beta); at 0 nothing is written.
 * Throws a UserError if there is no such noise, or it takes no such value.
 */
export function noise(kind: string, value: number): Layer {
  if (!noiseKinds.includes(kind))
    throw new UserError(`there is no noise '${kind}'; there are ${noiseKinds.join(', ')}`)
  const unit = noiseUnit(kind)
  const { name, min, max } = unit.parameter
  if (!(value >= min && value <= max && value < Infinity) || (name === 'ratio' && value === 1))
    throw new UserError(
      `${kind}: ${name} must be ${name === 'ratio' ? 'from 0 to below 1' : `from ${min} to ${max}`}, got ${value}`,
    )
  if (value === 0) return { forward: (x) => x }
  return defineLayer(kind, (place, x) => {
    const { build, seed } = place
    const call = noiseCall(kind)
    if (!call) {
      const sharedAxes = sharedAxesOf(unit.sharing, x.shape.length)
      return unit.emit(build, x.name, { value, seed, sharedAxes })
    }
    const definition = noiseFunction(call.opType, build.opset)
    if (definition) place.define(definition)
    const output = build.fresh(call.opType)
    const off = build.constant(Tensor.of('bool', [], [0]), 'training_mode')
    const inputs = [x.name, build.scalar(value), off]
    build.keep({ ...call, name: output, inputs, outputs: [output], attributes: new Map() })
    return output
  })
}

/** Dropout with the share `ratio` dropped. */
export const dropout = (ratio: number): Layer => noise('dropout', ratio)

function spatialAxes(x: Value, kind: string): number {
  const axes = x.shape.length - 2
  if (axes < 1)
    throw new UserError(
      `${kind} takes samples of shape channels x positions, got ${shapeText(x.shape.slice(1))}`,
    )
  return axes
}

function perAxis(value: PerAxis, axes: number): readonly number[] {
  if (typeof value === 'number') return new Array<number>(axes).fill(value)
  if (value.length !== axes)
    throw new UserError(`expected ${axes} numbers, one for each axis, got ${value.length}`)
  return value
}
