import { intAttribute, intsAttribute } from '../../ir/model.ts'
import { inferConv } from '../conv.ts'
import { defineOp } from '../define-op.ts'
import { averagePool, globalAveragePool } from '../pool.ts'
import { nchwcDomain } from './emit.ts'

/** ONNX Runtime's own operators of the blocked layout, which gradients are written in; nothing is trained through them. */
export const nchwcOperators = defineOp({
  opType: [
    'Conv',
    'MaxPool',
    'AveragePool',
    'GlobalAveragePool',
    'ReorderInput',
    'ReorderOutput',
    'Upsample',
  ],
  domain: nchwcDomain,
  inputs: ['x', 'weight', 'bias', 'sum'],
  flow: { x: 'nonlinear', weight: 'nonlinear', bias: 'nonlinear', sum: 'nonlinear' },
  inferTypes: (context) => {
    const { node, inputs } = context
    const { dataType, shape } = inputs[0] ?? {}
    switch (node.opType) {
      case 'Conv':
        return inferConv(context)
      case 'GlobalAveragePool':
        return globalAveragePool.inferTypes(context)
      case 'ReorderInput':
        return [{ dataType, shape }]
      case 'ReorderOutput':
        return [{ dataType, shape: shape?.map((dim, i) => (i === 1 ? intAttribute(node, 'channels') : dim)) }]
      case 'Upsample':
        return [
          {
            dataType,
            shape: shape?.map((dim, i) =>
              typeof dim === 'number' ? dim * intsAttribute(node, 'scales')![i]! : undefined,
            ),
          },
        ]
      default:
        return averagePool.inferTypes(context)
    }
  },
  gradient: null,
  samples: [],
})
