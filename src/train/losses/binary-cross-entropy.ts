import { elementCount } from '../../ir/tensor.ts'
import { defineLoss, type LossContext, meanTerm, sumOf } from '../define-loss.ts'

/** Logarithms of less are cut off there, so that a certain mistake stays finite; the least normal float32. */
const leastProbability = 1.1754944e-38

/** Samples told right; where a sample has several elements, its share of right ones. */
function rightAt(middle: number, { build, output, target, shape }: LossContext): string {
  const isAbove = (x: string, at: number) => build.op('Greater', [x, build.scalar(at)])
  const agrees = build.op('Cast', [build.op('Equal', [isAbove(output, middle), isAbove(target, 0.5)])], {
    to: 1,
  })
  return build.div(sumOf(build, agrees), build.scalar(elementCount(shape.slice(1) as number[])))
}

/**
 * Binary cross entropy from logits, the mean over all elements; targets from 0 to 1.
 *
 *   loss = mean of softplus(x) - t x
 *
 * A Sigmoid at the end of the model is left out in training.
 * Source: torch.nn.BCEWithLogitsLoss.
 */
export const binaryCrossEntropy = defineLoss({
  id: 'binary-cross-entropy',
  takes: 'values',
  absorbs: 'Sigmoid',
  settings: {},
  emit(context) {
    const { build, output, target } = context
    return meanTerm(context, build.sub(build.op('Softplus', [output]), build.mul(target, output)))
  },
  right: (context) => rightAt(0, context),
})

/**
 * Binary cross entropy from probabilities, the mean over all elements; targets from 0 to 1.
 *
 *   loss = mean of -t log p - (1 - t) log(1 - p)
 *
 * Less exact near 0 and 1 than the form from logits; for models whose last layer is no plain Sigmoid.
 * Source: torch.nn.BCELoss, which cuts logarithms off at -100 where this one does at -87.
 */
export const binaryCrossEntropyOfProbabilities = defineLoss({
  id: 'binary-cross-entropy-of-probabilities',
  takes: 'values',
  settings: {},
  emit(context) {
    const { build, output, target } = context
    const one = build.scalar(1)
    const log = (p: string) => build.op('Log', [build.op('Clip', [p, build.scalar(leastProbability)])])
    const gain = build.add(
      build.mul(target, log(output)),
      build.mul(build.sub(one, target), log(build.sub(one, output))),
    )
    return meanTerm(context, build.op('Neg', [gain]))
  },
  right: (context) => rightAt(0.5, context),
})
