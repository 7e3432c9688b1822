/**
 * How far predicted shift ratios lie from measured ones, on the networks that PyTorch trained and measured
 * (test/oracle/networks): by formula (`check`) and on distilled inputs (`check --distill`).
 *
 *   npm run bench -- predictions
 */

import { factsOf } from '../src/analysis/index.ts'
import { checkDistilled } from '../src/commands/check-distilled.ts'
import { openModel } from '../src/formats/open-model.ts'
import { nodeFiles } from '../src/platform/node.ts'
import { expectedOf, pathOf, recordedNetworks } from '../test/conformance/oracle.ts'

export interface PredictionRow {
  network: string
  norms: 'direct' | 'through layers'
  count: number
  /** Within 10 %, and the largest error in percent; norms that have no prediction count as outside. */
  formula: string
  distilled: string
  /** Measured within the interval that is printed. */
  inInterval: number
  /** Time of `check --distill`. */
  seconds: number
}

export async function benchPredictions(): Promise<PredictionRow[]> {
  const rows: PredictionRow[] = []
  for (const network of recordedNetworks) {
    const file = await openModel(pathOf(network, 'model.onnx'), nodeFiles)
    const start = performance.now()
    const { norms } = await checkDistilled(file, {}, nodeFiles)
    const seconds = Number(((performance.now() - start) / 1000).toFixed(1))
    const { pathsTo, predictions } = factsOf(file.model)
    const measured = new Map(expectedOf(network).norms.map((row) => [row.module, row.evalOverStored]))
    const layers = norms.flatMap(({ label, key, prediction }) => {
      const kinds = pathsTo.get(key)!.map(({ through }) => through)
      const formula = predictions.get(key)
      if (kinds.length === 0) return []
      const real = measured.get(label)!
      const { layerRatio = Number.NaN } = prediction ?? {}
      const [low, high] = prediction?.interval ?? [layerRatio * 0.9, layerRatio * 1.1]
      return [
        {
          isDirect: kinds.includes('direct'),
          distilled: layerRatio / real,
          formula: (formula && 'layerRatio' in formula ? formula.layerRatio : Number.NaN) / real,
          isInside: real > low! && real < high!,
        },
      ]
    })
    for (const isDirect of [true, false]) {
      const group = layers.filter((layer) => layer.isDirect === isDirect)
      if (group.length === 0) continue
      rows.push({
        network,
        norms: isDirect ? 'direct' : 'through layers',
        count: group.length,
        formula: spreadOf(group.map(({ formula }) => formula)),
        distilled: spreadOf(group.map(({ distilled }) => distilled)),
        inInterval: group.filter(({ isInside }) => isInside).length,
        seconds,
      })
    }
  }
  return rows
}

function spreadOf(ratios: readonly number[]): string {
  const errors = ratios.map((ratio) => 100 * Math.abs(ratio - 1)).filter(Number.isFinite)
  if (errors.length === 0) return 'none'
  return `${errors.filter((error) => error < 10).length}, ${Math.max(...errors).toFixed(0)} %`
}
