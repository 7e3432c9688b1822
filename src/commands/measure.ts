import { factsOf } from '../analysis/index.ts'
import { weightsInFront } from '../analysis/weights.ts'
import type { ModelFile } from '../formats/define-format.ts'
import type { SetRunningStatistics } from '../ir/edit.ts'
import type { Model } from '../ir/model.ts'
import { measure as measureModel } from '../measure/measure.ts'
import type { Files } from '../platform/files.ts'
import type { Layer, Measurement, Result } from '../result/result.ts'
import { check } from './check.ts'
import { dataFor } from './data.ts'
import { needGraph } from './need-graph.ts'
import { type MeasureOptions, phase } from './options.ts'
import { recalibrated } from './recalibrated.ts'

/**
 * What the layers of the model really see in eval mode on the data, against what they stored, and how the outputs of
 * train, eval and sample mode differ. Throws a UserError if the data does not fit the model.
 */
export async function measure(file: ModelFile, options: MeasureOptions, files: Files): Promise<Result> {
  needGraph(file)
  const { model } = file
  const data = await dataFor(model, options, files)
  const { measurement } = await measureModel(model, data.batches, {
    ...options,
    files,
    modeData: data.trainingBatches,
    onProgress: phase(options, 'measuring'),
  })
  const result: Result = {
    ...check(file, options),
    command: 'measure',
    seed: options.seed ?? 0,
    measurement: withWeights(model, measurement),
  }
  if (!options.statistics || measurement.partial) return result
  const { edits, after } = await recalibrated(model, data, options)
  return { ...result, after: withWeights(model, after.measurement), statistics: statisticsOf(model, edits) }
}

/** What each norm stores once `edits` are applied, for the result JSON. */
export function statisticsOf(
  model: Model,
  edits: readonly SetRunningStatistics[],
): NonNullable<Result['statistics']> {
  const labels = new Map(factsOf(model).norms.map(({ key, label }) => [key, label]))
  return edits.map(({ node, mean, variance }) => ({
    key: node,
    label: labels.get(node) ?? node,
    mean: [...mean],
    variance: [...variance],
  }))
}

/** Adds what the weights in front of each norm tell. */
export function withWeights(model: Model, measurement: Measurement): Measurement {
  const norms = new Map(factsOf(model).norms.map((norm) => [norm.key, norm]))
  const layers = measurement.layers.map((layer): Layer => {
    const norm = norms.get(layer.key)
    const weights = norm && weightsInFront(model, norm)
    return weights ? { ...layer, dCos2: weights.dCos2, weights: weights.label } : layer
  })
  return { ...measurement, layers }
}
