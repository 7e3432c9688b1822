import type { Measurement, Result, Severity } from '../result/result.ts'
import {
  counted,
  fileName,
  integer,
  layerName,
  percent,
  predictedTimes,
  printable,
  ratio,
  significant,
  times,
} from './format.ts'
import { levelOf, worstLayer } from './layers.ts'

export interface Verdict {
  readonly tone: 'good' | 'warning' | 'bad' | 'neutral'
  /** The outcome in one sentence. */
  readonly sentence: string
}

/** What a result comes to, in plain words; every report opens or ends with it. */
export function verdictOf(result: Result): Verdict {
  switch (result.command) {
    case 'check':
      return checkVerdict(result)
    case 'measure':
      return measureVerdict(result)
    case 'fix':
      return fixVerdict(result)
    case 'compare':
      return compareVerdict(result)
    case 'train':
      return trainVerdict(result)
  }
}

/** How many findings there are of each severity. */
export function severityCounts({ findings }: Result): Record<Severity, number> {
  const counts = { error: 0, warning: 0, info: 0 }
  for (const { severity } of findings) counts[severity]++
  return counts
}

/** `2 errors`, `1 warning`, `3 notes` */
export function severityTally(count: number, severity: Severity): string {
  return counted(count, severity === 'info' ? 'note' : severity)
}

function checkVerdict(result: Result): Verdict {
  const { findings, model, norms, suppressed } = result
  const { error, warning } = severityCounts(result)
  const tone = error > 0 ? 'bad' : warning > 0 ? 'warning' : findings.length > 0 ? 'neutral' : 'good'
  const exposed = norms.filter(({ exposures }) => exposures.some(({ through }) => through !== 'nonlinear'))
  const predicted = exposed.filter(({ prediction }) => prediction !== undefined)
  const distance = (norm: (typeof norms)[number]) => Math.abs(Math.log(norm.prediction?.layerRatio ?? 1))
  const worst = predicted.reduce(
    (a, b) => (distance(b) > distance(a) ? b : a),
    predicted[0] as (typeof norms)[number],
  )
  if (findings.length === 0) {
    const scope = `${counted(model.norms, 'batch normalization')} and ${counted(model.noises, 'noise')} looked at`
    return { tone, sentence: suppressed > 0 ? `Nothing new found: ${scope}.` : `Nothing found: ${scope}.` }
  }
  if (exposed.length === 0)
    return {
      tone,
      sentence: `${counted(findings.length, 'finding')}; no noise reaches a batch normalization through linear nodes.`,
    }
  const reached = `Noise exposes ${integer(exposed.length)} of ${counted(model.norms, 'batch normalization')}`
  return {
    tone,
    sentence: worst
      ? `${reached}: at inference ${layerName(worst.label)} is predicted to see ${predictedTimes(worst.prediction)} the variance that it stored.`
      : `${reached}; by how much they shift cannot be predicted from the file alone.`,
  }
}

/** Counts of the layers of a measurement by how much they shift. */
export function levelCounts({ layers }: Measurement) {
  const counts = { steady: 0, shifted: 0, strong: 0, unclear: 0 }
  for (const layer of layers) counts[levelOf(layer)]++
  return counts
}

function measureVerdict({ measurement }: Result): Verdict {
  if (!measurement || measurement.layers.length === 0)
    return { tone: 'neutral', sentence: 'No batch normalization could be measured.' }
  const stopped = measurement.partial ? `Stopped after ${counted(measurement.data.samples, 'sample')}: ` : ''
  const sentence = (text: string) => (stopped ? stopped + text.charAt(0).toLowerCase() + text.slice(1) : text)
  const counts = levelCounts(measurement)
  const total = measurement.layers.length
  const shifted = counts.shifted + counts.strong
  const worst = worstLayer(measurement.layers)!
  if (shifted > 0) {
    const seen = Number.isFinite(worst.realOverStored)
      ? `at inference ${layerName(worst.label)} sees ${times(worst.realOverStored)} the variance that it stored`
      : `the statistics of ${layerName(worst.label)} are not finite`
    return {
      tone: counts.strong > 0 ? 'bad' : 'warning',
      sentence: sentence(
        `${integer(shifted)} of ${counted(total, 'layer')} ${shifted === 1 ? 'shifts' : 'shift'}: ${seen}.`,
      ),
    }
  }
  if (counts.unclear > 0)
    return {
      tone: 'neutral',
      sentence: sentence(
        `Too few samples to tell for ${integer(counts.unclear)} of ${counted(total, 'layer')}; the others do not shift.`,
      ),
    }
  const missing = measurement.unmeasured.length
  if (missing > 0)
    return {
      tone: 'warning',
      sentence: sentence(
        `No variance shift in the ${counted(total, 'layer')} that could be measured; ${integer(missing)} could not.`,
      ),
    }
  const moved = measurement.layers.filter(isMoved)
  if (moved.length > 0)
    return {
      tone: 'warning',
      sentence: sentence(
        `Variances agree layer by layer, but in ${integer(moved.length)} of ${counted(total, 'layer')}, ${layerName(moved[0]!.label)} first, channels see other means or variances than they stored.`,
      ),
    }
  return {
    tone: 'good',
    sentence: sentence(
      `No variance shift: all ${counted(total, 'layer')} see at inference what they stored in training (largest ratio ${ratio(worst.shiftRatio)}).`,
    ),
  }
}

/** Whether a tenth of the channels is off, in mean (standard deviations) or variance, though the layer as a whole is not. */
const isMoved = ({ enoughSamples, meanShift, channelRatio }: Measurement['layers'][number]): boolean =>
  enoughSamples &&
  (Math.max(Math.abs(meanShift.q10), Math.abs(meanShift.q90)) > 0.25 ||
    channelRatio.q10 < 0.67 ||
    channelRatio.q90 > 1.5)

function fixVerdict({ repair, measurement, after }: Result): Verdict {
  if (!repair) return { tone: 'neutral', sentence: 'No repair was tried.' }
  const reason = printable(repair.reason)
  switch (repair.outcome) {
    case 'nothing-to-repair':
      return { tone: 'good', sentence: `Nothing to repair: ${reason}` }
    case 'refused':
      return { tone: 'bad', sentence: `Refused: ${reason}` }
    case 'rejected':
      return { tone: 'warning', sentence: `Repair not kept: ${reason}` }
    case 'kept':
    case 'forced': {
      const from = measurement && worstLayer(measurement.layers)?.shiftRatio
      const to = after && worstLayer(after.layers)?.shiftRatio
      const changes = [
        ...(from !== undefined && to !== undefined
          ? [`largest shift ratio ${ratio(from)} → ${ratio(to)}`]
          : []),
        ...accuracyChange(measurement, after),
      ]
      const what = changes.length > 0 ? changes.join(', ') : reason
      return repair.outcome === 'kept'
        ? { tone: 'good', sentence: `Repaired: ${what}.` }
        : { tone: 'warning', sentence: `Written by force: ${what}.` }
    }
  }
}

function accuracyChange(measurement: Measurement | undefined, after: Measurement | undefined): string[] {
  const from = measurement?.modes.eval.accuracy
  const to = after?.modes.eval.accuracy
  return from === undefined || to === undefined ? [] : [`accuracy ${percent(from)} → ${percent(to)}`]
}

function compareVerdict({ model, other, measurement, after, comparison }: Result): Verdict {
  const [a, b] = sideNames({ model, other })
  const from = measurement && worstLayer(measurement.layers)?.shiftRatio
  const to = after && worstLayer(after.layers)?.shiftRatio
  const parts: string[] = []
  if (from !== undefined && to !== undefined) {
    const even = ratio(from) === ratio(to)
    const less = to < from ? b : a
    parts.push(
      even
        ? `Both shift alike (largest ratio ${ratio(from)})`
        : `${less} shifts less: largest ratio ${ratio(Math.min(from, to))} against ${ratio(Math.max(from, to))}`,
    )
  }
  const accuracies = [measurement?.modes.eval.accuracy, after?.modes.eval.accuracy] as const
  if (accuracies[0] !== undefined && accuracies[1] !== undefined)
    parts.push(`accuracy ${percent(accuracies[0])} (${a}) and ${percent(accuracies[1])} (${b})`)
  const top1 = comparison?.agreement.top1
  if (top1 !== undefined && top1 !== null) parts.push(`the two agree on ${percent(top1)} of the samples`)
  return {
    tone: 'neutral',
    sentence: parts.length > 0 ? `${parts.join('; ')}.` : `${a} and ${b}, side by side.`,
  }
}

function trainVerdict({ training }: Result): Verdict {
  const last = training?.curve.find(({ epoch }) => epoch === training.bestEpoch) ?? training?.curve.at(-1)
  if (!training || !last)
    return { tone: 'neutral', sentence: 'Training stopped before the first epoch was done.' }
  const { train, validation } = last
  const figures = validation ?? train
  const what = [
    ...(figures.accuracy === null ? [] : [`accuracy ${percent(figures.accuracy)}`]),
    ...(figures.loss === null ? [] : [`loss ${significant(figures.loss)}`]),
  ].join(', ')
  const where = validation
    ? 'on the validation samples'
    : 'on the training samples, as the parameters changed'
  const after = `after ${counted(last.epoch, 'epoch')}`
  if (training.ended === 'interrupted')
    return {
      tone: 'warning',
      sentence: `Stopped at step ${integer(training.steps)}: ${what} ${where} ${after}.`,
    }
  const early = training.ended === 'early-stopping' ? 'Stopped early' : 'Trained'
  return { tone: 'good', sentence: `${early}: ${what} ${where} ${after}.` }
}

/** What the two measurements of a result are called: files when comparing, before and after when repairing. */
export function sideNames({
  command,
  model,
  other,
}: Pick<Result, 'model' | 'other'> & { readonly command?: Result['command'] }): [string, string] {
  if (command !== undefined && command !== 'compare') return ['before', 'after']
  const a = fileName(model.path)
  const b = fileName(other?.path ?? 'second')
  return a === b ? [printable(model.path), printable(other?.path ?? 'second')] : [a, b]
}
