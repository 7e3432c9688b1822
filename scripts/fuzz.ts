/**
 * Throws damaged files at the readers until the time is up: what is read, or refused with a UserError, is fine;
 * anything else is a defect, printed with the seed that repeats it and kept as a file as small as it gets.
 *
 *   npx jiti scripts/fuzz.ts [--seconds 60] [--seed N] [--only TARGET]      targets: those of test/conformance/fuzz.ts
 */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import fc from 'fast-check'
import { fuzzTargets, tryFile } from '../test/conformance/fuzz.ts'

const { values: given } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    only: { type: 'string' },
  },
})

const seconds = Number(given.seconds)
let seed = Number(given.seed)
const end = performance.now() + seconds * 1000
const chosen = Object.entries(fuzzTargets).filter(([name]) => given.only === undefined || given.only === name)
if (!(seconds > 0) || !Number.isInteger(seed) || chosen.length === 0) {
  console.error(`usage: fuzz [--seconds N] [--seed N] [--only ${Object.keys(fuzzTargets).join('|')}]`)
  process.exit(2)
}
const tried: Record<string, { files: number; read: number }> = {}
const folder = mkdtempSync(join(tmpdir(), 'varshift-fuzz-'))
/** Defects found, by what was thrown where: each is told once. */
const known = new Set<string>()
while (performance.now() < end)
  for (const [name, target] of chosen) {
    if (performance.now() >= end) break
    tried[name] ??= { files: 0, read: 0 }
    const property = fc.asyncProperty(target.bytes, async (file) => {
      tried[name]!.files++
      if (await tryFile(target, file)) tried[name]!.read++
    })
    const found = await fc.check(property, {
      seed,
      numRuns: 500,
      interruptAfterTimeLimit: end - performance.now(),
    })
    if (found.failed && found.counterexample) {
      const [file] = found.counterexample
      const error = found.errorInstance
      const reason = error instanceof Error ? (error.stack ?? error.message) : String(error)
      const kind = `${name} ${reason.split('\n').slice(0, 2)}`
      if (!known.has(kind)) {
        known.add(kind)
        const path = join(folder, `${name}-${seed}.bin`)
        writeFileSync(path, file)
        console.log(`${name}, seed ${seed}: ${path} (${file.length} bytes)\n${reason}\n`)
      }
    }
    seed = (seed + 1) % 2 ** 31
  }
for (const [name, { files, read: fine }] of Object.entries(tried))
  console.log(`${name}: ${files} files, ${fine} of them read, the others refused`)
console.log(known.size === 0 ? 'no defect found' : `${known.size} defects found, kept in ${folder}`)
process.exit(known.size === 0 ? 0 : 1)
