import { defineLoss, meanTerm } from '../define-loss.ts'

/**
 * Huber loss: squared for small errors, absolute for large ones.
 *
 *   loss = mean of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2),   d = x - t
 *
 * Source: torch.nn.HuberLoss.
 */
export const huber = defineLoss({
  id: 'huber',
  takes: 'values',
  settings: { delta: { kind: 'number', standard: 1, min: 1e-30, max: Number.POSITIVE_INFINITY } },
  emit(context, { delta }) {
    const { build, output, target } = context
    const size = build.op('Abs', [build.sub(output, target)])
    const inner = build.op('Clip', [size, '', build.scalar(delta)])
    return meanTerm(context, build.mul(inner, build.sub(size, build.mul(inner, build.scalar(0.5)))))
  },
})
