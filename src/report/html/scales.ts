import { scaleLog, scaleThreshold } from 'd3-scale'

/**
 * Edges of the classes of a variance ratio (real over stored): logarithmic, symmetric about 1, so that a ratio and its
 * inverse get colours of equal weight. The middle class is what a repaired layer shows.
 */
export const ratioEdges = [1 / 4, 1 / 2, 1 / 1.5, 1 / 1.25, 1 / 1.05, 1.05, 1.25, 1.5, 2, 4] as const

export const ratioClasses = ratioEdges.length + 1

const classes = scaleThreshold<number, number>()
  .domain([...ratioEdges])
  .range(Array.from({ length: ratioClasses }, (_, i) => i))

/** Class of a ratio, 0 (far less variance at inference) to 10 (far more); undefined if it is not finite. */
export function ratioClass(value: number | null | undefined): number | undefined {
  return value === null || value === undefined || !Number.isFinite(value) || value < 0
    ? undefined
    : classes(value)
}

/** Labels of the edges, in the order of `ratioEdges`. */
export const edgeLabels = ['¼', '½', '⅔', '0.8', '0.95', '1.05', '1.25', '1.5', '2', '4'] as const

/** Vertical scale of a shift ratio: logarithmic, from just below 1 to just above the largest value shown. */
export function shiftScale(values: readonly number[], [bottom, top]: readonly [number, number]) {
  const largest = Math.max(1.2, ...values.filter(Number.isFinite))
  const scale = scaleLog()
    .domain([largest ** -0.04, largest ** 1.06])
    .range([bottom, top])
  return Object.assign((value: number) => scale(Math.min(Math.max(value, 1 / 1.5), largest ** 1.06)), {
    ticks: shiftTicks(scale, largest),
  })
}

/** Round numbers that people know, the most telling first; one is kept if it stands clear of those before it. */
const tickCandidates = [1, 2, 10, 100, 1000, 5, 1.5, 3, 20, 50, 200, 500, 1.2, 7, 30, 70, 1.1, 1.05, 1.02]

function shiftTicks(scale: (value: number) => number, largest: number): number[] {
  const kept: number[] = []
  for (const value of tickCandidates)
    if (value <= largest && kept.every((other) => Math.abs(scale(other) - scale(value)) >= 22))
      kept.push(value)
  return kept.toSorted((a, b) => a - b)
}
