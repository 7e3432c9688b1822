import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** What PyTorch recorded of one BatchNormalization; see scripts/oracle. */
export interface RecordedNorm {
  module: string
  channels: number
  exposure: string
  noises: { node: string; ratio: number; path: string }[]
  dCos2: number | null
  shiftRatio: number
  evalOverStored: number
  storedMean: number[]
  storedVariance: number[]
  realMean: number[]
  realVariance: number[]
  repairedMean: number[]
  repairedVariance: number[]
}

export interface Recorded {
  name: string
  inputs: { name: string; stored: string; divideBy: number }[]
  norms: RecordedNorm[]
  scores: {
    samples: Record<'evalBefore' | 'evalAfter' | 'trainMode', { accuracy: number; crossEntropy: number }> & {
      count: number
    }
  }
  logitsBefore: number[][]
  logitsAfter: number[][]
}

const root = fileURLToPath(new URL('../oracle/networks/', import.meta.url))

/** Networks that PyTorch trained, exported and measured. */
export const recordedNetworks: readonly string[] = readdirSync(root).filter((name) =>
  existsSync(`${root}${name}/expected.json`),
)

export const pathOf = (network: string, file: string): string => `${root}${network}/${file}`

export const expectedOf = (network: string): Recorded =>
  JSON.parse(readFileSync(pathOf(network, 'expected.json'), 'utf8')) as Recorded

/** Largest |a - b| / max(|b|, floor). */
export function largestRelativeError(
  a: ArrayLike<number | null>,
  b: ArrayLike<number>,
  floor: number,
): number {
  let worst = 0
  for (let i = 0; i < b.length; i++)
    worst = Math.max(worst, Math.abs(a[i]! - b[i]!) / Math.max(Math.abs(b[i]!), floor))
  return worst
}
