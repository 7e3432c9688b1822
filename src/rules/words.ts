import type { Noise, Prediction } from '../analysis/facts.ts'

/** `1 channel`, `2 channels`; `plural` where adding an s will not do. */
export const counted = (count: number, singular: string, plural = `${singular}s`): string =>
  `${count} ${count === 1 ? singular : plural}`

/** Names shown of a long list. */
const namesShown = 3

/** `a, b, c and 4 more` */
export function someOf(names: readonly string[]): string {
  const shown = names.slice(0, namesShown)
  const rest = names.length - shown.length
  if (rest > 0) return `${shown.join(', ')} and ${rest} more`
  return shown.length > 1 ? `${shown.slice(0, -1).join(', ')} and ${shown.at(-1)}` : (shown[0] ?? 'none')
}

/** `'a', 'b' and 'c'`: names of layers, which may be mere numbers. */
export const someLayers = (labels: readonly string[]): string => someOf(labels.map((label) => `'${label}'`))

/** How people call the noises that are not called by their id. */
const noiseNames: Readonly<Record<string, string>> = {
  gaussian: 'Gaussian dropout',
  uout: 'uniform dropout',
  'moment-preserving': 'moment-preserving dropout',
  'drop-path': 'DropPath',
  'additive-gaussian': 'additive Gaussian noise',
}

/** `dropout 'block1.drop' (ratio 0.5)` */
export function noiseInWords({ kind, label, parameter: { name, value } }: Noise): string {
  const known =
    value === undefined ? `${name} not fixed in the file` : `${name} ${Number(value.toPrecision(3))}`
  return `${noiseNames[kind] ?? kind.replaceAll('-', ' ')} '${label}' (${known})`
}

/** `0.46 times`, `roughly 0.46 times (0.37 to 0.56)` */
export function timesInWords({ layerRatio, layerInterval: [low, high], isRough }: Prediction): string {
  const times = `${Number(layerRatio.toPrecision(3))} times`
  return isRough ? `roughly ${times} (${low.toPrecision(2)} to ${high.toPrecision(2)})` : times
}
