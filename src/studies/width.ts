import { defineComparison } from './comparison.ts'
import { meanOf, pointOf } from './statistics.ts'

/**
 * The wider the network, the larger d cos² and the smaller the shift that Dropout before a convolution causes.
 * Source: docs/theory.md, "Linear"; Li et al., arXiv:1801.05134, section 4.2.
 */
export const width = defineComparison({
  id: 'width',
  claim:
    'The wider the network, the larger d cos² and the smaller the shift that Dropout before a convolution causes.',
  source: 'docs/theory.md, "Linear"; Li et al., arXiv:1801.05134, section 4.2',
  method: 'Wide residual networks of depth 10 with Dropout 0.5 before the last convolution of every block.',
  minutes: { smoke: 1, small: 18, paper: 6000 },
  variants: (budget) =>
    (budget === 'paper' ? [1, 2, 4, 8, 10] : [1, 2, 4]).map((widen) => ({
      name: `WRN-10-${widen}`,
      network: `wrn-10-${widen}`,
      noise: 'dropout',
      value: 0.5,
      placement: 'before-weight',
    })),
  figures: (told) => [
    {
      title: 'Shift against d cos²',
      x: { label: 'd cos²', scale: 'log' },
      y: { label: 'mean shift ratio', scale: 'linear' },
      series: [
        {
          name: 'WRN-10, mean over seeds',
          points: told.map(({ found }) =>
            pointOf(
              meanOf(found.map((o) => o.dCos2)),
              found.map((o) => o.meanRatio),
            ),
          ),
        },
      ],
      note: `From left to right: ${told.map(({ name }) => name).join(', ')}. The band is from the least to the most of the seeds.`,
    },
  ],
})
