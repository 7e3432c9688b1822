import { factsOf } from '../../src/analysis/index.ts'
import { checkDistilled } from '../../src/commands/check-distilled.ts'
import { openModel } from '../../src/formats/open-model.ts'
import { nodeFiles } from '../../src/platform/node.ts'
import type { NormInfo } from '../../src/result/result.ts'
import { expectedOf, pathOf } from './oracle.ts'

/** What is predicted of a layer that noise reaches, as a share of what PyTorch measured; NaN where nothing is. */
export interface PredictedLayer {
  readonly isDirect: boolean
  readonly distilled: number
  readonly formula: number
  /** Eval variance over stored variance, as PyTorch measured it. */
  readonly measured: number
  readonly prediction: NormInfo['prediction']
}

/** What `check --distill` predicts of a recorded network, and what formulas do, against what was measured. */
export async function predictedLayers(
  network: string,
): Promise<{ layers: PredictedLayer[]; notes: readonly string[] }> {
  const file = await openModel(pathOf(network, 'model.onnx'), nodeFiles)
  const { model, norms } = await checkDistilled(file, {}, nodeFiles)
  const { pathsTo, predictions } = factsOf(file.model)
  const recorded = new Map(expectedOf(network).norms.map((row) => [row.module, row.evalOverStored]))
  const layers = norms.flatMap(({ label, key, prediction }) => {
    const kinds = pathsTo.get(key)!.map(({ through }) => through)
    if (kinds.length === 0) return []
    const measured = recorded.get(label)!
    const formula = predictions.get(key)
    return [
      {
        isDirect: kinds.includes('direct'),
        distilled: (prediction?.layerRatio ?? Number.NaN) / measured,
        formula: (formula && 'layerRatio' in formula ? formula.layerRatio : Number.NaN) / measured,
        measured,
        prediction,
      },
    ]
  })
  return { layers, notes: model.notes ?? [] }
}
