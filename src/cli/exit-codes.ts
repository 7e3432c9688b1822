/** What the program's exit codes mean. */
export const exitCodes = {
  fine: 0,
  /** `check`: findings at or above the level asked for; `fix`: the repair was not kept. */
  findings: 1,
  /** Bad input, a wrong option, or no place to write to. */
  usage: 2,
  /** EX_SOFTWARE of sysexits.h: varshift itself is at fault. */
  defect: 70,
  /** 128 + SIGINT, as shells do. */
  interrupted: 130,
} as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

export const exitCodeHelp = `Exit codes:
  0    fine: nothing found, measured, repaired, or nothing to repair
  1    check: findings at or above --fail-on; fix: the repair was not kept
  2    bad input or usage: one line says what, where and what to try
  70   a defect in varshift (--verbose or VARSHIFT_DEBUG=1 shows where)
  130  stopped by Ctrl-C; measure then prints what it has, marked as partial`
