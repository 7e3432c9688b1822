import type { GraphBuilder } from '../../ir/builder.ts'
import type { ConvShapes } from './shapes.ts'

/**
 * Gradient of a convolution with respect to its input: the transposed convolution of dy (N x K x O1 ...) with the weight
 * (K x C/groups x k1 ...), in the shape of x.
 */
export function emitConvInputGradient(
  build: GraphBuilder,
  { dy, weight, shapes }: { dy: string; weight: string; shapes: ConvShapes },
): string {
  const { strides, dilations, before, after, groups } = shapes
  const kernel = shapes.weight.slice(2)
  // Positions behind the last window are part of x too.
  const left = kernel.map((k, i) => {
    const seen = (shapes.y[i + 2]! - 1) * strides[i]! + (k - 1) * dilations[i]! + 1
    return shapes.x[i + 2]! + before[i]! + after[i]! - seen
  })
  return build.op('ConvTranspose', [dy, weight], {
    kernel_shape: kernel,
    strides,
    dilations,
    pads: [...before, ...after],
    output_padding: left,
    group: groups,
  })
}
