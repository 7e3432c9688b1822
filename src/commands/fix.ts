import type { Facts, Norm } from '../analysis/facts.ts'
import { factsOf } from '../analysis/index.ts'
import type { Companion, ModelFile } from '../formats/define-format.ts'
import { applyEdits, type Edit, type NoiseNode, noiseEdits, type SetRunningStatistics } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import { measure as measureModel } from '../measure/measure.ts'
import { meanOf, quantilesOf } from '../measure/moments.ts'
import { noiseUnit } from '../ops/noises/index.ts'
import type { Files } from '../platform/files.ts'
import type { Layer, Measurement, RepairInfo, Result } from '../result/result.ts'
import type { Repair } from '../rewrite/repairs/define-repair.ts'
import { repairCalled } from '../rewrite/repairs/index.ts'
import { recalibrate } from '../rewrite/repairs/recalibrate.ts'
import { check } from './check.ts'
import { dataFor } from './data.ts'
import { statisticsOf, withWeights } from './measure.ts'
import { needGraph } from './need-graph.ts'
import { type FixOptions, phase } from './options.ts'
import { recalibrated } from './recalibrated.ts'

export interface Fixed {
  readonly result: Result
  /** What the repair changes; empty if it was not kept. */
  readonly edits: readonly Edit[]
  /** The repaired file, to be written by `save`; undefined if there is nothing to write. */
  readonly chunks: readonly Uint8Array[] | undefined
  /** Files beside it that the repair changes too. */
  readonly companions: readonly Companion[]
}

/**
 * Repairs the model in `file` and measures whether that helped. The file itself is not touched: see `save`.
 * The repair is kept only if the measured gap shrinks and accuracy (where there are labels) does not fall beyond its
 * confidence interval, or with `force`. Throws a UserError if the data or statistics do not fit the model.
 */
export async function fix(file: ModelFile, options: FixOptions, files: Files): Promise<Fixed> {
  const chosen = repairCalled(options.repair ?? recalibrate.id)
  const { model } = file
  const facts = factsOf(model)
  const { choices = {} } = options
  const restructures = chosen.needs === 'training'
  const restructuring = restructures ? chosen.plan({ model, facts, statistics: new Map(), choices }) : []
  if (options.from) {
    if (restructures)
      throw new UserError(
        `--repair ${chosen.id} changes the noise, and moments measured elsewhere are those of the model as it is; give data, or neither`,
      )
    return fixFrom(file, options.from, options)
  }
  needGraph(file)
  if (restructures && restructuring.length === 0)
    return {
      result: {
        ...check(file, options),
        command: 'fix',
        repair: outcome(chosen, 'nothing-to-repair', 'no noise of the model reaches a batch normalization'),
      },
      ...nothing,
    }
  const noises = restructures ? { noises: noisesChanged(facts, restructuring) } : {}
  if (restructures && options.data === undefined) {
    const reason =
      'the noise is changed; the weights and statistics are still those trained with the old one: train the model on, or repair with data as well'
    return {
      result: {
        ...check(file, options),
        command: 'fix',
        repair: { ...outcome(chosen, 'kept', reason), ...noises },
      },
      ...written(file, restructuring),
    }
  }
  if (options.data === undefined)
    throw new UserError(
      'fix needs samples like those the model was trained on (--data), or moments measured elsewhere (--from); 64 to 256 without labels are enough for most networks',
    )
  const data = await dataFor(model, { ...options, data: options.data }, files)
  const before = await measureModel(model, data.batches, {
    ...options,
    modeData: data.trainingBatches,
    onProgress: phase(options, 'measuring'),
  })
  if (before.measurement.partial)
    throw new UserError('stopped before the repair was done; nothing was written')
  const base: Result = {
    ...check(file, options),
    command: 'fix',
    seed: options.seed ?? 0,
    measurement: withWeights(model, before.measurement),
  }
  const shifted = before.measurement.layers.some(isShifted) || facts.norms.some(isBroken)
  if (!shifted && !restructures && !options.force) {
    const repair = outcome(
      chosen,
      'nothing-to-repair',
      'no variance shift found: every layer sees in eval mode what it stored',
    )
    return {
      result: { ...base, repair: { ...repair, samples: before.measurement.data.samples } },
      ...nothing,
    }
  }

  const changed = applyEdits(model, restructuring)
  const { edits, after, passes, largestRatios } = await recalibrated(changed, data, options)
  const verdict = judge(before.measurement, after.measurement)
  const kept = verdict.better || options.force
  const largestBefore = largestRatio(before.measurement)
  const repair: RepairInfo = {
    ...outcome(chosen, verdict.better ? 'kept' : options.force ? 'forced' : 'rejected', verdict.reason),
    ...noises,
    ...(restructures ? { preserves: 'neither' as const } : {}),
    samples: after.measurement.data.samples,
    passes,
    largestRatioByPass: [largestBefore, ...largestRatios].filter(Number.isFinite),
    changes: changesOf(facts.norms, edits),
  }
  const result: Result = {
    ...base,
    after: noteOnSampling(withWeights(changed, after.measurement), factsOf(changed).noises.length),
    repair,
    statistics: statisticsOf(model, edits),
  }
  return kept ? { result, ...written(file, [...restructuring, ...edits]) } : { result, ...nothing }
}

/** The repair from statistics that `measure` found elsewhere; nothing can be measured here. */
function fixFrom(file: ModelFile, from: Result, options: FixOptions): Fixed {
  const { model } = file
  const { norms } = factsOf(model)
  if (!from.statistics)
    throw new UserError(
      'the result holds no statistics to repair with; make it with `varshift measure MODEL --data DATA -o shift.json`',
    )
  // A state dictionary is not what was measured: its layers are those that go by the same path.
  const isOther = file.withoutGraph !== undefined
  if (!isOther && from.model.sha256 && file.sha256 && from.model.sha256 !== file.sha256)
    throw new UserError(
      `the statistics were measured on another file (sha256 ${from.model.sha256.slice(0, 12)}..., this one is ${file.sha256.slice(0, 12)}...); measure this one`,
    )
  const channels = new Map(norms.map((norm) => [norm.key, norm.mean?.length]))
  const edits = from.statistics.map(({ key: measured, label, mean, variance }): SetRunningStatistics => {
    const key = isOther ? label : measured
    const expected = channels.get(key)
    if (expected === undefined || mean.length !== expected || variance.length !== expected)
      throw new UserError(
        `the statistics do not fit the model: '${label}' has ${expected ?? 'no'} channels here and ${mean.length} in the statistics`,
      )
    if (variance.some((v) => v < 0))
      throw new UserError(`the statistics of '${label}' hold a negative variance`)
    return {
      kind: 'set-running-statistics',
      node: key,
      mean: Float64Array.from(mean),
      variance: Float64Array.from(variance),
    }
  })
  const verdict: { better: boolean; reason: string } =
    from.measurement && from.after
      ? judge(from.measurement, from.after)
      : { better: true, reason: 'statistics taken from the result as they are' }
  const kept = verdict.better || options.force
  const result: Result = {
    ...check(file, options),
    command: 'fix',
    ...(from.seed === undefined ? {} : { seed: from.seed }),
    ...(from.measurement ? { measurement: from.measurement } : {}),
    ...(from.after ? { after: from.after } : {}),
    repair: {
      ...outcome(
        recalibrate,
        verdict.better ? 'kept' : options.force ? 'forced' : 'rejected',
        `${verdict.reason} (as measured elsewhere)`,
      ),
      samples: from.after?.data.samples ?? 0,
      changes: changesOf(norms, edits),
    },
  }
  return kept ? { result, ...written(file, edits) } : { result, ...nothing }
}

const nothing = { edits: [], chunks: undefined, companions: [] } as const

const written = (file: ModelFile, edits: readonly Edit[]) => ({
  edits,
  chunks: file.write(edits),
  companions: file.writeCompanions?.(edits) ?? [],
})

const outcome = (repair: Repair, kind: RepairInfo['outcome'], reason: string): RepairInfo => ({
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

/** What the edits do to noises, in words. */
function noisesChanged(facts: Facts, edits: readonly Edit[]): NonNullable<RepairInfo['noises']> {
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

const isShifted = (layer: Layer): boolean =>
  layer.shiftRatioInterval[0] > smallRatio ||
  Math.max(Math.abs(layer.meanShift.q10), Math.abs(layer.meanShift.q90)) > smallMeanShift

/** Whether the norm stores what can be no variance: its layer, and often all behind, cannot be measured at all. */
const isBroken = ({ variance }: Norm): boolean =>
  variance !== undefined && !(meanOf(variance) > 0 && variance.every((v) => v >= 0 && Number.isFinite(v)))

const largestRatio = ({ layers }: Measurement): number =>
  Math.max(...layers.map(({ shiftRatio }) => shiftRatio))

/** Mean over layers of |log ratio|: the whole gap in one number. */
const gapOf = ({ layers }: Measurement): number =>
  meanOf(layers.map(({ shiftRatio }) => Math.log(shiftRatio)))

/** Whether `after` is a repair of `before`, and why, in words. */
export function judge(before: Measurement, after: Measurement): { better: boolean; reason: string } {
  const ratio = (m: Measurement) => largestRatio(m).toFixed(2)
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
    return { better: true, reason: `${gap}; ${accuracy}` }
  }
  return { better: true, reason: gap }
}

const meanShiftOf = ({ layers }: Measurement): number =>
  meanOf(layers.map(({ meanShift }) => Math.max(Math.abs(meanShift.q10), Math.abs(meanShift.q90))))

function changesOf(norms: readonly Norm[], edits: readonly SetRunningStatistics[]): RepairInfo['changes'] {
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
