import type { Layer, NoiseInfo, NormInfo, Result } from '../result/result.ts'

/** How strongly noise reaches a layer, the nearest way of all: see `NoisePath` in analysis. */
export type Reach = 'direct' | 'linear' | 'nonlinear' | 'none'

/** One BatchNormalization in all that a result knows of it: a line of every table, a column of every figure. */
export interface LayerRow {
  /** Position in the figures. */
  readonly position: number
  /** Position among the norms, in graph order. */
  readonly index: number
  readonly label: string
  readonly key: string
  readonly channels: number
  readonly norm: NormInfo | undefined
  readonly before: Layer | undefined
  readonly after: Layer | undefined
  readonly reach: Reach
  readonly noises: readonly NoiseInfo[]
  /** The prediction as a shift ratio (1 or more), to stand beside measured ones. */
  readonly predicted: number | undefined
}

/**
 * Repaired networks stay at or below 1.08 (README, "A real example") in its largest layer, so a layer is called shifted from 1.1 on;
 * from 1.5 on the shift is called strong, as every exposed or downstream layer that cost accuracy there was.
 */
export const shiftedRatio = 1.1
export const strongRatio = 1.5

export type ShiftLevel = 'steady' | 'shifted' | 'strong' | 'unclear'

/** How bad the measured shift of a layer is, in one word. */
export function levelOf(layer: Layer): ShiftLevel {
  if (!Number.isFinite(layer.shiftRatio)) return 'strong'
  if (!layer.enoughSamples) return 'unclear'
  return levelOfRatio(layer.shiftRatio)
}

export function levelOfRatio(shiftRatio: number): ShiftLevel {
  if (shiftRatio >= strongRatio) return 'strong'
  return shiftRatio >= shiftedRatio ? 'shifted' : 'steady'
}

/** The paper's direction-free form of a ratio: always 1 or more. */
export function asShift(realOverStored: number): number {
  return Math.max(realOverStored, 1 / realOverStored)
}

/** All layers of a result in graph order; those of a second model are matched by key, then by label. */
export function layerRows(result: Result): LayerRow[] {
  const { norms, measurement, after } = result
  const noises = new Map(result.noises.map((noise) => [noise.key, noise]))
  const measured = new Map(measurement?.layers.map((layer) => [layer.key, layer]))
  const rest = new Set(after?.layers)
  const afterByKey = new Map(after?.layers.map((layer) => [layer.key, layer]))
  const afterByLabel = new Map(after?.layers.map((layer) => [layer.label, layer]))
  const claim = (key: string, label: string): Layer | undefined => {
    const match = [afterByKey.get(key), afterByLabel.get(label)].find((layer) => layer && rest.has(layer))
    if (match) rest.delete(match)
    return match
  }
  const rows: Omit<LayerRow, 'position'>[] = norms.map((norm) => {
    const { index, label, key, channels } = norm
    const before = measured.get(key)
    measured.delete(key)
    return {
      index,
      label,
      key,
      channels,
      norm,
      before,
      after: claim(key, label),
      reach: reachOf(norm),
      noises: norm.exposures.flatMap(({ noise }) => noises.get(noise) ?? []),
      predicted: norm.prediction ? asShift(norm.prediction.layerRatio) : undefined,
    }
  })
  const bare = (layer: Layer, before: Layer | undefined, second: Layer | undefined) => ({
    index: layer.index,
    label: layer.label,
    key: layer.key,
    channels: layer.channels,
    norm: undefined,
    before,
    after: second,
    reach: 'none' as const,
    noises: [],
    predicted: undefined,
  })
  for (const layer of measured.values()) rows.push(bare(layer, layer, claim(layer.key, layer.label)))
  rows.sort((a, b) => a.index - b.index)
  for (const layer of rest) rows.push(bare(layer, undefined, layer))
  return rows.map((row, position) => ({ position, ...row }))
}

function reachOf({ exposures }: NormInfo): Reach {
  const order = ['direct', 'linear', 'nonlinear'] as const
  return order.find((reach) => exposures.some(({ through }) => through === reach)) ?? 'none'
}

/** The word for a reach in tables. */
export const reachWords: Readonly<Record<Reach, string>> = {
  direct: 'direct',
  linear: 'linear',
  nonlinear: 'behind',
  none: '',
}

/** The layer that shifts most; layers without a finite ratio count as the worst. */
export function worstLayer(layers: readonly Layer[]): Layer | undefined {
  const size = (layer: Layer) =>
    Number.isFinite(layer.shiftRatio) ? layer.shiftRatio : Number.POSITIVE_INFINITY
  let worst: Layer | undefined
  for (const layer of layers) if (!worst || size(layer) > size(worst)) worst = layer
  return worst
}

/** Channel mean of what is stored or measured, over the finite values; null if there are none. */
export function channelMean(values: readonly (number | null)[]): number | null {
  let sum = 0
  let count = 0
  for (const value of values)
    if (value !== null && Number.isFinite(value)) {
      sum += value
      count++
    }
  return count === 0 ? null : sum / count
}
