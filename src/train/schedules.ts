import type { SettingDefinitions, SettingsOf } from './settings.ts'

interface ScheduleDefinition<Settings extends SettingDefinitions> {
  readonly id: string
  readonly settings: Settings
  /** Factor on the learning rate in step `step` (from 0) of `steps`, of which `perEpoch` make an epoch. */
  readonly factor: (
    place: { readonly step: number; readonly steps: number; readonly perEpoch: number },
    settings: SettingsOf<Settings>,
  ) => number
}

/** How the learning rate changes over the steps. */
export interface ScheduleUnit {
  readonly id: string
  readonly settings: SettingDefinitions
  factor(
    place: { readonly step: number; readonly steps: number; readonly perEpoch: number },
    settings: Readonly<Record<string, unknown>>,
  ): number
}

const defineSchedule = <const Settings extends SettingDefinitions>(
  definition: ScheduleDefinition<Settings>,
): ScheduleUnit => definition as unknown as ScheduleUnit

/** Epochs over which the rate rises linearly from nearly nothing before the schedule begins; 0 for none. */
const warmUp = { kind: 'number', standard: 0, min: 0, max: Number.POSITIVE_INFINITY } as const

/** In warm-up step i of n the rate is (i + 1) / n of the first; then the schedule runs over the steps that are left. */
function afterWarmUp(
  { step, steps, perEpoch }: { step: number; steps: number; perEpoch: number },
  epochs: number,
  factor: (step: number, steps: number) => number,
): number {
  const warm = Math.round(epochs * perEpoch)
  return step < warm ? (step + 1) / warm : factor(step - warm, Math.max(1, steps - warm))
}

/** The same rate throughout. */
export const constant = defineSchedule({
  id: 'constant',
  settings: { warmUp },
  factor: (place, settings) => afterWarmUp(place, settings.warmUp, () => 1),
})

/**
 * Multiplied by `gamma` at each of the given epochs (`at`, counted from the start; fractions of the whole if below 1).
 * Source: torch.optim.lr_scheduler.MultiStepLR.
 */
export const step = defineSchedule({
  id: 'step',
  settings: {
    at: { kind: 'numbers', standard: [0.5, 0.75] },
    gamma: { kind: 'number', standard: 0.1, min: 0, max: 1 },
    warmUp,
  },
  factor: (place, { at, gamma, warmUp }) => {
    const passed = at.filter(
      (when) => place.step >= Math.round(when < 1 ? when * place.steps : when * place.perEpoch),
    )
    return afterWarmUp(place, warmUp, () => gamma ** passed.length)
  },
})

/**
 * Half a cosine from the full rate down to `end` times it.
 * Source: torch.optim.lr_scheduler.CosineAnnealingLR, stepped every step; Loshchilov and Hutter, arXiv:1608.03983.
 */
export const cosine = defineSchedule({
  id: 'cosine',
  settings: { end: { kind: 'number', standard: 0, min: 0, max: 1 }, warmUp },
  factor: (place, { end, warmUp }) =>
    afterWarmUp(
      place,
      warmUp,
      (step, steps) => end + ((1 - end) * (1 + Math.cos((Math.PI * step) / steps))) / 2,
    ),
})

/**
 * Up from the full rate / `div` over the first `rise` of the steps, then down to the first rate / `finalDiv`, both
 * along half a cosine. Momentum is left alone.
 * Source: torch.optim.lr_scheduler.OneCycleLR; Smith and Topin, arXiv:1708.07120.
 */
export const oneCycle = defineSchedule({
  id: 'one-cycle',
  settings: {
    rise: { kind: 'number', standard: 0.3, min: 0, max: 1 },
    div: { kind: 'number', standard: 25, min: 1, max: Number.POSITIVE_INFINITY },
    finalDiv: { kind: 'number', standard: 1e4, min: 1, max: Number.POSITIVE_INFINITY },
  },
  factor: ({ step, steps }, { rise, div, finalDiv }) => {
    const [first, last] = [1 / div, 1 / div / finalDiv]
    const top = rise * steps - 1
    const half = (from: number, to: number, share: number) =>
      to + ((from - to) * (1 + Math.cos(Math.PI * share))) / 2
    if (step <= top) return half(first, 1, step / top)
    return half(1, last, Math.min(1, (step - top) / (steps - 1 - top)))
  },
})

/** Every schedule that varshift knows. */
export const schedules: readonly ScheduleUnit[] = [constant, step, cosine, oneCycle]
