import type { Measurement, RepairInfo, Result } from '../result/result.ts'
import { layerName } from './format.ts'
import { sideNames } from './verdict.ts'

/** The modes of a model, in the order of every table. */
export const modeNames = ['train', 'eval', 'sample'] as const
export type Mode = (typeof modeNames)[number]

/** What a repair means for whoever goes on using the model. */
export const preservedWords: Readonly<Record<RepairInfo['preserves'], string>> = {
  both: 'training and inference behave as before',
  training: 'only inference behaves differently',
  inference: 'only training behaves differently',
  neither: 'training and inference both behave differently',
}

/** What a reader has to know before trusting the figures, each once; what holds for one side alone names it. */
export function notesOf(result: Result): string[] {
  const { measurement, after, training } = result
  if (training) return [...training.notes]
  const sides = [measurement, after].map((side) => (side ? notesOfSide(side) : []))
  const names = sideNames(result)
  const shared = (note: string) => !after || sides.every((notes) => notes.includes(note))
  return [
    ...new Set([
      ...(result.model.notes ?? []),
      ...sides.flatMap((notes, i) => notes.map((note) => (shared(note) ? note : `${names[i]}: ${note}`))),
    ]),
  ]
}

function notesOfSide({ partial, notes, data, unmeasured }: Measurement): string[] {
  return [
    ...(partial ? ['Stopped early: the figures cover only what had been measured.'] : []),
    ...notes,
    ...data.notes,
    ...unmeasured.map(({ label, reason }) => `${layerName(label)} was not measured: ${reason}`),
  ]
}
