import { factsOf } from '../analysis/index.ts'
import { applyEdits, type SetRunningStatistics } from '../ir/edit.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { type Measured, measure, measureMoments } from '../measure/measure.ts'
import { meanOf } from '../measure/moments.ts'
import { recalibrate } from '../rewrite/repairs/recalibrate.ts'
import type { Data } from './data.ts'
import { phase, type RunOptions } from './options.ts'

export interface Recalibrated {
  readonly edits: readonly SetRunningStatistics[]
  readonly model: Model
  /** The repaired model on the same data. */
  readonly after: Measured
  readonly passes: number
  /** Largest layer shift ratio after each pass. */
  readonly largestRatios: readonly number[]
}

const defaultPasses = 5
const defaultTolerance = 1.01

/**
 * The running statistics under which every layer, in eval mode with all noise off, sees just what it stores.
 *
 * The first pass normalises large batches by their own statistics, which is near that fixed point whatever the file
 * holds, and is the fixed point itself if all samples are one batch. (Measuring in eval mode would see the layers
 * behind a shifted one through the shift.) Further passes in eval mode store what was seen, until the largest layer
 * ratio is below `tolerance`; they need not come nearer each time, so the best pass counts.
 */
export async function recalibrated(
  model: Model,
  data: Data,
  options: RunOptions & { passes?: number; tolerance?: number; samples?: number; modeSamples?: number },
): Promise<Recalibrated> {
  const { passes = defaultPasses, tolerance = defaultTolerance } = options
  const facts = factsOf(model)
  const first = await measureMoments(model, data.largeBatches, 'calibrate', {
    ...options,
    onProgress: phase(options, 're-estimating the running statistics'),
  })
  let edits = recalibrate.plan({ model, facts, statistics: first.moments, choices: {} })
  let best: { ratio: number; repaired: Omit<Recalibrated, 'passes' | 'largestRatios'> } | undefined
  const largestRatios: number[] = []
  for (let pass = 1; ; pass++) {
    const repaired = applyEdits(model, edits)
    const after = await measure(repaired, data.batches, {
      ...options,
      modeData: data.trainingBatches,
      onProgress: phase(options, `checking pass ${pass}`),
    })
    if (after.measurement.partial)
      throw new UserError('stopped before the repair was done; nothing was written')
    const next = recalibrate.plan({ model, facts, statistics: after.moments, choices: {} })
    const ratio = largestChange(edits, next)
    largestRatios.push(ratio)
    if (!best || ratio < best.ratio) best = { ratio, repaired: { edits, model: repaired, after } }
    if (best.ratio < tolerance || pass >= passes) return { ...best.repaired, passes: pass, largestRatios }
    edits = next
  }
}

/** Largest layer ratio between the variances that two plans store. */
function largestChange(from: readonly SetRunningStatistics[], to: readonly SetRunningStatistics[]): number {
  const now = new Map(to.map(({ node, variance }) => [node, variance]))
  let largest = 0
  for (const { node, variance } of from) {
    const other = now.get(node)
    // A layer that was finite and no longer is cannot have come near.
    const ratio = other ? Math.abs(Math.log(meanOf(other) / meanOf(variance))) : Number.POSITIVE_INFINITY
    if (ratio > largest) largest = ratio
  }
  return Math.exp(largest)
}
