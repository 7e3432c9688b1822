import { familiesFor } from './classifier.ts'
import { defineComparison } from './comparison.ts'

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
})
