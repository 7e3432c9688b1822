import type { NoisePath } from '../analysis/facts.ts'
import { isNorm } from '../analysis/norms.ts'
import { keyOf, labelOf, type Model, type Node } from '../ir/model.ts'
import { defineRule } from './define-rule.ts'
import { actingPaths, flowsAlong, grouped } from './exposure.ts'
import { placeOf, placesOf } from './places.ts'
import { noiseInWords, someLayers } from './words.ts'

/** A max pool between a noise and a BatchNormalization. */
export const maxPoolAfterDropout = defineRule({
  id: 'max-pool-after-dropout',
  severity: 'warning',
  summary: 'A max pool lies between Dropout, or noise like it, and a BatchNormalization.',
  why: 'The largest of several noisy values is larger in the mean than the largest of the same values without noise: E[max(m x)] > max(E[m x]). So not only the variance that the normalization stored is too large for inference but its mean as well, and a shifted mean moves every value through the activation behind it. An average pool has no such effect: the mean survives, and the noise averages out.',
  ignoreWhen:
    'The statistics were re-estimated with the noise off, or `varshift measure` shows no mean shift at the layer. Noise that all positions of a channel share (spatial dropout, DropPath) passes a max pool unharmed and is not reported.',
  fix: 'Put the noise behind the pool, which trains the same kind of network and costs less, or re-estimate the statistics with `varshift fix MODEL --data DATA -o FIXED`.',
  source: "Jensen's inequality for the maximum; Li et al., arXiv:1801.05134, for the variance.",
  examples: {
    quiet: [
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 4, 4] y)
<float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2),
 float32[4, 4, 1, 1] w = uniform(-0.5, 0.5, 1)>
{
  p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
  d = Dropout(p, ratio, on)
  c = Conv(d, w)
  y = BatchNormalization(c, one, mean, mean, var)
}`,
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 4, 4] y)
<float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2),
 float32[4, 4, 1, 1] w = uniform(-0.5, 0.5, 1)>
{
  d = Dropout(x, ratio, on)
  p = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (d)
  c = Conv(p, w)
  y = BatchNormalization(c, one, mean, mean, var)
}`,
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 4, 4] y)
<float ratio = {0.5}, bool on = {1}>
{
  d = Dropout(x, ratio, on)
  y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d)
}`,
    ],
    finding: [
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 4, 4] y)
<float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2),
 float32[4, 4, 1, 1] w = uniform(-0.5, 0.5, 1)>
{
  [act] r = Relu(x)
  [drop] d = Dropout(r, ratio, on)
  [pool] p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d)
  [conv] c = Conv(p, w)
  [bn] y = BatchNormalization(c, one, mean, mean, var)
}`,
    ],
  },
  messages: {
    shift:
      "{noise} enters '{pool}' ({type}): the mean that {norms} stored is too large for inference as well as the variance.",
  },
  check({ model, facts, report }) {
    const pools = new Map<NoisePath, Node>()
    for (const path of actingPaths(facts)) {
      const pool = poolOn(model, path)
      if (pool) pools.set(path, pool)
    }
    for (const paths of grouped([...pools.keys()], (path) => keyOf(pools.get(path)!))) {
      const [first] = paths
      const pool = pools.get(first)!
      report({
        message: 'shift',
        at: placeOf(pool),
        path: placesOf(first),
        data: {
          noise: noiseInWords(first.noise),
          noises: [...new Set(paths.map(({ noise }) => noise.label))],
          pool: labelOf(pool),
          type: pool.opType,
          norms: someLayers([...new Set(paths.map(({ norm }) => norm.label))]),
        },
      })
    }
  },
})

/** The max pool on the way from a noise to the first norm behind it, if that noise changes what it gives in the mean. */
function poolOn(model: Model, path: NoisePath): Node | undefined {
  const { steps, firstNonlinear } = path
  const at = flowsAlong(model, path).indexOf('pooling')
  if (at < 0 || !firstNonlinear || steps.some(isNorm)) return undefined
  // A factor that the positions of a channel share passes the pool: what is not linear then comes later, if at all.
  return steps.indexOf(firstNonlinear) <= at ? steps[at] : undefined
}
