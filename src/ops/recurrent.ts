import { type Dim, intAttribute, stringAttribute } from '../ir/model.ts'
import { defineOp } from './define-op.ts'

/** Recurrent layers over the first axis: x is T x N x F, the results T x directions x N x H and directions x N x H. */
export const recurrent = defineOp({
  opType: ['LSTM', 'GRU', 'RNN'],
  inputs: ['x', 'weight', 'recurrence', '...rest'],
  flow: { x: 'nonlinear', weight: 'nonlinear', recurrence: 'nonlinear', '...rest': 'nonlinear' },
  inferTypes: ({ node, inputs: [x, , recurrence] }) => {
    const directions = stringAttribute(node, 'direction') === 'bidirectional' ? 2 : 1
    const hidden: Dim = intAttribute(node, 'hidden_size') ?? recurrence?.shape?.[2]
    const batchFirst = intAttribute(node, 'layout') === 1
    const [first, second] = x?.shape ?? []
    const [time, batch] = batchFirst ? [second, first] : [first, second]
    const dataType = x?.dataType
    const state = {
      dataType,
      shape: batchFirst ? [batch, directions, hidden] : [directions, batch, hidden],
    }
    const all = {
      dataType,
      shape: batchFirst ? [batch, time, directions, hidden] : [time, directions, batch, hidden],
    }
    return [all, state, state]
  },
  gradient: null,
  samples: [
    `g (float32[5, N, 3] x) => () <float32[1, 16, 3] w = uniform(-1, 1, 1), float32[1, 16, 4] r = uniform(-1, 1, 2), float32[2, 12, 3] v = uniform(-1, 1, 3), float32[2, 12, 4] q = uniform(-1, 1, 4), float32[1, 4, 3] u = uniform(-1, 1, 5), float32[1, 4, 4] p = uniform(-1, 1, 6)> { a, h, c = LSTM <hidden_size = 4> (x, w, r) b, i = GRU <hidden_size = 4, direction = "bidirectional"> (x, v, q) d, j = RNN <hidden_size = 4> (x, u, p) }`,
  ],
})
