import { Tensor } from '../../../ir/tensor.ts'
import { type Call, defineAten, type Emitter } from './define-aten.ts'

/** A Dropout that is off keeps its ratio: torch.export leaves dropout in programs exported in eval mode. */
const emitDropout = (build: Emitter, x: string, ratio: number, training: boolean): readonly string[] =>
  build.several('Dropout', [x, build.scalar(ratio), build.scalar(training ? 1 : 0, 'bool')], 2)

const ratioOf = (call: Call) => call.number('p', 0.5)

/** `training` is spelled `train` in most schemas. */
const isTraining = (call: Call) => call.bool('train', call.bool('training', call.op === 'native_dropout'))

export const dropout = defineAten({
  target: 'dropout',
  emit: (call, build) => emitDropout(build, call.tensor('input'), ratioOf(call), isTraining(call))[0]!,
})

export const nativeDropout = defineAten({
  target: 'native_dropout',
  emit: (call, build) => emitDropout(build, call.tensor('input'), ratioOf(call), isTraining(call)),
})

/** Ones in the shape that draws are made in: N x C x 1 x ... for whole channels. */
function onesFor(build: Emitter, x: string, isFeature: boolean): string {
  const rank = build.rank(x)
  const shape = build.op('Shape', [x])
  const drawn =
    isFeature && rank > 2
      ? build.op(
          'Concat',
          [build.slice(shape, 0, 0, 2), build.ints(Array.from({ length: rank - 2 }, () => 1))],
          { axis: 0 },
        )
      : shape
  return build.op('ConstantOfShape', [drawn], { value: Tensor.of(build.dataType(x), [1], [1]) })
}

export const featureDropout = defineAten({
  target: 'feature_dropout',
  emit(call, build) {
    const x = call.tensor('input')
    return build.mul(x, emitDropout(build, onesFor(build, x, true), ratioOf(call), isTraining(call))[0]!)
  },
})

/** SELU's scale times its alpha. */
const saturation = 1.0507009873554805 * 1.6732632423543772

/** A program exported in eval mode has no alpha dropout: its formula has no form that is off. */
export const alphaDropout = defineAten({
  target: ['alpha_dropout', 'feature_alpha_dropout'],
  emit(call, build) {
    const x = call.tensor('input')
    if (!isTraining(call)) return x
    const ratio = ratioOf(call)
    const type = build.dataType(x)
    const keep = 1 - ratio
    const a = 1 / Math.sqrt((saturation * saturation * ratio + 1) * keep)
    const mask = emitDropout(build, onesFor(build, x, call.op !== 'alpha_dropout'), ratio, true)[0]!
    const scale = build.mul(mask, build.scalar(a * keep, type))
    // Zero where kept; a (s ratio - s) + ... where dropped, as PyTorch computes it.
    const shift = build.add(
      build.mul(mask, build.scalar(a * saturation * keep, type)),
      build.scalar(a * saturation * ratio - a * saturation, type),
    )
    return build.add(build.mul(x, scale), shift)
  },
})
