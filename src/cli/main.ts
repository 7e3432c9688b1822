#!/usr/bin/env node
import { version } from '../version.ts'

const [, , only, ...rest] = process.argv
if (rest.length === 0 && (only === '--version' || only === '-V')) process.stdout.write(`${version}\n`)
else {
  const [{ exitCodes }, { explainError }, { plainConsole, run }] = await Promise.all([
    import('./exit-codes.ts'),
    import('./explain-error.ts'),
    import('./program.ts'),
  ])
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // The reader went away (`varshift check ... | head`): nobody is left to tell.
      if (error.code === 'EPIPE') process.exit()
      if (stream === process.stdout)
        process.stderr.write(`varshift: error: cannot write the result: ${error.message}\n`)
      process.exit(exitCodes.usage)
    })
  process.on('uncaughtException', (error) => process.exit(explainError(error, plainConsole(process.argv))))
  process.exitCode = await run(process.argv)
}
