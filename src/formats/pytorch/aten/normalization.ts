import { float } from '../../../ir/builder.ts'
import { Tensor } from '../../../ir/tensor.ts'
import { type Call, defineAten, type Emitter, Untranslatable } from './define-aten.ts'

/** Scale and shift, which ONNX wants even where PyTorch has none; `like` has a value for each channel. */
function channelsOf(build: Emitter, call: Call, like: string): readonly [weight: string, bias: string] {
  const missing = (value: number) => {
    const [size] = build.shape(like)
    const type = build.dataType(like)
    if (typeof size === 'number') return build.filled(type, [size], value)
    return build.op('ConstantOfShape', [build.op('Shape', [like])], { value: Tensor.of(type, [1], [value]) })
  }
  return [call.optional('weight') ?? missing(1), call.optional('bias') ?? missing(0)]
}

/**
 * PyTorch's momentum weighs the new value, ONNX's the old one. The running variance that training makes is unbiased in
 * PyTorch and biased in ONNX; at inference both use what is stored.
 */
function emitNorm(build: Emitter, call: Call, training: boolean): string {
  const x = call.tensor('input')
  const [mean, variance] = [call.optional('running_mean'), call.optional('running_var')]
  if (!mean || !variance) {
    if (!training) throw new Untranslatable('it has neither running statistics nor those of the batch')
    return emitBatchNorm(build, call, x)
  }
  const inputs = [x, ...channelsOf(build, call, mean), mean, variance]
  const attributes = {
    epsilon: float(call.number('eps', 1e-5)),
    momentum: float(1 - call.number('momentum', 0.1)),
  }
  if (!training) return build.op('BatchNormalization', inputs, attributes)
  return build.several('BatchNormalization', inputs, 3, { ...attributes, training_mode: 1 })[0]!
}

/** Normalizes by the batch in every mode: there are no running statistics that could shift. */
function emitBatchNorm(build: Emitter, call: Call, x: string): string {
  const rank = build.rank(x)
  const axes = Array.from({ length: rank }, (_, axis) => axis).filter((axis) => axis !== 1)
  const shape = Array.from({ length: rank }, (_, axis) => (axis === 1 ? -1 : 1))
  const deviation = build.sub(x, build.reduceMean(x, axes))
  const variance = build.reduceMean(build.mul(deviation, deviation), axes)
  const epsilon = build.scalar(call.number('eps', 1e-5), build.dataType(x))
  const normal = build.div(deviation, build.op('Sqrt', [build.add(variance, epsilon)]))
  const [weight, bias] = [call.optional('weight'), call.optional('bias')]
  const scaled = weight ? build.mul(normal, build.reshape(weight, shape)) : normal
  return bias ? build.add(scaled, build.reshape(bias, shape)) : scaled
}

export const batchNorm = defineAten({
  target: ['batch_norm', 'native_batch_norm', 'cudnn_batch_norm', 'miopen_batch_norm'],
  emit: (call, build) => [emitNorm(build, call, call.bool('training', false) || !call.has('running_mean'))],
})

export const batchNormFunctional = defineAten({
  target: [
    '_native_batch_norm_legit_functional',
    '_native_batch_norm_legit',
    '_batch_norm_with_update',
    '_batch_norm_with_update_functional',
  ],
  emit: (call, build) => [emitNorm(build, call, call.bool('training', true))],
})

export const batchNormInference = defineAten({
  target: ['_native_batch_norm_legit_no_training', '_batch_norm_no_update'],
  emit: (call, build) => [emitNorm(build, call, false)],
})

export const instanceNorm = defineAten({
  target: 'instance_norm',
  emit(call, build) {
    if (!call.bool('use_input_stats', true)) return emitNorm(build, call, false)
    const x = call.tensor('input')
    const type = build.dataType(x)
    const channels = build.size(x, 1)
    const weight = call.optional('weight') ?? build.filled(type, [channels], 1)
    const bias = call.optional('bias') ?? build.filled(type, [channels], 0)
    return build.op('InstanceNormalization', [x, weight, bias], { epsilon: float(call.number('eps', 1e-5)) })
  },
})

export const layerNorm = defineAten({
  target: ['layer_norm', 'native_layer_norm'],
  emit(call, build) {
    const x = call.tensor('input')
    const sizes = call.ints('normalized_shape')
    const type = build.dataType(x)
    const weight = call.optional('weight') ?? build.filled(type, sizes, 1)
    const bias = call.optional('bias')
    return [
      build.op('LayerNormalization', [x, weight, ...(bias ? [bias] : [])], {
        axis: -sizes.length,
        epsilon: float(call.number('eps', 1e-5)),
      }),
    ]
  },
})

/** Groups stand as channels while they are normalised. */
export const groupNorm = defineAten({
  target: ['group_norm', 'native_group_norm'],
  emit(call, build) {
    const x = call.tensor('input')
    const type = build.dataType(x)
    const groups = call.number(call.op === 'group_norm' ? 'num_groups' : 'group')
    const grouped = build.reshape(x, [0, groups, -1])
    const normal = build.op(
      'InstanceNormalization',
      [grouped, build.filled(type, [groups], 1), build.filled(type, [groups], 0)],
      { epsilon: float(call.number('eps', 1e-5)) },
    )
    let y = build.op('Reshape', [normal, build.op('Shape', [x])])
    const shape = build
      .shape(x)
      .slice(1)
      .map((_, i) => (i === 0 ? -1 : 1))
    const [weight, bias] = [call.optional('weight'), call.optional('bias')]
    if (weight) y = build.mul(y, build.reshape(weight, shape))
    return [bias ? build.add(y, build.reshape(bias, shape)) : y]
  },
})

export const rmsNorm = defineAten({
  target: 'rms_norm',
  emit(call, build) {
    const x = call.tensor('input')
    const rank = build.rank(x)
    const axes = call.ints('normalized_shape').map((_, i) => rank - 1 - i)
    const type = build.dataType(x)
    const square = build.reduceMean(build.mul(x, x), axes)
    // torch.finfo(torch.float32).eps
    const epsilon = build.scalar(call.number('eps', 1.1920928955078125e-7), type)
    const y = build.div(x, build.op('Sqrt', [build.add(square, epsilon)]))
    const weight = call.optional('weight')
    return weight ? build.mul(y, weight) : y
  },
})
