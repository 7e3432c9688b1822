import { familiesFor } from './classifier.ts'
import { defineComparison } from './comparison.ts'

/**
 * At equal relative variance every kind of noise shifts the variance alike; what makes Uout milder is its strength.
 * Source: docs/theory.md, table of noises.
 */
export const noiseKinds = defineComparison({
  id: 'noise-kinds',
  claim:
    'At equal relative variance every kind of noise shifts the variance alike; what makes Uout milder is its strength.',
  source: 'docs/theory.md, table of noises',
  method:
    'PreResNet with each kind of noise before the last norm of every block, at the relative variance of Dropout 0.3 (0.43), and Uout and Gaussian at the small strength that is usual for them.',
  minutes: { smoke: 2, small: 18, paper: 6000 },
  variants: (budget) =>
    [
      { kind: 'none', value: 0 },
      { kind: 'dropout', value: 0.3 },
      { kind: 'gaussian', value: Math.sqrt(0.3 / 0.7) },
      { kind: 'spatial-dropout', value: 0.3 },
      { kind: 'drop-path', value: 0.3 },
      { kind: 'moment-preserving', value: 0.3 },
      { kind: 'uout', value: 0.1 },
      { kind: 'gaussian', value: 0.1 },
    ].map(({ kind, value }) => ({
      name: kind === 'none' ? 'none' : `${kind} ${Number(value.toFixed(3))}`,
      network: familiesFor(budget).PreResNet!,
      noise: kind,
      value,
      placement: kind === 'none' ? 'none' : 'before-norm',
    })),
})
