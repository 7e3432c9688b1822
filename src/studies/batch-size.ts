import type { StudyFigure } from '../result/study.ts'
import { type ClassifierOutcome, familiesFor } from './classifier.ts'
import { defineComparison, type Told } from './comparison.ts'
import { pointOf } from './statistics.ts'

/**
 * Running statistics of small batches go wrong in eval mode, and noise makes it worse.
 * Source: docs/theory.md, "Recalibration".
 */
export const batchSize = defineComparison({
  id: 'batch-size',
  claim: 'Running statistics of small batches go wrong in eval mode, and noise makes it worse.',
  source: 'docs/theory.md, "Recalibration"',
  method: 'PreResNet with and without Dropout 0.5 before norms, trained with batches of 2 to 128.',
  minutes: { smoke: 3, small: 20, paper: 9000 },
  seeds: 2,
  variants: (budget) =>
    [2, 8, 32, 128].flatMap((batchSize) =>
      [0, 0.5].map((ratio) => ({
        name: `batch ${batchSize}${ratio > 0 ? `, Dropout ${ratio}` : ''}`,
        network: familiesFor(budget).PreResNet!,
        noise: ratio > 0 ? 'dropout' : 'none',
        value: ratio,
        placement: ratio > 0 ? 'before-norm' : 'none',
        batchSize,
      })),
    ),
  figures: (told) => [
    byBatchSize(told, 'Error as trained', 'error %', (o) => o.errorPercent),
    byBatchSize(told, 'Error re-estimated', 'error %', (o) => o.recalibratedErrorPercent),
    byBatchSize(told, 'Mean shift ratio', 'mean shift ratio', (o) => o.meanRatio),
  ],
})

const byBatchSize = (
  told: readonly Told[],
  title: string,
  label: string,
  value: (outcome: ClassifierOutcome) => number,
): StudyFigure => ({
  title,
  x: { label: 'batch size', scale: 'log' },
  y: { label, scale: 'linear' },
  series: ['none', 'dropout'].map((noise) => ({
    name: noise === 'none' ? 'without noise' : 'Dropout 0.5',
    points: told
      .filter((variant) => variant.noise === noise)
      .map(({ batchSize, found }) => pointOf(batchSize!, found.map(value))),
  })),
})
