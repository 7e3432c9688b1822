/**
 * How far predicted shift ratios lie from measured ones, on the networks that PyTorch trained and measured
 * (test/oracle/networks): by formula (`check`) and on distilled inputs (`check --distill`).
 *
 *   npm run bench -- predictions
 */
import { recordedNetworks } from '../test/conformance/oracle.ts'
import { type PredictedLayer, predictedLayers } from '../test/conformance/predictions.ts'

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
    const start = performance.now()
    const { layers } = await predictedLayers(network)
    const seconds = Number(((performance.now() - start) / 1000).toFixed(1))
    for (const isDirect of [true, false]) {
      const group = layers.filter((layer) => layer.isDirect === isDirect)
      if (group.length === 0) continue
      rows.push({
        network,
        norms: isDirect ? 'direct' : 'through layers',
        count: group.length,
        formula: spreadOf(group.map(({ formula }) => formula)),
        distilled: spreadOf(group.map(({ distilled }) => distilled)),
        inInterval: group.filter(isInside).length,
        seconds,
      })
    }
  }
  return rows
}

/** Where no interval is printed, the formula is exact, to 10 %. */
function isInside({ measured, prediction }: PredictedLayer): boolean {
  if (!prediction) return false
  const { layerRatio, interval: [low, high] = [layerRatio * 0.9, layerRatio * 1.1] } = prediction
  return measured > low! && measured < high!
}

function spreadOf(ratios: readonly number[]): string {
  const errors = ratios.map((ratio) => 100 * Math.abs(ratio - 1)).filter(Number.isFinite)
  if (errors.length === 0) return 'none'
  return `${errors.filter((error) => error < 10).length}, ${Math.max(...errors).toFixed(0)} %`
}
