import {
  type ClassifierCell,
  type ClassifierOutcome,
  classifier,
  classifierGrid,
  families,
  familiesFor,
  outcomesOf,
} from '../classifier.ts'
import { defineStudy } from '../define-study.ts'
import { meanOf, meanText } from '../statistics.ts'
import { method, noiseOf, placements, source } from './common.ts'
import { table3 as published } from './published.ts'

const places = ['a', 'b'] as const

/**
 * Test error at ratio 0.5 as trained, and with the running statistics re-estimated with the noise off.
 * Source: Li et al., arXiv:1801.05134, table 3.
 */
export const table3 = defineStudy<ClassifierCell, ClassifierOutcome>({
  id: 'li-2018/table-3',
  claim: 'Re-estimating the running statistics with the noise off wins back part of what Dropout costs.',
  source: `${source}, table 3`,
  method: `${method} Statistics are re-estimated on 1,000 unlabelled training pictures.`,
  needsData: true,
  minutes: { smoke: 2, small: 60, paper: 40_000 },
  grid: (budget) =>
    classifierGrid(
      budget,
      places.map((place) => noiseOf('dropout', 0.5, placements[place])),
    ),
  experiment: classifier,
  summarise(cells, budget) {
    const networks = familiesFor(budget)
    const rows = families.flatMap((family) =>
      places.flatMap((place) => {
        const found = outcomesOf(cells, { network: networks[family], placement: placements[place] })
        if (found.length === 0) return []
        const gain = found.map((o) => o.errorPercent - o.recalibratedErrorPercent)
        const [before, after] = published[place][family]
        return [
          {
            gain: meanOf(gain),
            lossGain: meanOf(found.map((o) => o.loss - o.recalibratedLoss)),
            row: [
              family,
              place,
              meanText(found.map((o) => o.errorPercent)),
              meanText(found.map((o) => o.recalibratedErrorPercent)),
              meanText(gain),
              meanText(
                found.map((o) => o.loss),
                3,
              ),
              meanText(
                found.map((o) => o.recalibratedLoss),
                3,
              ),
              before,
              after,
              before - after,
              found.length,
            ],
          },
        ]
      }),
    )
    return {
      tables: [
        {
          title: 'Error before and after the statistics are re-estimated',
          columns: [
            'family',
            'placement',
            'as trained %',
            're-estimated %',
            'gain, points',
            'loss as trained',
            'loss re-estimated',
            'published as trained %',
            'published re-estimated %',
            'published gain',
            'seeds',
          ],
          rows: rows.map(({ row }) => row),
        },
      ],
      figures: [],
      conclusions:
        rows.length === 0
          ? []
          : [
              `Error falls in ${rows.filter(({ gain }) => gain > 0).length} of ${rows.length} rows, cross entropy in ${rows.filter(({ lossGain }) => lossGain > 0).length}; the paper's error falls in all 8.`,
            ],
    }
  },
})
