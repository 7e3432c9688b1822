import { labelOf } from '../ir/model.ts'
import { defineRule } from './define-rule.ts'
import { actingPaths, asShift, crossesNorm, grouped, nearestOf, shiftedRatio } from './exposure.ts'
import { placeOf, placesOf } from './places.ts'
import { counted, noiseInWords, someLayers } from './words.ts'

/** Noise that reaches BatchNormalizations through non-linear nodes or other normalizations. */
export const dropoutUpstreamOfBatchNorm = defineRule({
  id: 'dropout-upstream-of-batch-norm',
  severity: 'info',
  summary:
    'Dropout, or noise like it, reaches BatchNormalizations behind activations, max pools or other normalizations.',
  why: 'Their statistics were learned under noise too, and are used without it. Noise also makes channels less alike, and the next convolution adds what they have in common, so behind a first normalization the variance at inference can be far larger than the stored one, where directly behind the noise it is smaller. By how much depends on the data, so a file alone rarely tells.',
  ignoreWhen:
    '`varshift measure` shows that these layers see what they stored, or the statistics were re-estimated with the noise off. Noise that is followed by many layers before the first normalization, or that is weak, does little.',
  fix: 'Measure first: `varshift measure MODEL --data DATA`. If layers shift, `varshift fix` re-estimates them all. Mending the directly exposed layer alone makes those behind it worse.',
  source:
    'Li et al., arXiv:1801.05134, section 3; that repairing one layer alone is harmful was measured for this project.',
  examples: {
    quiet: [
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] y)
<float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2)>
{
  n = BatchNormalization(x, one, mean, mean, var)
  r = Relu(n)
  y = Dropout(r, ratio, on)
}`,
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] y)
<float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2)>
{
  d = Dropout(x, ratio, on)
  y = BatchNormalization(d, one, mean, mean, var)
}`,
    ],
    finding: [
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] y)
<float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2),
 float32[4, 4, 3, 3] w = uniform(-0.5, 0.5, 1)>
{
  [drop] d = Dropout(x, ratio, on)
  [conv] c = Conv <pads = [1, 1, 1, 1]> (d, w)
  [act] a = Sigmoid(c)
  [bn] y = BatchNormalization(a, one, mean, mean, var)
}`,
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] y)
<float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2)>
{
  [drop] d = Dropout(x, ratio, on)
  [bn1] n = BatchNormalization(d, one, mean, mean, var)
  [act] a = Relu(n)
  [bn2] y = BatchNormalization(a, one, mean, mean, var)
}`,
    ],
  },
  messages: {
    behind:
      "{noise} reaches {count} behind non-linear nodes: {names}. The first such node is '{through}' ({type}).",
    predicted:
      "{noise} reaches {count} behind non-linear nodes: {names}. The first such node is '{through}' ({type}); '{norm}' is predicted to see {ratio} times the variance at inference that it stored.",
  },
  check({ facts, report }) {
    const behind = actingPaths(facts).filter(({ through }) => through === 'nonlinear')
    for (const paths of grouped(behind, ({ noise }) => noise.key)) {
      const nearest = nearestOf(paths)
      const { noise, norm, firstNonlinear } = nearest
      const labels = paths.map((path) => path.norm.label)
      const found = { at: placeOf(noise), path: placesOf(nearest) }
      const data = {
        noise: noiseInWords(noise),
        count: counted(paths.length, 'batch normalization'),
        names: someLayers(labels),
        norms: labels,
        through: firstNonlinear ? labelOf(firstNonlinear) : 'unknown',
        type: firstNonlinear?.opType ?? '',
      }
      const prediction = facts.predictions.get(norm.key)
      if (prediction && 'layerRatio' in prediction && !crossesNorm(nearest)) {
        const ratio = prediction.layerRatio
        const severity = asShift(ratio) >= shiftedRatio ? 'warning' : undefined
        report({ message: 'predicted', ...found, severity, data: { ...data, norm: norm.label, ratio } })
      } else report({ message: 'behind', ...found, data })
    }
  },
})
