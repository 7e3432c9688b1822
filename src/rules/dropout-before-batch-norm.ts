import { defineRule } from './define-rule.ts'
import { actingPaths, asShift, grouped, nearestOf, shiftedRatio } from './exposure.ts'
import { placeOf, placesOf } from './places.ts'
import { counted, noiseInWords, someOf, timesInWords } from './words.ts'

/** Noise whose output reaches a BatchNormalization through linear nodes only. */
export const dropoutBeforeBatchNorm = defineRule({
  id: 'dropout-before-batch-norm',
  severity: 'warning',
  summary:
    'Dropout, or noise like it, reaches a BatchNormalization directly or through linear nodes (convolution, dense layer, addition, concatenation, average pool, and Relu right behind the noise) only.',
  why: 'In training the normalization sees, and stores, a variance that the noise has enlarged. At inference the noise is off, the variance is smaller, and the layer still divides by the stored one: its output is too small, and every layer behind it receives what it was never trained on. For Dropout of ratio r on a zero-mean input the variance shrinks to 1 - r of the stored one; a mean that is not zero makes it worse, a wide layer in between makes it milder. Gaussian dropout, uniform dropout, spatial dropout, DropPath, alpha dropout and additive noise do the same in proportion to their own variance.',
  ignoreWhen:
    'The running statistics were re-estimated with the noise off after training (`varshift fix` does that; a file does not tell whether it was done, `varshift measure` does), or the noise also runs at inference (Monte Carlo dropout). A predicted ratio within 10 % of 1 is reported as a note only.',
  fix: 'Without retraining: `varshift fix MODEL --data DATA -o FIXED`, which re-estimates the statistics of all layers, since those behind the exposed one shift too. When training anew: move the Dropout behind the last BatchNormalization, or use noise of small variance such as uniform dropout with beta 0.1.',
  source:
    'Li, Chen, Hu, Yang: Understanding the disharmony between dropout and batch normalization by variance shift, arXiv:1801.05134.',
  examples: {
    quiet: [
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] y)
<float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2)>
{
  n = BatchNormalization(x, one, mean, mean, var)
  y = Dropout(n, ratio, on)
}`,
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] y)
<float ratio = {0}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2)>
{
  d = Dropout(x, ratio, on)
  y = BatchNormalization(d, one, mean, mean, var)
}`,
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] y)
<float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2)>
{
  d = Dropout(x, ratio, on)
  r = Sigmoid(d)
  y = BatchNormalization(r, one, mean, mean, var)
}`,
    ],
    finding: [
      `net (float32[N, 4, 8, 8] x) => (float32[N, 4, 8, 8] y)
<float ratio = {0.5}, bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2)>
{
  [block.drop] d = Dropout(x, ratio, on)
  [block.bn] y = BatchNormalization(d, one, mean, mean, var)
}`,
      `net (float32[N, 4, 8, 8] x) => (float32[N, 6, 8, 8] y)
<float ratio = {0.3}, bool on = {1}, float32[4] one = fill(1), float32[4] zero = fill(0),
 float32[6, 4, 3, 3] w = uniform(-0.5, 0.5, 1), float32[6] ones = fill(1), float32[6] mean = fill(0), float32[6] var = fill(3)>
{
  n = BatchNormalization(x, one, zero, zero, one)
  r = Relu(n)
  [drop] d = Dropout(r, ratio, on)
  [conv] c = Conv <pads = [1, 1, 1, 1]> (d, w)
  [bn] y = BatchNormalization(c, ones, mean, mean, var)
}`,
      `<opset_import: ["": 11]>
net (float32[N, 4, 8, 8] x) => (float32[N, 8, 8, 8] y)
<float32[4, 4, 1, 1] w = uniform(-1, 1, 2), float32[8] one = fill(1), float32[8] zero = fill(0)>
{
  [trunk] t = Conv(x, w)
  [drop] d = Dropout <ratio = 0.5> (x)
  [add] s = Add(d, t)
  [cat] c = Concat <axis = 1> (s, x)
  [bn] y = BatchNormalization(c, one, zero, zero, one)
}`,
      `net (float32[N, 4, 8, 8] x, float ratio) => (float32[N, 4, 8, 8] y)
<bool on = {1}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2)>
{
  [drop] d = Dropout(x, ratio, on)
  [bn] y = BatchNormalization(d, one, mean, mean, var)
}`,
    ],
  },
  messages: {
    predicted:
      "'{norm}' is predicted to see {times} the variance at inference that it stored in training ({channels}): {noise} {reach}.",
    unpredicted:
      "'{norm}' stored its variance under noise that is off at inference: {noise} {reach}. By how much it shifts cannot be predicted: {reason}.",
  },
  check({ facts, report }) {
    const linear = actingPaths(facts).filter(({ through }) => through !== 'nonlinear')
    for (const paths of grouped(linear, ({ norm }) => norm.key)) {
      const nearest = nearestOf(paths)
      const { norm, noise, through, steps } = nearest
      const others = paths.length - 1
      const how = through === 'direct' ? 'directly' : `through ${someOf(steps.map(({ opType }) => opType))}`
      const found = { at: placeOf(norm), path: placesOf(nearest) }
      const data = {
        norm: norm.label,
        noise: noiseInWords(noise),
        noises: paths.map((path) => path.noise.label),
        through,
        reach: `reaches it ${how}${others > 0 ? `, and so ${others === 1 ? 'does' : 'do'} ${counted(others, 'further noise')}` : ''}`,
      }
      const prediction = facts.predictions.get(norm.key)
      if (!prediction || !('layerRatio' in prediction)) {
        const reason = prediction?.reason ?? 'the file does not tell enough'
        report({ message: 'unpredicted', ...found, data: { ...data, reason } })
        continue
      }
      const { layerRatio, channelRatio, assumptions } = prediction
      const sorted = channelRatio.filter(Number.isFinite).toSorted()
      const [least, middle, most] = [
        sorted[0] ?? layerRatio,
        sorted[sorted.length >> 1] ?? layerRatio,
        sorted.at(-1) ?? layerRatio,
      ]
      const digits = (value: number) => value.toPrecision(2)
      report({
        message: 'predicted',
        ...found,
        severity: Math.max(asShift(layerRatio), asShift(middle)) >= shiftedRatio ? undefined : 'info',
        data: {
          ...data,
          ratio: layerRatio,
          times: timesInWords(prediction),
          channels:
            digits(least) === digits(most)
              ? `${digits(middle)} in every channel`
              : `${digits(least)} to ${digits(most)} by channel, half of them below ${digits(middle)}`,
          channelMin: least,
          channelMedian: middle,
          channelMax: most,
          assumptions: [...assumptions],
        },
      })
    }
  },
})
