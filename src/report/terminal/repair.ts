import type { Result } from '../../result/result.ts'
import { counted, duration, printable, ratio } from '../format.ts'
import { distillationWords, preservedWords, trainingWords, triedFigures } from '../words.ts'
import type { Page } from './page.ts'
import { pad, wrap } from './text.ts'

export function repair({ repair: done }: Result, { paint, width }: Page): string[] {
  if (!done) return []
  const changed = done.changes.length
  const field = (name: string, text: string) =>
    wrap(text, width - 12).map((line, i) => `  ${paint.dim(pad(i === 0 ? name : '', 10))}${line}`)
  const style =
    done.outcome === 'kept' || done.outcome === 'nothing-to-repair'
      ? paint.green
      : done.outcome === 'forced'
        ? paint.yellow
        : paint.red
  return [
    `${paint.bold('Repair')}  ${printable(done.id)}  ${style(done.outcome.replaceAll('-', ' '))}`,
    ...field('why', printable(done.reason)),
    ...(done.largestRatioByPass.length > 1
      ? field(
          'largest',
          `${done.largestRatioByPass.map((value) => ratio(value)).join(' → ')} in ${counted(done.passes, 'pass', 'passes')} over ${counted(done.samples, 'sample')}`,
        )
      : []),
    ...(changed > 0
      ? field(
          done.outcome === 'rejected' ? 'would set' : 'changed',
          `running mean and variance of ${counted(changed, 'layer')}; ${preservedWords[done.preserves]}`,
        )
      : []),
    ...(done.noises ?? []).flatMap(({ label, from, to }, i) =>
      field(i === 0 ? 'noise' : '', `${printable(label)}: ${from ?? 'nothing'} → ${to ?? 'nothing'}`),
    ),
    ...(done.distillation ? field('distilled', distillationWords(done.distillation)) : []),
    ...(done.training ? field('trained', trainingWords(done.training)) : []),
    ...(done.tried ?? []).flatMap(({ id, why, durationMs, ...figures }, i) =>
      field(
        i === 0 ? 'tried' : '',
        `${printable(id)}: ${[...triedFigures(figures), duration(durationMs)].join(', ')}: ${printable(why)}`,
      ),
    ),
    ...(done.output === null ? [] : field('written', printable(done.output))),
  ]
}
