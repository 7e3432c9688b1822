import { defineLoss, sumOf } from '../define-loss.ts'

/** Mean activities are kept this far from 0 and 1, where the penalty is infinite. */
const margin = 1e-7

/**
 * Sparsity penalty of an autoencoder: how far the mean activity of each hidden unit is from a small target.
 *
 *   loss = weight * sum_j [ rho log(rho / a_j) + (1 - rho) log((1 - rho) / (1 - a_j)) ],   a_j = mean over the batch
 *
 * `at` names the layer, whose activations lie between 0 and 1 (a Sigmoid); units are its channels (axis 1).
 * Source: Ng, "Sparse autoencoder", CS294A lecture notes (2011).
 */
export const klSparsity = defineLoss({
  id: 'kl-sparsity',
  takes: 'nothing',
  settings: {
    at: { kind: 'text', standard: undefined },
    target: { kind: 'number', standard: 0.05, min: 1e-6, max: 1 - 1e-6 },
    weight: { kind: 'number', standard: 1, min: 0, max: Number.POSITIVE_INFINITY },
  },
  emit({ build, output, shape }, { target, weight }) {
    const axes = shape.map((_, axis) => axis).filter((axis) => axis !== 1)
    const bounds = [build.scalar(margin), build.scalar(1 - margin)]
    const active = build.op('Clip', [build.reduceMean(output, axes, false), ...bounds])
    const log = (x: string) => build.op('Log', [x])
    // The entropy of the target is constant: it belongs to the value, not to the gradient.
    const entropy = target * Math.log(target) + (1 - target) * Math.log(1 - target)
    const cross = build.add(
      build.mul(log(active), build.scalar(-target)),
      build.mul(log(build.sub(build.scalar(1), active)), build.scalar(target - 1)),
    )
    const units = build.add(cross, build.scalar(entropy))
    return { sum: build.mul(sumOf(build, units), build.scalar(weight)), weight: build.scalar(1) }
  },
})
