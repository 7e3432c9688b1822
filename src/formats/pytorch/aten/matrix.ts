import { defineAten, type Emitter, Untranslatable } from './define-aten.ts'

/** x W^T + b for two axes, which analysis knows as a dense layer. */
function emitGemm(
  build: Emitter,
  x: string,
  weight: string,
  bias: string | undefined,
  alpha = 1,
  beta = 1,
): string {
  const transposed = build.transposedInitializer(weight)
  return build.op('Gemm', [x, transposed ?? weight, ...(bias ? [bias] : [])], {
    ...(transposed ? { transB: 1 } : {}),
    ...(alpha === 1 ? {} : { alpha: { type: 'float', value: alpha } }),
    ...(beta === 1 ? {} : { beta: { type: 'float', value: beta } }),
  })
}

export const linear = defineAten({
  target: 'linear',
  emit(call, build) {
    const [x, weight, bias] = [call.tensor('input'), call.tensor('weight'), call.optional('bias')]
    if (build.rank(weight) !== 2) throw new Untranslatable('its weight has not two axes')
    if (build.rank(x) === 2) return build.op('Gemm', [x, weight, ...(bias ? [bias] : [])], { transB: 1 })
    const product = build.op('MatMul', [x, build.transpose(weight, [1, 0])])
    return bias ? build.add(product, bias) : product
  },
})

export const addmm = defineAten({
  target: 'addmm',
  emit: (call, build) =>
    emitGemm(
      build,
      call.tensor('mat1'),
      call.tensor('mat2'),
      call.tensor('self'),
      call.number('alpha', 1),
      call.number('beta', 1),
    ),
})

export const mm = defineAten({
  target: 'mm',
  emit: (call, build) => emitGemm(build, call.tensor('self'), call.tensor('mat2'), undefined),
})

export const matmul = defineAten({
  target: ['matmul', '__matmul__', 'bmm', 'mv', 'dot'],
  emit: (call, build) =>
    build.op('MatMul', [
      call.tensor('self'),
      call.optional('other') ?? call.optional('mat2') ?? call.optional('vec') ?? call.tensor('tensor'),
    ]),
})

export const baddbmm = defineAten({
  target: 'baddbmm',
  emit(call, build) {
    const scaled = (value: string, by: number) =>
      by === 1 ? value : build.mul(value, build.scalar(by, call.outputType))
    const product = build.op('MatMul', [call.tensor('batch1'), call.tensor('batch2')])
    return build.add(
      scaled(call.tensor('self'), call.number('beta', 1)),
      scaled(product, call.number('alpha', 1)),
    )
  },
})

export const einsum = defineAten({
  target: 'einsum',
  emit: (call, build) =>
    build.op('Einsum', call.tensors('tensors'), { equation: call.string('equation', '') }),
})

export const embedding = defineAten({
  target: 'embedding',
  emit: (call, build) => build.op('Gather', [call.tensor('weight'), call.tensor('indices')], { axis: 0 }),
})
