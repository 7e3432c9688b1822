/**
 * Ratios, measured side by side on an otherwise idle machine; never part of the tests.
 *
 *   npm run bench                     all of it; writes bench/results/*.json
 *   npm run bench -- measure files --rounds 15 --threads 2 --size-mb 500 --python python3
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { version } from '../src/version.ts'
import { benchFiles } from './files.ts'
import { benchMeasure, machine } from './measure.ts'
import { benchPredictions } from './predictions.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '15' },
    threads: { type: 'string', default: '2' },
    'size-mb': { type: 'string', default: '500' },
    python: { type: 'string', default: 'python3' },
  },
})
const wanted = (name: string) => positionals.length === 0 || positionals.includes(name)
const versionOf = (name: string) =>
  (
    JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8')) as {
      version: string
    }
  ).version
const versions = { varshift: version, node: process.version, onnxruntime: versionOf('onnxruntime-node') }
const threads = Number(values.threads)

function report(name: string, rows: object[]): void {
  console.log(`\n${name}`)
  console.table(rows)
  const path = new URL(`results/${name}.json`, import.meta.url)
  writeFileSync(path, `${JSON.stringify({ machine: machine(), versions, threads, rows }, null, 2)}\n`)
}

if (wanted('measure'))
  report('measure', await benchMeasure({ rounds: Number(values.rounds), threads, python: values.python }))
if (wanted('files'))
  report(
    'files',
    benchFiles({ rounds: Math.min(9, Number(values.rounds)), sizeBytes: Number(values['size-mb']) * 1e6 }),
  )
if (wanted('predictions')) report('predictions', await benchPredictions())
