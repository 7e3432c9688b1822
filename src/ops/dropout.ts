import { defineOp } from './define-op.ts'

/**
 * Dropout: in training mode y = x * mask / (1 - ratio); in inference y = x.
 * What is random about it is in noises/dropout.ts; to what passes through, it is the identity.
 */
export const dropout = defineOp({
  opType: 'Dropout',
  inputs: ['x', 'ratio', 'trainingMode'],
  flow: { x: 'layout', ratio: 'none', trainingMode: 'none' },
  inferTypes: ({ inputs, node, opset }) => {
    const { dataType, shape } = inputs[0] ?? {}
    return node.outputs.map((_, i) => ({ dataType: i === 1 && opset >= 10 ? 'bool' : dataType, shape }))
  },
  samples: [
    `g (float32[2, 3] x) => () { y, mask = Dropout(x) }`,
    `<opset_import: ["": 9]> g (float32[2, 3] x) => () { y = Dropout <ratio = 0.3> (x) }`,
  ],
})
