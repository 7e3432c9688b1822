import { type Dim, intAttribute, stringAttribute } from '../ir/model.ts'
import { defineOp } from './define-op.ts'
import { sameAsInput } from './shapes.ts'

/** Scaled dot-product attention: queries, keys and values are N x heads x length x size, or N x length x (heads size). */
export const attention = defineOp({
  opType: 'Attention',
  inputs: ['query', 'key', 'value', '...rest'],
  flow: ({ moving: [query, key, value] }) => ({
    query: 'nonlinear',
    key: 'nonlinear',
    // A weighted sum of the values, as long as the weights hold still.
    value: value && !query && !key ? 'linear' : 'nonlinear',
    '...rest': 'nonlinear',
  }),
  inferTypes: ({ node, inputs: [query, , value] }) => {
    const dataType = query?.dataType
    const [q, v] = [query?.shape, value?.shape]
    if (!q || !v || q.length !== v.length) return [{ dataType }]
    if (q.length === 4) return [{ dataType, shape: [...q.slice(0, 3), v[3]] }]
    const [heads, groups] = [intAttribute(node, 'q_num_heads'), intAttribute(node, 'kv_num_heads')]
    const width: Dim =
      heads !== undefined && groups !== undefined && typeof v[2] === 'number'
        ? (v[2] / groups) * heads
        : undefined
    return [{ dataType, shape: [q[0], q[1], width] }]
  },
  gradient: null,
  samples: [
    `<ir_version: 10, opset_import: ["": 23]> g (float32[2, 3, 4, 8] q, float32[2, 3, 6, 8] k, float32[2, 3, 6, 10] v, float32[2, 4, 24] p, float32[2, 6, 24] r) => () { a = Attention(q, k, v) b = Attention <q_num_heads = 3, kv_num_heads = 3> (p, r, r) }`,
  ],
})

/** Rotation of pairs of elements by angles that depend on the position. */
export const rotaryEmbedding = defineOp({
  opType: 'RotaryEmbedding',
  inputs: ['x', 'cos', 'sin', 'positions'],
  flow: { x: 'linear', cos: 'nonlinear', sin: 'nonlinear', positions: 'none' },
  inferTypes: sameAsInput,
  gradient: null,
  samples: [
    `<ir_version: 10, opset_import: ["": 23]> g (float32[2, 3, 4, 8] x, float32[6, 4] c, float32[6, 4] s) => () <int64[2, 4] p = {0, 1, 2, 3, 0, 1, 2, 3}> { a = RotaryEmbedding(x, c, s, p) }`,
  ],
})

/** Losses that training graphs hold: N x C scores against N labels. */
export const loss = defineOp({
  opType: ['SoftmaxCrossEntropyLoss', 'NegativeLogLikelihoodLoss'],
  inputs: ['scores', 'labels', 'weights'],
  flow: { scores: 'nonlinear', labels: 'none', weights: 'nonlinear' },
  inferTypes: ({ node, inputs: [scores, labels] }) => {
    const isSingle = stringAttribute(node, 'reduction') !== 'none'
    return [
      { dataType: scores?.dataType, shape: isSingle ? [] : labels?.shape },
      { dataType: scores?.dataType, shape: scores?.shape },
    ]
  },
  gradient: null,
  samples: [
    `g (float32[N, 3] x, int64[N] l) => () { p = LogSoftmax <axis = 1> (x) a, q = SoftmaxCrossEntropyLoss(x, l) b = NegativeLogLikelihoodLoss <reduction = "none"> (p, l) }`,
  ],
})
