import type { NoisePath, Prediction } from '../analysis/facts.ts'
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
    'Dropout, or noise like it, reaches BatchNormalizations behind activations, max pools or other normalizations only.',
  why: 'Their statistics were learned under noise too, and are used without it. Noise also makes channels less alike, and the next convolution adds what they have in common, so behind a first normalization the variance at inference can be far larger than the stored one, where directly behind the noise it is smaller. By how much depends on the data: what is predicted from the file alone is rough.',
  ignoreWhen:
    '`varshift measure` shows that these layers see what they stored, or the statistics were re-estimated with the noise off. Noise that is followed by many layers before the first normalization, or that is weak, does little. If no other normalization lies between and a ratio more than 10 % from 1 is predicted, the finding is a warning.',
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
      `net (float32[N, 4, 8, 8] x, float32[4] var) => (float32[N, 4, 8, 8] y)
<float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2)>
{
  [drop] d = Dropout(x, ratio, on)
  [act] a = Sigmoid(d)
  [bn] y = BatchNormalization(a, one, mean, mean, var)
}`,
    ],
  },
  messages: {
    behind:
      "{noise} reaches {count} behind non-linear nodes: {names}. The first such node is '{through}' ({type}).",
    predicted:
      "{noise} reaches {count} behind non-linear nodes, estimated to see {range} times the stored variance at inference, up to a factor of {factor} either way: {names}. The first such node is '{through}' ({type}).",
  },
  check({ facts, report }) {
    const paths = actingPaths(facts)
    // What noise does to a norm that it exposes more directly is another rule's finding.
    const exposed = new Set(
      paths.filter(({ through }) => through !== 'nonlinear').map(({ norm }) => norm.key),
    )
    const behind = paths.filter(({ norm }) => !exposed.has(norm.key))
    const predictionOf = ({ norm }: NoisePath): Prediction | undefined => {
      const prediction = facts.predictions.get(norm.key)
      return prediction && 'layerRatio' in prediction ? prediction : undefined
    }
    for (const group of grouped(behind, ({ noise }) => noise.key)) {
      const nearest = nearestOf(group)
      const { noise, firstNonlinear } = nearest
      const labels = group.map(({ norm }) => norm.label)
      const found = { at: placeOf(noise), path: placesOf(nearest) }
      const data = {
        noise: noiseInWords(noise),
        count: counted(group.length, 'batch normalization'),
        names: someLayers(labels),
        norms: labels,
        through: firstNonlinear ? labelOf(firstNonlinear) : 'unknown',
        type: firstNonlinear?.opType ?? '',
      }
      const predictions = group.map(predictionOf).filter((prediction) => prediction !== undefined)
      const ratios = predictions.map(({ layerRatio }) => layerRatio)
      if (ratios.length === 0) {
        report({ message: 'behind', ...found, data })
        continue
      }
      const [least, most] = [Math.min(...ratios), Math.max(...ratios)]
      const [low, high] = [least.toPrecision(3), most.toPrecision(3)]
      // Behind another normalization that one is the finding, and predictions are rougher.
      const first = crossesNorm(nearest) ? 1 : (predictionOf(nearest)?.layerRatio ?? 1)
      const factor = Math.max(...predictions.map((p) => p.layerInterval[1] / p.layerRatio))
      report({
        message: 'predicted',
        ...found,
        severity: asShift(first) >= shiftedRatio ? 'warning' : undefined,
        data: {
          ...data,
          range: low === high ? low : `${low} to ${high}`,
          factor: factor.toPrecision(2),
          ratioMin: least,
          ratioMax: most,
        },
      })
    }
  },
})
