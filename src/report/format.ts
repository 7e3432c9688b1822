import type { NormInfo } from '../result/result.ts'

/** How the reports write numbers and names. A null in a result stands for a number that was not finite. */
type Figure = number | null | undefined

/** What is shown for a number that is not finite; a result JSON cannot tell infinity from not-a-number. */
export const nonFinite = '∞/NaN'

function finite(value: Figure): value is number {
  return value !== undefined && value !== null && Number.isFinite(value)
}

/** Three significant digits: `0.0123`, `12.3`, `1,234`, `1.23e-7`. */
export function significant(value: Figure): string {
  if (!finite(value)) return nonFinite
  const size = Math.abs(value)
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace('e+', 'e')
  return size >= 100 ? integer(value) : value.toPrecision(3)
}

/** A ratio or another figure that is read to two decimals: `1.02`, `12.3`, `456`. */
export function ratio(value: Figure): string {
  if (!finite(value)) return nonFinite
  const size = Math.abs(value)
  if (size >= 1e5) return value.toExponential(1).replace('e+', 'e')
  return value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2)
}

/** A factor, by which something is multiplied; small ones keep two digits: `2.20`, `0.46`, `0.0031`. */
function factor(value: number): string {
  return value > 0 && value < 0.0995 ? value.toPrecision(2) : ratio(value)
}

/** A factor with the multiplication sign: `2.20×`. */
export function times(value: Figure): string {
  return finite(value) ? `${factor(value)}×` : nonFinite
}

/** A figure with its sign: `+0.12`, `−0.30`, `0.00`. */
export function signed(value: Figure): string {
  if (!finite(value)) return nonFinite
  const text = ratio(Math.abs(value))
  if (Number(text) === 0) return text
  return value < 0 ? `−${text}` : `+${text}`
}

/** A share as a percentage: `72.1 %`. */
export function percent(share: Figure): string {
  return finite(share) ? `${(100 * share).toFixed(1)} %` : nonFinite
}

/** Two shares: `70.7–73.5 %`. */
export function percentInterval([low, high]: readonly [Figure, Figure]): string {
  if (!finite(low) || !finite(high)) return nonFinite
  return `${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)} %`
}

/** `2.15–2.26` */
export function ratioInterval([low, high]: readonly [Figure, Figure]): string {
  return finite(low) && finite(high) ? `${factor(low)}–${factor(high)}` : nonFinite
}

/** `0.46×`, `roughly 0.46× (0.37–0.56)` */
export function predictedTimes(prediction: NormInfo['prediction']): string {
  const shown = times(prediction?.layerRatio)
  return prediction?.interval ? `roughly ${shown} (${ratioInterval(prediction.interval)})` : shown
}

/** `12,345` */
export function integer(value: Figure): string {
  if (!finite(value)) return nonFinite
  const digits = Math.abs(value).toFixed(0)
  return (value < 0 && digits !== '0' ? '−' : '') + digits.replace(/\B(?=(\d{3})+(?!\d))/g, ',')
}

/** Decimal units: `421.9 kB`. */
export function bytes(sizeBytes: Figure): string {
  if (!finite(sizeBytes)) return nonFinite
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let size = sizeBytes
  let unit = 0
  while (size >= 999.95 && unit < units.length - 1) {
    size /= 1000
    unit++
  }
  return `${unit === 0 ? integer(size) : size.toFixed(1)} ${units[unit]}`
}

/** `1 layer`, `2 layers`; `plural` where adding an s will not do. */
export function counted(count: number, singular: string, plural = `${singular}s`): string {
  return `${integer(count)} ${count === 1 ? singular : plural}`
}

/**
 * A name or message from a file, made safe to look at: control characters become their visible pictures and the
 * characters that reorder text become a replacement character, so that a file cannot drive a terminal.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cs}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.charCodeAt(0)
    if (code < 0x20) return String.fromCharCode(0x2400 + code)
    return code === 0x7f ? '\u2421' : '\ufffd'
  })
}

/** The name of a layer as it is shown; some files leave it empty. */
export function layerName(label: string): string {
  return label.trim() === '' ? '(unnamed)' : printable(label)
}

/** The last part of a path, with either kind of slash. */
export function fileName(path: string): string {
  return printable(path.split(/[/\\]/).findLast((part) => part !== '') ?? path)
}

/** `0.8 s`, `45 s`, `3 min 20 s`, `2 h 5 min` */
export function duration(ms: number): string {
  const seconds = ms / 1000
  if (!Number.isFinite(seconds)) return nonFinite
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  if (minutes < 60) return `${minutes} min ${whole % 60} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
