import { UserError } from '../ir/errors.ts'
import type { Console } from './console.ts'
import { type ExitCode, exitCodes } from './exit-codes.ts'

/** Tells the user what went wrong, in one line if they can put it right. */
export function explainError(
  error: unknown,
  { error: line, verbose }: Pick<Console, 'error' | 'verbose'>,
): ExitCode {
  const isTheirs = error instanceof UserError
  const isVerbose = verbose || Boolean(process.env.VARSHIFT_DEBUG)
  const [first] = (error instanceof Error ? error.message : String(error)).split('\n')
  line(
    isTheirs
      ? `varshift: error: ${first}`
      : `varshift: defect: ${first}; please report it${isVerbose ? '' : ' (--verbose or VARSHIFT_DEBUG=1 shows where it came from)'}`,
  )
  if (isVerbose && error instanceof Error)
    for (const step of (error.stack ?? '').split('\n').slice(1)) line(step)
  return isTheirs ? exitCodes.usage : exitCodes.defect
}
