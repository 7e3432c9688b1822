#!/usr/bin/env node
import { exitCodes } from './exit-codes.ts'
import { explainError } from './explain-error.ts'
import { plainConsole, run } from './program.ts'

for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // The reader went away (`varshift check ... | head`): nobody is left to tell.
    if (error.code === 'EPIPE') process.exit()
    if (stream === process.stdout) process.stderr.write(`varshift: error: cannot write: ${error.message}\n`)
    process.exit(exitCodes.usage)
  })

process.on('uncaughtException', (error) => process.exit(explainError(error, plainConsole(process.argv))))

process.exitCode = await run(process.argv)
