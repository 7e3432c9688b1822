import { UserError } from '../../ir/errors.ts'
import { Tensor } from '../../ir/tensor.ts'
import { defineLoss, sumOf } from '../define-loss.ts'

/**
 * Cross entropy of classes, from logits (N x C) and class numbers (N).
 *
 *   loss = sum_n sum_c q_nc w_c (-log softmax(x_n)_c) / sum_n w_(y_n)
 *   q_nc = (1 - smoothing) [c = y_n] + smoothing / C
 *
 * `weights`: one number a class (default all 1). A Softmax at the end of the model is left out in training.
 * Source: torch.nn.CrossEntropyLoss, reduction `mean`; smoothing: Szegedy et al., arXiv:1512.00567.
 */
export const crossEntropy = defineLoss({
  id: 'cross-entropy',
  takes: 'classes',
  absorbs: 'Softmax',
  settings: {
    smoothing: { kind: 'number', standard: 0, min: 0, max: 1 },
    weights: { kind: 'numbers', standard: undefined },
  },
  emit({ build, output, shape, labels }, { smoothing, weights }) {
    const classes = shape[1] as number
    const oneHot = build.op(
      'OneHot',
      [labels, build.constant(Tensor.int64([1], [classes])), build.constant(Tensor.float32([2], [0, 1]))],
      { axis: -1 },
    )
    let [shares, own] = [oneHot, oneHot]
    if (smoothing > 0)
      shares = build.add(build.mul(oneHot, build.scalar(1 - smoothing)), build.scalar(smoothing / classes))
    if (weights) {
      if (weights.length !== classes)
        throw new UserError(
          `cross-entropy: ${weights.length} class weights for ${classes} classes; give one a class`,
        )
      const factors = build.constant(Tensor.float32([1, classes], weights), 'class_weights')
      shares = build.mul(shares, factors)
      own = build.mul(own, factors)
    }
    const logs = build.op('LogSoftmax', [output], { axis: 1 })
    return { sum: build.op('Neg', [sumOf(build, build.mul(logs, shares))]), weight: sumOf(build, own) }
  },
  right({ build, output, labels }) {
    const guess = build.op('ArgMax', [output], { axis: 1, keepdims: 0 })
    return sumOf(build, build.op('Cast', [build.op('Equal', [guess, labels])], { to: 1 }))
  },
})
