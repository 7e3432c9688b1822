import { factsOf } from '../analysis/index.ts'
import type { ModelFile } from '../formats/define-format.ts'
import { applyEdits, type SetRunningStatistics } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { measure as measureModel, shiftedWithoutNoise, unlikeTraining } from '../measure/measure.ts'
import type { Files } from '../platform/files.ts'
import type { Measurement, Result } from '../result/result.ts'
import type { Repair } from '../rewrite/repairs/define-repair.ts'
import { distill } from '../rewrite/repairs/distill.ts'
import { repairCalled } from '../rewrite/repairs/index.ts'
import { recalibrate } from '../rewrite/repairs/recalibrate.ts'
import { check } from './check.ts'
import { dataFor } from './data.ts'
import { fixAuto } from './fix-auto.ts'
import { fixDistilled } from './fix-distilled.ts'
import { fixTrained } from './fix-trained.ts'
import {
  changesOf,
  type Fixed,
  isBroken,
  isShifted,
  judge,
  judgedRepair,
  largestRatio,
  noiseChangesOf,
  nothing,
  outcome,
  written,
} from './fixed.ts'
import { withWeights } from './measure.ts'
import { needGraph } from './need-graph.ts'
import { type FixOptions, phase } from './options.ts'
import { recalibrated } from './recalibrated.ts'

/** Shift ratio of a layer that no noise reaches from which on the data cannot be the training data. */
const largestForeign = 100

/** Samples below which re-estimated statistics are rather worse than shifted ones. */
const fewestSamples = 8

/**
 * Repairs the model in `file` and measures whether that helped. The file itself is not touched: see `save`.
 * Without data and without a repair named, inputs are distilled from the model itself.
 * The repair is kept only if the measured gap shrinks and accuracy (where there are labels) does not fall beyond its
 * confidence interval, or with `force`. Throws a UserError if the data or statistics do not fit the model.
 */
export async function fix(file: ModelFile, options: FixOptions, files: Files): Promise<Fixed> {
  if (options.repair === 'auto') {
    if (options.from) throw new UserError('--repair auto tries and measures; give data, or neither')
    return fixAuto(file, options, files)
  }
  const hasSource = options.data !== undefined || options.from !== undefined
  const chosen = repairCalled(options.repair ?? (hasSource ? recalibrate.id : distill.id))
  if (chosen.id === distill.id) {
    if (options.from)
      throw new UserError(`--repair ${distill.id} finds its own statistics; leave out --from, or the repair`)
    if (options.training)
      throw new UserError(`--repair ${distill.id} works without data, so there is nothing to train on`)
    return fixDistilled(file, options, files)
  }
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
    if (options.training)
      throw new UserError('--from holds statistics, which nothing can be trained on; give labelled data')
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
  if (chosen.needs === 'nothing') return fixModes(file, chosen, options)
  const noises = restructures ? { noises: noiseChangesOf(facts, restructuring) } : {}
  if (options.training) return fixTrained(file, chosen, restructuring, options.training, options, files)
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
      `--repair ${chosen.id} needs samples like those the model was trained on (--data), or moments measured elsewhere (--from); 64 to 256 without labels are enough for most networks`,
    )
  const data = await dataFor(model, { ...options, data: options.data }, files)
  const before = await measureModel(model, data.batches, {
    ...options,
    files,
    modeData: data.trainingBatches,
    onProgress: phase(options, 'measuring'),
  })
  if (before.measurement.partial)
    throw new UserError('stopped before the repair was done; nothing was written')
  const broken = facts.norms.some(isBroken)
  if (before.measurement.layers.length === 0 && !broken)
    throw new UserError(
      `${data.batches.name}: no batch normalization could be measured (${before.measurement.unmeasured[0]?.reason ?? 'none runs'}); nothing was repaired: compare the data with what the model was trained on (--scale, --mean, --std)`,
    )
  const shifted = before.measurement.layers.some(isShifted) || broken
  if (!shifted && !restructures && !options.force) {
    const repair = outcome(
      chosen,
      'nothing-to-repair',
      'no variance shift found: every layer sees in eval mode what it stored',
    )
    const result: Result = {
      ...check(file, options),
      command: 'fix',
      seed: options.seed ?? 0,
      measurement: withWeights(model, before.measurement),
      repair: { ...repair, samples: before.measurement.data.samples },
    }
    return { result, ...nothing }
  }

  const changed = applyEdits(model, restructuring)
  const { edits, after, passes, largestRatios } = await recalibrated(changed, data, options)
  const { samples } = after.measurement.data
  return judgedRepair(
    file,
    {
      repair: chosen,
      before: before.measurement,
      after: after.measurement,
      edits: [...restructuring, ...edits],
      statistics: edits,
      told: {
        ...noises,
        ...(restructures ? { preserves: 'neither' as const } : {}),
        samples,
        passes,
        largestRatioByPass: [largestRatio(before.measurement), ...largestRatios].filter(Number.isFinite),
      },
    },
    options,
    untrusted(model, before.measurement, samples),
  )
}

/** Why statistics re-estimated on the data are not to be trusted, if so. */
function untrusted(model: Model, { layers }: Measurement, samples: number) {
  if (samples < fewestSamples)
    return {
      better: false,
      reason: `${samples === 1 ? '1 sample is' : `${samples} samples are`} too few to re-estimate statistics from; give 64 to 256`,
    }
  const foreign = shiftedWithoutNoise(model, layers)
  return foreign && foreign.shiftRatio > largestForeign
    ? { better: false, reason: unlikeTraining(foreign) }
    : undefined
}

/** A repair of the switches between modes: the file alone settles it, and no figure of either mode changes. */
function fixModes(file: ModelFile, chosen: Repair, options: FixOptions): Fixed {
  const { model } = file
  const facts = factsOf(model)
  const edits = chosen.plan({ model, facts, statistics: new Map(), choices: {} })
  const base: Result = { ...check(file, options), command: 'fix' }
  if (edits.length === 0) {
    const reason = 'the file runs in eval mode already'
    return { result: { ...base, repair: outcome(chosen, 'nothing-to-repair', reason) }, ...nothing }
  }
  const edited = new Set(edits.flatMap((edit) => ('node' in edit ? [edit.node] : [])))
  const norms = facts.norms.filter(({ key }) => edited.has(key)).length
  const noises = edits.length - norms
  const reason = `set to eval mode: batch normalizations ${norms}, noises ${noises}`
  const removed = noiseChangesOf(facts, edits)
  const repair = { ...outcome(chosen, 'kept', reason), ...(removed.length > 0 ? { noises: removed } : {}) }
  return { result: { ...base, repair }, ...written(file, edits) }
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
