import type { Result, TrainingInfo } from '../../result/result.ts'
import { counted, duration, integer, percent, printable, significant } from '../format.ts'
import type { Page } from './page.ts'
import { type Column, renderTable } from './table.ts'
import { wrap } from './text.ts'

/** Rows of the curve that are shown; `verbose` shows all. */
const shownEpochs = 10

/** The curve of a training run, and what it cost. */
export function training({ training }: Result, { paint, width, verbose }: Page): string[] {
  if (!training) return []
  const { curve, bestEpoch } = training
  const columns: Column[] = [
    { title: 'epoch' },
    { title: 'rate', expendable: 1 },
    { title: 'loss' },
    { title: 'accuracy' },
    { title: 'validation loss' },
    { title: 'accuracy' },
    { title: 'gradient', expendable: 2 },
    { title: 'time', expendable: 0 },
  ]
  const shown = verbose || curve.length <= shownEpochs ? curve : curve.slice(-shownEpochs)
  const number = (value: number | null | undefined) => (typeof value === 'number' ? significant(value) : '')
  const share = (value: number | null | undefined) => (typeof value === 'number' ? percent(value) : '')
  const rows = shown.map((row) => [
    row.epoch === bestEpoch ? { text: `${row.epoch} best`, style: paint.bold } : String(row.epoch),
    number(row.learningRate),
    number(row.train.loss),
    share(row.train.accuracy),
    number(row.validation?.loss),
    share(row.validation?.accuracy),
    number(row.gradientNorm),
    duration(row.durationMs),
  ])
  return [
    paint.bold('Training'),
    ...(rows.length > 0 ? renderTable(columns, rows, { width, paint }) : []),
    ...wrap(cost(training), width).map(paint.dim),
  ]
}

function cost({ parameters, steps, samplesPerSecond, device, curve, ...rest }: TrainingInfo): string {
  const hidden = curve.length > shownEpochs ? `; ${counted(curve.length, 'epoch')} in all` : ''
  const speed = samplesPerSecond === null ? '' : `, ${integer(Math.round(samplesPerSecond))} samples a second`
  const from = printable(rest.network)
  return `${from}: ${counted(parameters, 'parameter')}, ${counted(steps, 'step')} on ${device}${speed}${hidden}.`
}
