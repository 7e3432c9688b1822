import type { StudyResult } from '../../result/study.ts'
import { significant } from '../format.ts'

/** How a value of a study's table is written. */
export function figureText(value: string | number | boolean | null): string {
  if (value === null) return '–'
  if (typeof value === 'string') return value
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  const plain = String(value)
  return plain.length <= 5 ? plain : significant(value)
}

/** Whether the whole grid was run, in words. */
export function statusOf({ notRun, cells }: StudyResult): string {
  const failed = cells.filter(({ error }) => error !== undefined).length
  if (notRun === 0) return 'the whole grid was run'
  const open = notRun - failed
  return [failed > 0 ? `${failed} failed` : '', open > 0 ? `${open} not run` : ''].filter(Boolean).join(', ')
}
