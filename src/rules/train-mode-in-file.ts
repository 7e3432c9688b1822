import { defineRule } from './define-rule.ts'
import { isActing } from './exposure.ts'
import { counted, noiseInWords, someLayers, someOf } from './words.ts'

/** Batch statistics in use, or noise that acts, in the file as it stands. */
export const trainModeInFile = defineRule({
  id: 'train-mode-in-file',
  severity: 'warning',
  summary:
    'The file runs in train mode: normalizations use the statistics of the batch at hand, or Dropout and other noise is active.',
  why: 'What such a file gives for a sample depends on the other samples of its batch, or on chance. A runtime runs it without complaint; accuracy is lower than in training tools, changes with the batch size, and a batch of one sample gives constants.',
  ignoreWhen:
    'The file was exported in train mode on purpose: so that its Dropouts survive for `varshift check`, `measure` and `fix`, for training on a device, or for Monte Carlo dropout. Active noise alone is reported as a note, since every file that keeps its Dropouts has it.',
  fix: 'For deployment export again in eval mode: in PyTorch `model.eval()` and `torch.onnx.export(..., training=TrainingMode.EVAL)`. Or have `varshift fix FILE --repair eval-mode -o FIXED` set the switches in this file, and keep it to measure: the other repairs leave the mode as it is.',
  source:
    'ONNX operators BatchNormalization (training_mode, since opset 14) and Dropout (training_mode, since opset 12).',
  examples: {
    quiet: [
      `net (float32[N, 4] x) => (float32[N, 4] y)
<float ratio = {0.5}, bool off = {0}, float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2)>
{
  d = Dropout(x, ratio, off)
  y = BatchNormalization(d, one, mean, mean, var)
}`,
      `<opset_import: ["": 11]>
net (float32[N, 4] x) => (float32[N, 4] y)
<float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2)>
{
  y = BatchNormalization(x, one, mean, mean, var)
}`,
    ],
    finding: [
      `net (float32[N, 4] x) => (float32[N, 4] y)
<float32[4] one = fill(1), float32[4] mean = fill(0.2), float32[4] var = fill(2)>
{
  [bn] y, m, v = BatchNormalization <training_mode = 1> (x, one, mean, mean, var)
}`,
      `net (float32[N, 4] x) => (float32[N, 4] y)
<float ratio = {0.5}, bool on = {1}>
{
  [drop] y = Dropout(x, ratio, on)
}`,
      `net (float32[N, 4] x, bool training) => (float32[N, 4] y)
<float ratio = {0.5}>
{
  [drop] y = Dropout(x, ratio, training)
}`,
    ],
  },
  messages: {
    norms:
      '{count} of {all} {verb} the statistics of the batch at hand ({names}): what the file gives for a sample depends on the other samples of its batch.',
    noises: '{count} active in the file ({names}): it gives another answer each time.',
    dynamic:
      '{count} switched on by an input of the graph or a computed value ({names}): make sure that it is off at inference.',
  },
  check({ model, facts, report }) {
    if (model.holdsBothModes) return
    const { norms, noises } = facts
    const training = norms.filter(({ batchStatistics }) => batchStatistics).map(({ label }) => label)
    if (training.length > 0)
      report({
        message: 'norms',
        aspect: 'batch-statistics',
        data: {
          count: training.length,
          verb: training.length === 1 ? 'uses' : 'use',
          all: counted(norms.length, 'batch normalization'),
          names: someLayers(training),
          norms: training,
        },
      })
    for (const [active, message] of [
      ['always', 'noises'],
      ['dynamic', 'dynamic'],
    ] as const) {
      const acting = noises.filter((noise) => noise.active === active && isActing(noise))
      if (acting.length > 0)
        report({
          message,
          severity: 'info',
          aspect: `${active}-active`,
          data: {
            count: `${counted(acting.length, 'noise')} ${acting.length === 1 ? 'is' : 'are'}`,
            names: someOf(acting.map(noiseInWords)),
            noises: acting.map(({ label }) => label),
          },
        })
    }
  },
})
