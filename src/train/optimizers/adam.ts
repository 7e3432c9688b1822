import { defineOptimizer, type UpdateContext, type Updated } from '../define-optimizer.ts'

const settings = {
  beta1: { kind: 'number', standard: 0.9, min: 0, max: 0.9999999 },
  beta2: { kind: 'number', standard: 0.999, min: 0, max: 0.9999999 },
  epsilon: { kind: 'number', standard: 1e-8, min: 0, max: 1 },
  weightDecay: { kind: 'number', standard: 0, min: 0, max: Number.POSITIVE_INFINITY },
} as const

interface Betas {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
}

/** Rate and root of the second moment with the bias of their start taken out. */
const scalars = ({ beta1, beta2 }: Betas, step: number, learningRate: number) => ({
  rate: learningRate / (1 - beta1 ** step),
  correction: Math.sqrt(1 - beta2 ** step),
})

function moved(
  { build, state, scalars }: UpdateContext,
  parameter: string,
  gradient: string,
  { beta1, beta2, epsilon }: Betas,
): Updated {
  const blend = (old: string, now: string, beta: number) =>
    build.add(build.mul(old, build.scalar(beta)), build.mul(now, build.scalar(1 - beta)))
  const mean = blend(state.mean!, gradient, beta1)
  const square = blend(state.square!, build.mul(gradient, gradient), beta2)
  const root = build.add(build.div(build.op('Sqrt', [square]), scalars.correction!), build.scalar(epsilon))
  const step = build.mul(build.div(mean, root), scalars.rate!)
  return { parameter: build.sub(parameter, step), state: { mean, square } }
}

/**
 * Adam. Weight decay is added to the gradient.
 *
 *   g = gradient + decay p
 *   m = beta1 m + (1 - beta1) g,   s = beta2 s + (1 - beta2) g^2
 *   p = p - rate / (1 - beta1^t) * m / (sqrt(s) / sqrt(1 - beta2^t) + epsilon)
 *
 * Source: torch.optim.Adam; Kingma and Ba, arXiv:1412.6980.
 */
export const adam = defineOptimizer({
  id: 'adam',
  settings,
  state: () => ['mean', 'square'],
  scalars,
  emit(context, chosen) {
    const { build, parameter, gradient, decays } = context
    const decay = build.scalar(chosen.weightDecay)
    const g = decays && chosen.weightDecay > 0 ? build.add(gradient, build.mul(parameter, decay)) : gradient
    return moved(context, parameter, g, chosen)
  },
})

/**
 * AdamW: as Adam, but weight decay shrinks the parameter itself, by rate times decay a step.
 *
 *   p = p - rate decay p, then as Adam with g = gradient
 *
 * Source: torch.optim.AdamW; Loshchilov and Hutter, arXiv:1711.05101.
 */
export const adamw = defineOptimizer({
  id: 'adamw',
  settings: { ...settings, weightDecay: { ...settings.weightDecay, standard: 0.01 } },
  state: () => ['mean', 'square'],
  scalars: (chosen, step, learningRate) => ({
    ...scalars(chosen, step, learningRate),
    shrink: 1 - learningRate * chosen.weightDecay,
  }),
  emit(context, chosen) {
    const { build, parameter, gradient, scalars, decays } = context
    const shrunk = decays && chosen.weightDecay > 0 ? build.mul(parameter, scalars.shrink!) : parameter
    return moved(context, shrunk, gradient, chosen)
  },
})
