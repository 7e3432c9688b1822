/**
 * What reading costs: `check`, and reading and writing without changes, of a large model against reading the file.
 * Each run is a process of its own, so that peak memory is its own too; all take turns. The file lies in the page
 * cache for all of them.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { encodeModel } from '../src/formats/onnx/index.ts'
import { median } from './measure.ts'
import { wideMlp } from './networks.ts'

export interface FileRow {
  what: string
  sizeBytes: number
  baselineMs: number
  ms: number
  ratio: number
  peakBytes: number
  peakOverSize: number
}

const worker = fileURLToPath(new URL('files-worker.mjs', import.meta.url))

/** What is timed, and what it is compared with. */
const jobs = [
  { what: 'check', job: 'check', baseline: 'read' },
  { what: 'read and write without changes, in memory', job: 'rewrite', baseline: 'read' },
  { what: 'read and write without changes, onto the disk', job: 'rewrite-file', baseline: 'read-write-file' },
]

export function benchFiles({ rounds, sizeBytes }: { rounds: number; sizeBytes: number }): FileRow[] {
  const folder = mkdtempSync(join(tmpdir(), 'varshift-bench-'))
  try {
    const path = join(folder, 'model.onnx')
    const bytes = encodeModel(wideMlp(sizeBytes))
    writeFileSync(path, bytes)
    const run = (job: string) =>
      JSON.parse(execFileSync(process.execPath, [worker, job, path], { encoding: 'utf8' })) as {
        ms: number
        peakBytes: number
      }
    return jobs.map(({ what, job, baseline }) => {
      run(baseline)
      const pairs = Array.from({ length: rounds }, () => ({ base: run(baseline), own: run(job) }))
      const peakBytes = median(pairs.map(({ own }) => own.peakBytes))
      return {
        what,
        sizeBytes: bytes.length,
        baselineMs: median(pairs.map(({ base }) => base.ms)),
        ms: median(pairs.map(({ own }) => own.ms)),
        ratio: median(pairs.map(({ base, own }) => own.ms / base.ms)),
        peakBytes,
        peakOverSize: peakBytes / bytes.length,
      }
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}
