import { defineLoss, meanTerm } from '../define-loss.ts'

/**
 * Mean absolute error over all elements.
 *
 *   loss = mean |x - t|
 *
 * Source: torch.nn.L1Loss.
 */
export const l1 = defineLoss({
  id: 'l1',
  takes: 'values',
  settings: {},
  emit(context) {
    const { build, output, target } = context
    return meanTerm(context, build.op('Abs', [build.sub(output, target)]))
  },
})
