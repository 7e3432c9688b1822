import type { Measurement, RepairInfo, Result } from '../result/result.ts'
import { counted, duration, layerName, percent, ratio, significant } from './format.ts'
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

/** How well inputs were distilled. */
export function distillationWords(done: NonNullable<RepairInfo['distillation']>): string {
  const { inputs, steps, losses, matchedShare, spread } = done
  return `${counted(inputs, 'input')} in ${counted(steps, 'step')}, loss reached ${losses.map(significant).join(' and ')}; they match what is stored in ${percent(matchedShare)} of the channels (the others keep it), and restarts agree to ${ratio(spread)} in every layer`
}

/** How a repair trained. */
export function trainingWords(done: NonNullable<RepairInfo['training']>): string {
  const { start, steps, samples, heldOut, curve, durationMs } = done
  const last = curve.at(-1)
  const figures = last && [
    `loss ${significant(last.train.loss)}`,
    ...(last.train.accuracy === null ? [] : [`accuracy ${percent(last.train.accuracy)}`]),
  ]
  const from = start === 'fresh' ? 'new weights' : 'the weights of the file'
  return `${counted(steps, 'step')} over ${counted(samples, 'sample')}, from ${from}, in ${duration(durationMs)}${figures ? `; in the last epoch ${figures.join(', ')} on them` : ''}; judged on ${counted(heldOut, 'sample')} held out`
}

/** Figures of one repair that was tried. */
export function triedFigures({
  largestRatio,
  accuracy,
  loss,
}: Omit<NonNullable<RepairInfo['tried']>[number], 'id' | 'why' | 'durationMs'>): string[] {
  return [
    ...(largestRatio === null ? [] : [`largest ratio ${ratio(largestRatio)}`]),
    ...(accuracy === null ? [] : [`accuracy ${percent(accuracy)}`]),
    ...(loss === null ? [] : [`loss ${significant(loss)}`]),
  ]
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
