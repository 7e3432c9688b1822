import type { Measurement, Result, Score } from '../../result/result.ts'
import { counted, percent, percentInterval, significant } from '../format.ts'
import { sideNames } from '../verdict.ts'
import { modeNames } from '../words.ts'
import { columnNames, type Page } from './page.ts'
import { type Column, renderTable, type TableRow } from './table.ts'
import { wrap } from './text.ts'

const modeWords = {
  train: ['on', 'batch'],
  eval: ['off', 'running'],
  sample: ['on', 'running'],
} as const

export function modes(result: Result, { paint, width }: Page): string[] {
  const sides = [result.measurement, result.after].filter((side) => side !== undefined)
  const two = sides.length > 1
  const names = sideNames(result)
  const columns: Column[] = [
    { title: 'mode' },
    { title: 'noise', expendable: 3 },
    { title: 'statistics', expendable: 2 },
    { title: '', flexible: true },
    { title: 'accuracy' },
    { title: 'loss', expendable: 0 },
    { title: 'as eval', expendable: 1 },
  ]
  const rows = modeNames.flatMap((mode) =>
    sides.flatMap((side, i): TableRow[] => {
      const score = side.modes[mode]
      if (!score) return []
      const [noise, statistics] = i === 0 ? modeWords[mode] : ['', '']
      return [
        [
          { text: i === 0 ? mode : '', style: paint.bold },
          noise,
          statistics,
          two ? columnNames(result)[i]! : '',
          scoreText(score, 'accuracy'),
          scoreText(score, 'loss'),
          agreementWithEval(side, mode),
        ],
      ]
    }),
  )
  const scored = sides.some(({ modes }) =>
    modeNames.some((mode) => modes[mode]?.accuracy !== undefined || modes[mode]?.loss !== undefined),
  )
  const agreeing = sides.some((side) =>
    modeNames.some((mode) => side.modes[mode] && agreementWithEval(side, mode) !== ''),
  )
  const agreement = result.comparison?.agreement
  if (!scored && !agreeing && !agreement) return []
  return [
    paint.bold('Modes'),
    ...renderTable(columns, rows, { width, paint }),
    ...(agreement
      ? wrap(
          `${names[0]} and ${names[1]} give the same answer on ${percent(agreement.top1)} of ${counted(agreement.samples, 'sample')}${agreement.top1Interval ? ` (${percentInterval(agreement.top1Interval)})` : ''}; divergence ${significant(agreement.divergence)} nats.`,
          width,
        )
      : !agreeing
        ? []
        : wrap('as eval: share of samples with the same answer as in eval mode.', width).map(paint.dim)),
  ]
}

function scoreText(score: Score, what: 'accuracy' | 'loss'): string {
  const value = score[what]
  if (value === undefined) return ''
  const interval = what === 'accuracy' ? score.accuracyInterval : score.lossInterval
  if (what === 'accuracy')
    return `${percent(value)}${interval ? ` (${percentInterval(interval).replace(' %', '')})` : ''}`
  return `${significant(value)}${interval ? ` (${significant(interval[0])}–${significant(interval[1])})` : ''}`
}

function agreementWithEval({ modes: { agreements } }: Measurement, mode: string): string {
  if (mode === 'eval') return ''
  const match = agreements.find(({ a, b }) => (a === mode && b === 'eval') || (a === 'eval' && b === mode))
  return match ? percent(match.top1) : ''
}
