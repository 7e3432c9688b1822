import { printFunction } from '../ir/text.ts'
import { defineOp } from './define-op.ts'
import { asNumber } from './gradient.ts'
import { noiseDomain, noiseFunction, noiseOperators } from './noise-call.ts'
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
  gradient: {
    x: (g) => {
      if (!g.node.inputs[2]) return g.dy()
      const { contents, shape } = g.inputs[2]!
      if (contents?.[0] === 0) return g.dy()
      if (contents?.[0] === undefined || shape.length > 0)
        return g.refuse('whether it is in training mode is not fixed in the file')
      const ratio = g.node.inputs[1] ? g.inputs[1]?.contents?.[0] : 0.5
      if (typeof ratio !== 'number') return g.refuse('its ratio is not fixed in the file')
      const kept = asNumber(g, g.y(1))
      return g.build.mul(g.dy(), ratio < 1 ? g.build.mul(kept, g.scalar(1 / (1 - ratio))) : kept)
    },
    ratio: null,
    trainingMode: null,
  },
  samples: [
    `g (float32[2, 3] x) => () { y, mask = Dropout(x) }`,
    `<opset_import: ["": 9]> g (float32[2, 3] x) => () { y = Dropout <ratio = 0.3> (x) }`,
  ],
})

/** Noises of files that varshift has repaired (noise-call.ts); to what passes through, they are the identity. */
export const noiseCalls = defineOp({
  opType: noiseOperators,
  domain: noiseDomain,
  inputs: ['x', 'parameter', 'trainingMode'],
  flow: { x: 'layout', parameter: 'none', trainingMode: 'none' },
  inferTypes: sameAsInput,
  // Modes write them out.
  gradient: null,
  samples: [17, 22].map((opset) =>
    [
      `<ir_version: ${opset > 21 ? 10 : 8}, opset_import: ["": ${opset}, "${noiseDomain}": 1]>`,
      'g (float32[N, 3] x) => () <float32 p = {0.1}, bool on = {1}>',
      `{ ${noiseOperators.map((name) => `${name} = ${noiseDomain}.${name}(x, p, on)`).join(' ')} }`,
      ...noiseOperators.map((name) => printFunction(noiseFunction(name, opset)!)),
    ].join('\n'),
  ),
})
