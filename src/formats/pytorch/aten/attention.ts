import { Tensor } from '../../../ir/tensor.ts'
import { defineAten } from './define-aten.ts'

/** softmax(q k^T s + mask) v; Source: torch.nn.functional.scaled_dot_product_attention. */
export const scaledDotProductAttention = defineAten({
  target: [
    'scaled_dot_product_attention',
    '_scaled_dot_product_flash_attention_for_cpu',
    '_scaled_dot_product_flash_attention',
    '_scaled_dot_product_efficient_attention',
    '_scaled_dot_product_math',
  ],
  emit(call, build) {
    const [q, k, v] = [call.tensor('query'), call.tensor('key'), call.tensor('value')]
    const type = build.dataType(q)
    const rank = build.rank(q)
    const swapped = Array.from({ length: rank }, (_, i) =>
      i === rank - 2 ? rank - 1 : i === rank - 1 ? rank - 2 : i,
    )
    const scale = call.has('scale') ? call.number('scale') : 1 / Math.sqrt(build.size(q, -1))
    let scores = build.op('MatMul', [build.mul(q, build.scalar(scale, type)), build.transpose(k, swapped)])
    const mask = call.optional('attn_mask') ?? call.optional('attn_bias')
    const never = build.scalar(Number.NEGATIVE_INFINITY, type)
    if (mask)
      scores =
        build.dataType(mask) === 'bool'
          ? build.op('Where', [mask, scores, never])
          : build.add(scores, build.cast(mask, type))
    if (call.bool('is_causal', false)) {
      const [rows, columns] = [build.size(q, -2), build.size(k, -2)]
      const seen = new Float64Array(rows * columns).map((_, i) =>
        i % columns <= Math.floor(i / columns) ? 1 : 0,
      )
      scores = build.op('Where', [build.constant(Tensor.of('bool', [rows, columns], seen)), scores, never])
    }
    let weights = build.op('Softmax', [scores], { axis: -1 })
    const ratio = call.number('dropout_p', 0)
    if (ratio > 0) weights = build.op('Dropout', [weights, build.scalar(ratio), build.scalar(1, 'bool')])
    return [build.op('MatMul', [weights, v])]
  },
})
