import { printable } from '../report/format.ts'

/** The two streams of the program and what may be written to them. */
export interface Console {
  /** Results, for people or programs. */
  out(text: string): void
  /** A line for people, beside the results; nothing if `quiet`. */
  note(line: string): void
  error(line: string): void
  /** The state of long work, in one line that is rewritten; shown in a terminal only. */
  progress(state: { readonly phase: string; readonly done: number; readonly of: number }): void
  readonly color: boolean
  /** Columns to write in. */
  readonly width: number
  readonly quiet: boolean
  readonly verbose: boolean
}

export interface ConsoleOptions {
  /** `--color`, `--no-color`, or neither. */
  readonly color: boolean | undefined
  readonly quiet: boolean
  readonly verbose: boolean
  /** False where the results are for a program: nothing else is shown then. */
  readonly progress: boolean
}

/** Columns where nobody says how many there are. */
const defaultWidth = 100

/** Time between two writings of the progress line, in ms. */
const progressIntervalMs = 100

const clearLine = '\r\u001b[K'

export function openConsole({ color, quiet, verbose, progress }: ConsoleOptions): Console {
  const { stdout, stderr } = process
  const showsProgress = progress && !quiet && stderr.isTTY === true
  /** Where there is no terminal, `--verbose` leaves a line for each phase in the log. */
  const logsPhases = progress && verbose && !stderr.isTTY
  let phaseLogged = ''
  let shownAt = 0
  let isShown = false
  const clear = () => {
    if (isShown) stderr.write(clearLine)
    isShown = false
  }
  const line = (text: string) => {
    clear()
    stderr.write(`${printable(text)}\n`)
  }
  return {
    color: color ?? colorWanted(process.env, stdout.isTTY === true),
    width: stdout.columns || Number(process.env.COLUMNS) || defaultWidth,
    quiet,
    verbose,
    out(text) {
      clear()
      stdout.write(text)
    },
    note(text) {
      if (!quiet) line(text)
    },
    error: line,
    progress({ phase, done, of }) {
      if (logsPhases && phase !== phaseLogged) {
        phaseLogged = phase
        line(`${phase}: ${of} to do`)
      }
      const now = performance.now()
      const isLast = done >= of
      if (!showsProgress || (!isLast && now - shownAt < progressIntervalMs)) return
      if (isLast) return clear()
      shownAt = now
      isShown = true
      const share = of > 0 ? ` (${Math.floor((100 * done) / of)} %)` : ''
      const text = `${phase}: ${done} of ${of}${share}`
      stderr.write(`${clearLine}${printable(text).slice(0, (stderr.columns || defaultWidth) - 1)}`)
    },
  }
}

/**
 * Whether to write colours. Source: no-color.org and force-color.org; where both are set, NO_COLOR wins.
 */
function colorWanted(env: Readonly<Record<string, string | undefined>>, isTerminal: boolean): boolean {
  if (env.NO_COLOR) return false
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR !== '0' && env.FORCE_COLOR !== 'false'
  return isTerminal && env.TERM !== 'dumb'
}
