import type { StudyFigure } from '../../result/study.ts'
import {
  type ClassifierCell,
  type ClassifierOutcome,
  classifier,
  classifierGrid,
  type Family,
  families,
  familiesFor,
  outcomesOf,
} from '../classifier.ts'
import { defineStudy } from '../define-study.ts'
import { meanOf, meanText, pointOf } from '../statistics.ts'
import { distinct, method, noiseOf, placements, source } from './common.ts'
import { figure4Error, figure4Ratio, ratios } from './published.ts'

const places = ['a', 'b'] as const

/**
 * Test error and mean shift ratio over Dropout's ratio, directly before the last norm of every block (a) and directly
 * before its last convolution (b).
 * Source: Li et al., arXiv:1801.05134, figure 4.
 */
export const figure4 = defineStudy<ClassifierCell, ClassifierOutcome>({
  id: 'li-2018/figure-4',
  claim:
    'Dropout before the last norm of a block costs more than Dropout before its last convolution, and wide networks least.',
  source: `${source}, figure 4`,
  method,
  needsData: true,
  minutes: { smoke: 3, small: 120, paper: 100_000 },
  grid: (budget) =>
    distinct(
      classifierGrid(
        budget,
        places.flatMap((place) =>
          (budget === 'smoke' ? [0, 0.5] : ratios).map((ratio) =>
            noiseOf('dropout', ratio, placements[place]),
          ),
        ),
      ),
    ),
  experiment: classifier,
  summarise(cells, budget) {
    const networks = familiesFor(budget)
    const at = (family: Family, place: 'a' | 'b', ratio: number) =>
      outcomesOf(cells, { network: networks[family], ...noiseOf('dropout', ratio, placements[place]) })
    const rows = families.flatMap((family) =>
      places.flatMap((place) =>
        ratios.flatMap((ratio, i) => {
          const found = at(family, place, ratio)
          if (found.length === 0) return []
          return [
            [
              family,
              place,
              ratio,
              meanText(found.map(({ errorPercent }) => errorPercent)),
              figure4Error[place][family][i] ?? null,
              meanText(found.map(({ meanRatio }) => meanRatio)),
              figure4Ratio[place][family][i] ?? null,
              found.length,
            ],
          ]
        }),
      ),
    )
    const curves = (pick: (o: ClassifierOutcome) => number, title: string, label: string): StudyFigure => ({
      title,
      x: { label: 'drop ratio', scale: 'linear' },
      y: { label, scale: 'linear' },
      note: 'Bands reach from the least to the most over seeds.',
      series: families.flatMap((family) =>
        places.map((place) => ({
          name: `${family}, ${place}`,
          dashed: place === 'b',
          points: ratios.flatMap((x) => {
            const values = at(family, place, x).map(pick)
            return values.length === 0 ? [] : [pointOf(x, values)]
          }),
        })),
      ),
    })
    const loss = (family: Family, place: 'a' | 'b') => {
      const [none, half] = [at(family, place, 0), at(family, place, 0.5)]
      if (none.length === 0 || half.length === 0) return undefined
      return meanOf(half.map((o) => o.errorPercent)) - meanOf(none.map((o) => o.errorPercent))
    }
    const told = families.flatMap((family) => {
      const [a, b] = [loss(family, 'a'), loss(family, 'b')]
      if (a === undefined || b === undefined) return []
      const shift = (place: 'a' | 'b') => meanOf(at(family, place, 0.5).map((o) => o.meanRatio))
      return [{ family, a, b, shiftA: shift('a'), shiftB: shift('b') }]
    })
    const ordered = told.filter(({ a, b }) => a > b)
    const gentlest = told.toSorted((x, y) => x.a - y.a)[0]
    return {
      tables: [
        {
          title: 'Test error and shift ratio',
          columns: [
            'family',
            'placement',
            'ratio',
            'error %',
            'published %',
            'mean shift ratio',
            'published ratio',
            'seeds',
          ],
          rows,
          note: 'Published: CIFAR-10, full training. An interval is that of the mean over seeds at 95 %.',
        },
      ],
      figures: [
        curves((o) => o.errorPercent, 'Test error by drop ratio', 'test error, %'),
        curves((o) => o.meanRatio, 'Mean shift ratio by drop ratio', 'mean shift ratio'),
      ],
      conclusions:
        told.length === 0
          ? []
          : [
              `At ratio 0.5 placement a costs more than placement b in ${ordered.length} of ${told.length} families (${told.map(({ family, a, b }) => `${family} ${a.toFixed(1)} against ${b.toFixed(1)} points`).join(', ')}); the paper finds it in all.`,
              `The mean shift ratio at 0.5 is larger in placement a in ${told.filter(({ shiftA, shiftB }) => shiftA > shiftB).length} of ${told.length} families (${told.map(({ family, shiftA, shiftB }) => `${family} ${shiftA.toFixed(2)} against ${shiftB.toFixed(2)}`).join(', ')}).`,
              `Least hurt in placement a: ${gentlest!.family}; the paper's least hurt on CIFAR-10 are WRN and ResNeXt.`,
            ],
    }
  },
})
