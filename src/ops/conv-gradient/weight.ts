import type { GraphBuilder } from '../../ir/builder.ts'
import { type ConvShapes, cropped } from './shapes.ts'

/**
 * Gradient of a convolution with respect to its weight (K x C/groups x k1 ...):
 *
 *   dw[k, c, t] = sum over n and o of dy[n, k, o] x[n, c, o stride + t dilation - padding]
 *
 * which is itself a convolution: of x with samples as its channels, with dy as its kernel, stride and dilation having
 * changed places.
 */
export function emitConvWeightGradient(
  build: GraphBuilder,
  { x, dy, shapes }: { x: string; dy: string; shapes: ConvShapes },
): string {
  const { strides, dilations, before, after, groups } = shapes
  const [samples, channels, ...sizes] = shapes.x as [number, number, ...number[]]
  const positions = sizes.map((_, i) => i)
  const swap = [1, 0, ...positions.map((i) => i + 2)]
  // Samples of each group side by side: C/groups x (groups N) x D1 ...
  const perGroup = channels / groups
  const input =
    groups === 1
      ? build.op('Transpose', [x], { perm: swap })
      : build.reshape(
          build.op('Transpose', [build.reshape(x, [samples, groups, perGroup, ...sizes])], {
            perm: [2, 1, 0, ...positions.map((i) => i + 3)],
          }),
          [perGroup, groups * samples, ...sizes],
        )
  const outputs = shapes.y.slice(2)
  const all = build.op('Conv', [input, build.op('Transpose', [dy], { perm: swap })], {
    kernel_shape: outputs,
    strides: dilations,
    dilations: strides,
    pads: [...before, ...after],
    group: groups,
  })
  const kernel = shapes.weight.slice(2)
  const found = positions.map((i) => {
    const reach = (outputs[i]! - 1) * strides[i]! + 1
    return Math.floor((sizes[i]! + before[i]! + after[i]! - reach) / dilations[i]!) + 1
  })
  return build.op('Transpose', [cropped(build, all, found, kernel)], { perm: swap })
}
