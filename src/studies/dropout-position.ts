import { familiesFor } from './classifier.ts'
import { defineComparison } from './comparison.ts'

/**
 * Dropout does least harm behind the last norm: in the head, or in front of the last weight layer of a branch.
 * Source: docs/theory.md, open question 5; Kim et al., How to Use Dropout Correctly on Residual Networks with Batch Normalization, UAI 2023.
 */
export const dropoutPosition = defineComparison({
  id: 'dropout-position',
  claim:
    'Dropout does least harm behind the last norm: in the head, or in front of the last weight layer of a branch.',
  source:
    'docs/theory.md, open question 5; Kim et al., How to Use Dropout Correctly on Residual Networks with Batch Normalization, UAI 2023',
  method: 'PreResNet with Dropout 0.5 in every place that it can stand.',
  minutes: { smoke: 1, small: 14, paper: 4000 },
  variants: (budget) =>
    ['none', 'before-norm', 'before-weight', 'head-before-pool', 'head-after-pool'].map((placement) => ({
      name: placement,
      network: familiesFor(budget).PreResNet!,
      noise: placement === 'none' ? 'none' : 'dropout',
      value: placement === 'none' ? 0 : 0.5,
      placement,
    })),
})
