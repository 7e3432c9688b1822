import { float, type GraphBuilder } from '../../ir/builder.ts'
import { intAttribute, intsAttribute, type Node } from '../../ir/model.ts'
import { elementCount, Tensor } from '../../ir/tensor.ts'
import { defineOp } from '../define-op.ts'
import { averagePool, globalAveragePool } from '../pool.ts'
import { blockedDomain, nchwcDomain, pool, repeat, shared } from './emit.ts'

const kernelOf = (node: Node) => intsAttribute(node, 'kernel_shape')!

/** MaxPool and AveragePool of a blocked value with windows that lie side by side and cover it. */
export const blockedPool = defineOp({
  opType: ['MaxPool', 'AveragePool'],
  domain: blockedDomain,
  inputs: ['x'],
  flow: { x: 'nonlinear' },
  inferTypes: (context) => averagePool.inferTypes(context),
  gradient: {
    x: (g) => {
      const { build, node } = g
      const kernel = kernelOf(node)
      const spread = repeat(build, g.dy(), kernel)
      if (node.opType === 'AveragePool') return build.mul(spread, g.scalar(1 / elementCount(kernel)))
      const notLess = (a: string, b: string) =>
        build.op('HardSigmoid', [build.sub(a, repeat(build, b, kernel))], {
          alpha: float(1e38),
          beta: float(1),
        })
      const largest = notLess(g.x(), g.y())
      // Where several elements of a window are the largest, the first takes the gradient, as in PyTorch.
      const { shape } = g.inputs[0]!
      const ranked = build.reshape(rank(build, largest, shape, node), shape)
      return build.mul(spread, notLess(ranked, pool(build, 'MaxPool', ranked, kernel)))
    },
  },
  samples: [],
})

/** 0 stays 0; ones become the number of places of their window that are left from there on. */
function rank(build: GraphBuilder, x: string, shape: readonly number[], node: Node): string {
  const [samples, channels, height, width] = shape as [number, number, number, number]
  const [rows, columns] = kernelOf(node) as [number, number]
  const block = intAttribute(node, 'block')!
  const size = height * width * block
  const ranks = shared(build, `ranks ${[height, width, rows, columns, block]}`, () => {
    const values = Float32Array.from({ length: size }, (_, i) => {
      const [row, column] = [Math.floor(i / (width * block)) % rows, Math.floor(i / block) % columns]
      return rows * columns - row * columns - column
    })
    return build.constant(Tensor.float32([size], values), 'ranks')
  })
  return build.mul(build.reshape(x, [samples * (channels / block), size]), ranks)
}

export function expandPool(build: GraphBuilder, node: Node): void {
  pool(build, node.opType as 'MaxPool' | 'AveragePool', node.inputs[0]!, kernelOf(node), node.outputs[0])
}

/** Mean over all positions of a blocked value; the result, N x C x 1 x 1, is the same in both layouts. */
export const blockedGlobalPool = defineOp({
  opType: 'GlobalAveragePool',
  domain: blockedDomain,
  inputs: ['x'],
  flow: { x: 'linear' },
  inferTypes: (context) => globalAveragePool.inferTypes(context),
  gradient: {
    x: ({ build, dy, inputs: [x], node, scalar }) => {
      const { shape } = x!
      const [samples, channels] = shape as [number, number]
      const block = intAttribute(node, 'block')!
      const positions = elementCount(shape.slice(2))
      const blocks = samples * (channels / block)
      const share = build.reshape(build.mul(dy(), scalar(1 / positions)), [blocks, 1, block])
      return build.reshape(build.op('Expand', [share, build.ints([blocks, positions, block])]), shape)
    },
  },
  samples: [],
})

export const expandGlobalPool = (build: GraphBuilder, node: Node): void => {
  build.several('GlobalAveragePool', node.inputs, node.outputs, {}, nchwcDomain)
}
