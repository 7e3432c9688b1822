import type { Facts, Norm } from '../analysis/facts.ts'
import { factsOf } from '../analysis/index.ts'
import type { Companion, ModelFile } from '../formats/define-format.ts'
import { applyEdits, type Edit, type NoiseNode, noiseEdits, type SetRunningStatistics } from '../ir/edit.ts'
import { meanOf, quantilesOf } from '../measure/moments.ts'
import { noiseUnit } from '../ops/noises/index.ts'
import type { Layer, Measurement, RepairInfo, Result } from '../result/result.ts'
import type { Repair } from '../rewrite/repairs/define-repair.ts'
import { check } from './check.ts'
import { statisticsOf, withWeights } from './measure.ts'
import type { FixOptions } from './options.ts'

export interface Fixed {
  readonly result: Result
  /** What the repair changes; empty if it was not kept. */
  readonly edits: readonly Edit[]
  /** The repaired file, to be written by `save`; undefined if there is nothing to write. */
  readonly chunks: readonly Uint8Array[] | undefined
  /** Files beside it that the repair changes too. */
  readonly companions: readonly Companion[]
}

export const nothing = { edits: [], chunks: undefined, companions: [] } as const

export const written = (file: ModelFile, edits: readonly Edit[]) => ({
  edits,
  chunks: file.write(edits),
  companions: file.writeCompanions?.(edits) ?? [],
})

export const outcome = (
  repair: Pick<Repair, 'id' | 'preserves'>,
  kind: RepairInfo['outcome'],
  reason: string,
): RepairInfo => ({
  id: repair.id,
  outcome: kind,
  reason,
  samples: 0,
  passes: 0,
  largestRatioByPass: [],
  changes: [],
  preserves: repair.preserves,
  output: null,
})

/** A repair that was carried out and measured. */
export interface Repaired {
  readonly repair: Pick<Repair, 'id' | 'preserves'>
  readonly before: Measurement
  readonly after: Measurement
  /** All that changes in the file, the statistics included. */
  readonly edits: readonly Edit[]
  readonly statistics: readonly SetRunningStatistics[]
  /** What the report tells of this repair beside the verdict. */
  readonly told: Partial<RepairInfo>
}

/** Keeps the repair if it is better, or with `force`, and tells what was measured. */
export function judgedRepair(
  file: ModelFile,
  { repair, before, after, edits, statistics, told }: Repaired,
  options: FixOptions,
  { better, reason } = judge(before, after),
): Fixed {
  const { model } = file
  const repaired = applyEdits(model, edits)
  const result: Result = {
    ...check(file, options),
    command: 'fix',
    seed: options.seed ?? 0,
    measurement: withWeights(model, before),
    after: noteOnSampling(withWeights(repaired, after), factsOf(repaired).noises.length),
    repair: {
      ...outcome(repair, better ? 'kept' : options.force ? 'forced' : 'rejected', reason),
      largestRatioByPass: [before, after].map(largestRatio).filter(Number.isFinite),
      changes: changesOf(factsOf(model).norms, statistics),
      ...told,
    },
    statistics: statisticsOf(model, statistics),
  }
  return better || options.force ? { result, ...written(file, edits) } : { result, ...nothing }
}

/** What the edits do to noises, in words. */
export function noiseChangesOf(facts: Facts, edits: readonly Edit[]): NonNullable<RepairInfo['noises']> {
  const byKey = new Map(facts.noises.map((noise) => [noise.key, noise]))
  const inWords = (kind: string, name: string, value: number | undefined) =>
    `${kind}, ${name} ${value === undefined ? 'unknown' : Number(value.toPrecision(4))}`
  const added = ({ noise, parameter }: NoiseNode) =>
    inWords(noise, noiseUnit(noise).parameter.name, parameter)
  return noiseEdits(edits).map((edit) => {
    if (edit.kind === 'insert-noise') return { label: edit.noise.label, from: null, to: added(edit.noise) }
    const { label, kind, parameter } = byKey.get(edit.node)!
    return {
      label,
      from: inWords(kind, parameter.name, parameter.value),
      to: edit.by ? added(edit.by) : null,
    }
  })
}

/** Statistics for the noise off are no longer right for the noise on. */
function noteOnSampling(after: Measurement, noises: number): Measurement {
  if (noises === 0 || !after.modes.sample) return after
  const note =
    'the repaired statistics hold for the noise off: for Monte Carlo dropout (sample mode) keep the original file'
  return { ...after, notes: [...after.notes, note] }
}

/** Shift ratio, and mean shift in standard deviations, below which a layer counts as unshifted. */
const smallRatio = 1.01
const smallMeanShift = 0.1

export const isShifted = (layer: Layer): boolean =>
  layer.shiftRatioInterval[0] > smallRatio ||
  Math.max(Math.abs(layer.meanShift.q10), Math.abs(layer.meanShift.q90)) > smallMeanShift

/** Whether the norm stores what can be no variance: its layer, and often all behind, cannot be measured at all. */
export const isBroken = ({ variance }: Norm): boolean =>
  variance !== undefined && !(meanOf(variance) > 0 && variance.every((v) => v >= 0 && Number.isFinite(v)))

export const largestRatio = ({ layers }: Measurement): number =>
  Math.max(...layers.map(({ shiftRatio }) => shiftRatio))

/** Mean over layers of |log ratio|: the whole gap in one number. */
const gapOf = ({ layers }: Measurement): number =>
  meanOf(layers.map(({ shiftRatio }) => Math.log(shiftRatio)))

/** Whether `after` is a repair of `before`, and why, in words. */
export function judge(before: Measurement, after: Measurement): { better: boolean; reason: string } {
  const ratio = (m: Measurement) => largestRatio(m).toFixed(2)
  const kept = new Set(after.layers.map(({ key }) => key))
  const lost = before.layers.filter(({ key }) => !kept.has(key))
  if (lost.length > 0)
    return {
      better: false,
      reason: `what ${lost.map(({ label }) => `'${label}'`).join(', ')} would store is no variance: these samples do not vary there; give more of them, or others`,
    }
  const measurable = after.layers.length - before.layers.length
  if (measurable > 0)
    return {
      better: true,
      reason: `layers that could not be measured before, and can be now: ${measurable}; largest layer shift ratio ${ratio(after)} after`,
    }
  const gap = `largest layer shift ratio ${ratio(before)} before, ${ratio(after)} after`
  if (!(gapOf(after) < gapOf(before)) && !(meanShiftOf(after) < meanShiftOf(before)))
    return { better: false, reason: `the measured gap did not shrink: ${gap}` }
  const [old, now] = [before.modes.eval, after.modes.eval]
  if (old.accuracy !== undefined && now.accuracy !== undefined && old.accuracyInterval) {
    const percent = (share: number) => `${(100 * share).toFixed(1)} %`
    const accuracy = `accuracy ${percent(old.accuracy)} before, ${percent(now.accuracy)} after`
    if (now.accuracy < old.accuracyInterval[0])
      return { better: false, reason: `${gap}, but ${accuracy}: it fell beyond its confidence interval` }
    const risen = lossRise(old, now)
    // Worse probabilities are told, though accuracy alone decides.
    const warning = risen
      ? `; but cross entropy rose beyond its interval, ${risen}: do not trust its probabilities unseen`
      : ''
    return { better: true, reason: `${gap}; ${accuracy}${warning}` }
  }
  return { better: true, reason: gap }
}

type Score = Measurement['modes']['eval']

/** Cross entropy before and after, in words, where it rose beyond its interval. */
export function lossRise(old: Score, now: Score): string | undefined {
  if (old.loss === undefined || now.loss === undefined || !old.lossInterval) return undefined
  return now.loss > old.lossInterval[1]
    ? `${old.loss.toPrecision(3)} before, ${now.loss.toPrecision(3)} after`
    : undefined
}

const meanShiftOf = ({ layers }: Measurement): number =>
  meanOf(layers.map(({ meanShift }) => Math.max(Math.abs(meanShift.q10), Math.abs(meanShift.q90))))

export function changesOf(
  norms: readonly Norm[],
  edits: readonly SetRunningStatistics[],
): RepairInfo['changes'] {
  const byKey = new Map(norms.map((norm) => [norm.key, norm]))
  return edits.flatMap(({ node, mean, variance }) => {
    const norm = byKey.get(node)
    if (!norm?.mean || !norm.variance) return []
    const old = { mean: norm.mean, variance: norm.variance }
    const ratios = variance.map((v, c) => v / old.variance[c]!).filter(Number.isFinite)
    const moves = mean
      .map((m, c) => Math.abs(m - old.mean[c]!) / Math.sqrt(old.variance[c]! + norm.epsilon))
      .filter(Number.isFinite)
    // Where what was stored is no variance, there is nothing to compare with.
    if (ratios.length === 0 || moves.length === 0) return []
    return [
      {
        label: norm.label,
        key: node,
        meanChange: moves.reduce((most, move) => Math.max(most, move), 0),
        varianceRatio: quantilesOf(ratios),
      },
    ]
  })
}
