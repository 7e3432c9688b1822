import {
  batchNorm,
  conv,
  flatten,
  globalAveragePool,
  linear,
  network,
  relu,
  sequential,
  sigmoid,
  tanh,
} from '../models/index.ts'
import type { Budget } from '../result/study.ts'
import {
  type Build,
  outcomesOf,
  type Recipe,
  recipeFor,
  scoresOf,
  seedsFor,
  trainClassifier,
} from './classifier.ts'
import { defineStudy } from './define-study.ts'
import { differenceText, meanText } from './statistics.ts'

const activations = { relu, sigmoid, tanh } as const

type Cell = Recipe & {
  /** Activations of the layers: one for all, or `mixed`: in turn. */
  readonly activation: keyof typeof activations | 'mixed'
  /** Where gamma starts. */
  readonly scale: number
}

type Found = {
  readonly errorPercent: number
  readonly loss: number
  /** Training loss of the first epoch: how fast it learns at the start. */
  readonly firstLoss: number
  readonly lastLoss: number
}

const widths = [16, 16, 32, 32, 64] as const

const builderOf =
  ({ activation, scale }: Cell): Build =>
  (options) => {
    const turn = Object.values(activations)
    const at = (i: number) => (activation === 'mixed' ? turn[i % turn.length]! : activations[activation])
    return network(
      sequential([
        ...widths.flatMap((width, i) => [
          conv(width, 3, { padding: 1, stride: i > 0 && width > widths[i - 1]! ? 2 : 1, bias: false }),
          batchNorm({ scale }),
          at(i),
        ]),
        globalAveragePool,
        flatten,
        linear(options.classes),
      ]),
      options,
    )
  }

/**
 * Whether the BN before a ReLU should start at gamma = sqrt(2), as He initialisation doubles the variance of weights
 * because ReLU halves the second moment.
 */
export const normScaleInit = defineStudy<Cell, Found>({
  id: 'norm-scale-init',
  claim: 'Starting gamma at sqrt(2) before ReLU trains faster or better than starting it at 1.',
  source: 'docs/theory.md, open question 1; He et al., arXiv:1502.01852, for the factor 2 of weights',
  method:
    'A plain convolutional network of five conv-BN-activation layers, gamma of all norms at 1 or sqrt(2), everything else alike; pairs of runs share their seed. Differences with 95 % intervals of Student’s t over pairs.',
  needsData: true,
  minutes: { smoke: 1, small: 15, paper: 3000 },
  grid: (budget: Budget) =>
    (['relu', 'sigmoid', 'tanh', 'mixed'] as const).flatMap((activation) =>
      [1, Math.SQRT2].flatMap((scale) =>
        seedsFor(budget, 4).map((seed) => ({ activation, scale, ...recipeFor(budget, seed) })),
      ),
    ),
  experiment: {
    id: 'norm-scale-init',
    version: 1,
    async run(cell, context) {
      const { model, test, losses } = await trainClassifier(builderOf(cell), cell, context)
      return { ...(await scoresOf(model, test, context)), firstLoss: losses[0]!, lastLoss: losses.at(-1)! }
    },
  },
  summarise(cells) {
    const told = (['relu', 'sigmoid', 'tanh', 'mixed'] as const).flatMap((activation) => {
      const [one, root] = [1, Math.SQRT2].map((scale) => outcomesOf(cells, { activation, scale }))
      return one!.length > 0 && one!.length === root!.length ? [{ activation, one: one!, root: root! }] : []
    })
    const measures = [
      ['training loss of the first epoch', 'firstLoss', 3],
      ['training loss at the end', 'lastLoss', 3],
      ['test error %', 'errorPercent', 2],
      ['test loss', 'loss', 3],
    ] as const
    const pick = (found: readonly Found[], name: (typeof measures)[number][1]) => found.map((o) => o[name])
    return {
      tables: [
        {
          title: 'gamma = 1 against sqrt(2)',
          columns: ['activation', 'measure', 'gamma 1', 'gamma sqrt(2)', 'sqrt(2) minus 1, paired', 'seeds'],
          rows: told.flatMap(({ activation, one, root }) =>
            measures.map(([title, name, digits]) => [
              activation,
              title,
              meanText(pick(one, name), digits),
              meanText(pick(root, name), digits),
              differenceText(pick(root, name), pick(one, name), digits),
              one.length,
            ]),
          ),
        },
      ],
      figures: [],
      conclusions: told.map(
        ({ activation, one, root }) =>
          `${activation}: first-epoch training loss ${differenceText(pick(root, 'firstLoss'), pick(one, 'firstLoss'), 3)}; test error ${differenceText(pick(root, 'errorPercent'), pick(one, 'errorPercent'))} points.`,
      ),
    }
  },
})
