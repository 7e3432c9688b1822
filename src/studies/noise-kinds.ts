import type { Budget } from '../result/study.ts'
import { type ClassifierOutcome, familiesFor } from './classifier.ts'
import { defineComparison } from './comparison.ts'
import { pointOf } from './statistics.ts'

/** Relative variances that every kind is tried at: those of Uout with beta 0.1, 0.5 and 1. */
const relativeVariances = [0.01 / 3, 0.25 / 3, 1 / 3] as const

/** What a budget runs of them. */
const variancesFor = (budget: Budget): readonly number[] =>
  ({
    smoke: relativeVariances.slice(2),
    small: [relativeVariances[0], relativeVariances[2]],
    paper: relativeVariances,
  })[budget]

const ratioOf = ({ meanRatio }: ClassifierOutcome) => meanRatio

const kinds = ['dropout', 'gaussian', 'uout', 'spatial-dropout', 'drop-path', 'moment-preserving'] as const

/** Parameter that gives a kind of noise the relative variance `s2`. */
function parameterOf(kind: (typeof kinds)[number], s2: number): number {
  switch (kind) {
    case 'gaussian':
      return Math.sqrt(s2)
    case 'uout':
      return Math.sqrt(3 * s2)
    default:
      return s2 / (1 + s2)
  }
}

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
    'PreResNet with each kind of noise before the last norm of every block, at relative variances of Uout with beta 0.1, 0.5 and 1, the last that of Dropout 0.25 (`small` leaves out 0.5, `smoke` runs 1 alone). Moment-preserving Dropout draws that relative variance and then rescales it away.',
  minutes: { smoke: 3, small: 20, paper: 12_000 },
  seeds: 2,
  variants: (budget) => [
    { name: 'none', network: familiesFor(budget).PreResNet, noise: 'none', value: 0, placement: 'none' },
    ...variancesFor(budget).flatMap((s2) =>
      kinds.map((kind) => ({
        name: `${kind} at ${s2.toFixed(4)}`,
        network: familiesFor(budget).PreResNet,
        noise: kind,
        value: parameterOf(kind, s2),
        placement: 'before-norm',
      })),
    ),
  ],
  figures: (told) => {
    const [without] = told
    return [
      {
        title: 'Shift by kind and strength',
        x: { label: 'relative variance', scale: 'linear' },
        y: { label: 'mean shift ratio', scale: 'linear' },
        series: kinds.map((kind) => ({
          name: kind,
          points: [
            ...(without?.noise === 'none' ? [pointOf(0, without.found.map(ratioOf))] : []),
            ...relativeVariances.flatMap((s2) =>
              told
                .filter(({ noise, value }) => noise === kind && value === parameterOf(kind, s2))
                .map(({ found }) => pointOf(s2, found.map(ratioOf))),
            ),
          ],
        })),
      },
    ]
  },
})
