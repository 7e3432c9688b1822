import { printFunction } from '../ir/text.ts'
import { defineOp } from './define-op.ts'
import { noiseDomain, noiseFunction } from './noise-call.ts'
import { sameAsInput } from './shapes.ts'

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

/** Noises of files that varshift has repaired (noise-call.ts); to what passes through, they are the identity. */
export const noiseCalls = defineOp({
  opType: ['GaussianDropout', 'Uout'],
  domain: noiseDomain,
  inputs: ['x', 'parameter', 'trainingMode'],
  flow: { x: 'layout', parameter: 'none', trainingMode: 'none' },
  inferTypes: sameAsInput,
  samples: [17, 22].map((opset) =>
    [
      `<ir_version: ${opset > 21 ? 10 : 8}, opset_import: ["": ${opset}, "${noiseDomain}": 1]>`,
      'g (float32[N, 3] x) => () <float32 p = {0.1}, bool on = {1}>',
      `{ a = ${noiseDomain}.Uout(x, p, on) b = ${noiseDomain}.GaussianDropout(x, p, on) }`,
      ...['Uout', 'GaussianDropout'].map((name) => printFunction(noiseFunction(name, opset)!)),
    ].join('\n'),
  ),
})
