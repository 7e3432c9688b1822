import { defineLoss, meanTerm } from '../define-loss.ts'

/**
 * Mean squared error over all elements.
 *
 *   loss = mean (x - t)^2
 *
 * Source: torch.nn.MSELoss.
 */
export const mse = defineLoss({
  id: 'mse',
  takes: 'values',
  settings: {},
  emit(context) {
    const { build, output, target } = context
    const error = build.sub(output, target)
    return meanTerm(context, build.mul(error, error))
  },
})
