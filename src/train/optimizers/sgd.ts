import { defineOptimizer } from '../define-optimizer.ts'

/**
 * Stochastic gradient descent, with momentum as PyTorch has it (the learning rate is not part of the memory).
 *
 *   g = gradient + decay p
 *   v = momentum v + g
 *   p = p - rate v                    (nesterov: p - rate (g + momentum v))
 *
 * Source: torch.optim.SGD; Sutskever et al., ICML 2013.
 */
export const sgd = defineOptimizer({
  id: 'sgd',
  settings: {
    momentum: { kind: 'number', standard: 0.9, min: 0, max: 1 },
    nesterov: { kind: 'switch', standard: false },
    weightDecay: { kind: 'number', standard: 0, min: 0, max: Number.POSITIVE_INFINITY },
  },
  state: ({ momentum }) => (momentum > 0 ? ['momentum'] : []),
  scalars: (_settings, _step, learningRate) => ({ rate: learningRate }),
  emit({ build, parameter, gradient, state, scalars, decays }, { momentum, nesterov, weightDecay }) {
    const g =
      decays && weightDecay > 0
        ? build.add(gradient, build.mul(parameter, build.scalar(weightDecay)))
        : gradient
    const step = (direction: string) => build.sub(parameter, build.mul(direction, scalars.rate!))
    if (momentum === 0) return { parameter: step(g), state: {} }
    const factor = build.scalar(momentum)
    const velocity = build.add(build.mul(state.momentum!, factor), g)
    const direction = nesterov ? build.add(g, build.mul(velocity, factor)) : velocity
    return { parameter: step(direction), state: { momentum: velocity } }
  },
})
