/** One job on one file in a process of its own; prints its time in milliseconds and its peak memory. */
import { existsSync, readFileSync } from 'node:fs'
import { open, readFile, writeFile } from 'node:fs/promises'
import { check, readModel, save } from '../dist/index.js'

const [job, path] = process.argv.slice(2)

const jobs = {
  read: () => readFile(path),
  check: async () => check(await readModel(path)),
  /** With all arrays brought into memory, as a framework has them after loading. */
  async load() {
    const { model } = await readModel(path)
    for (const tensor of model.graph.initializers.values()) void tensor.bytes
  },
  rewrite: async () => (await readModel(path)).write([]),
  async 'read-write-file'() {
    await writeFile(`${path}.copy`, await readFile(path))
    const file = await open(`${path}.copy`)
    await file.sync()
    await file.close()
  },
  async 'rewrite-file'() {
    const model = await readModel(path)
    await save(model, [], `${path}.rewritten`)
  },
}

/** Of this program: on Linux the largest memory that resourceUsage tells may be that of the one which started it. */
function peakKilobytes() {
  const status = existsSync('/proc/self/status') ? readFileSync('/proc/self/status', 'utf8') : ''
  return Number(/VmHWM:\s*(\d+) kB/.exec(status)?.[1] ?? process.resourceUsage().maxRSS)
}

const start = performance.now()
await jobs[job]()
const ms = performance.now() - start
console.log(JSON.stringify({ ms, peakBytes: peakKilobytes() * 1024 }))
