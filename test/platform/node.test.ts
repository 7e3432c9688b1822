import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../', import.meta.url))
const isBuilt = existsSync(join(root, 'dist/index.js'))
if (!isBuilt)
  process.stdout.write('test of the built package skipped: there is no dist/index.js; run npm run build\n')

/** A project that has the package installed. */
const project = mkdtempSync(join(tmpdir(), 'varshift-user-'))
afterAll(() => rmSync(project, { recursive: true }))

const script = `
import { readFileSync } from 'node:fs'
import schema from 'varshift/schema/result-1.json' with { type: 'json' }
import {
  check, compare, fix, measure, readModel, renderHtml, renderSarif, renderTerminal, resultSchema, rules, save, UserError, version,
} from 'varshift'

const model = await readModel('model.onnx')
const options = { data: 'shapes:count=64,seed=5', modeSamples: 32 }
const found = check(model)
const measured = await measure(model, options)
const fixed = await fix(model, options)
await save(model, fixed.edits, 'fixed.onnx')
const repaired = await readModel('fixed.onnx')
const compared = await compare(model, repaired, { ...options, modeSamples: 0 })
for (const result of [found, measured, fixed.result, compared]) resultSchema.parse(JSON.parse(JSON.stringify(result)))
const refusals = []
for (const work of [
  () => save(model, fixed.edits, 'model.onnx'),
  () => readModel('package.json'),
  () => measure(model, { data: 'nothing.npz' }),
])
  refusals.push(await work().catch((error) => [error instanceof UserError, error.message]))
console.log(JSON.stringify({
  version,
  packageVersion: JSON.parse(readFileSync('node_modules/varshift/package.json')).version,
  schema: typeof schema.$schema,
  rules: rules.length,
  findings: found.findings.map(({ rule }) => rule),
  before: measured.measurement.layers.map(({ shiftRatio }) => shiftRatio),
  after: compared.after.layers.map(({ shiftRatio }) => shiftRatio),
  outcome: fixed.result.repair.outcome,
  refusals,
  reports: [
    renderTerminal(compared, { color: false, width: 80 }),
    renderHtml(fixed.result),
    renderSarif(found, []),
  ].map((report) => report.length),
}))
`

/** What a user of the types writes; it is only compiled. */
const typed = `
import { check, fix, type Fixed, type Layer, measure, type ModelFile, readModel, type Result, save } from 'varshift'

const model: ModelFile = await readModel('model.onnx')
const result: Result = check(model, { select: ['dropout-before-batch-norm'] })
const layers: readonly Layer[] = (await measure(model, { data: 'x.npz', samples: 10 })).measurement?.layers ?? []
const fixed: Fixed = await fix(model, { data: 'x.npz', force: true })
if (fixed.chunks) await save(model, fixed.edits, 'fixed.onnx', { inPlace: false })
// @ts-expect-error data is a name or a dataset
await measure(model, { data: 5 })
export const count: number = layers.length + result.findings.length
`

describe.skipIf(!isBuilt)('the built package', () => {
  beforeAll(() => {
    mkdirSync(join(project, 'node_modules'))
    symlinkSync(root, join(project, 'node_modules/varshift'), 'junction')
    writeFileSync(join(project, 'package.json'), JSON.stringify({ type: 'module', private: true }))
    writeFileSync(join(project, 'model.onnx'), readFileSync(join(root, 'assets/demo.onnx')))
  })

  test('checks, measures, repairs and saves', async () => {
    writeFileSync(join(project, 'script.js'), script)
    const { stdout, stderr } = await run(process.execPath, ['--no-warnings', 'script.js'], { cwd: project })
    expect(stderr).toBe('')
    const told = JSON.parse(stdout) as {
      version: string
      packageVersion: string
      schema: string
      rules: number
      findings: string[]
      before: number[]
      after: number[]
      outcome: string
      refusals: [boolean, string][]
      reports: number[]
    }
    expect(told.version).toBe(told.packageVersion)
    expect(told.schema).toBe('string')
    expect(told.rules).toBeGreaterThan(5)
    expect(told.findings).toContain('dropout-before-batch-norm')
    expect(Math.max(...told.before)).toBeGreaterThan(1.2)
    expect(Math.max(...told.after)).toBeLessThan(1.05)
    expect(told.outcome).toBe('kept')
    expect(told.refusals.map(([isUserError]) => isUserError)).toEqual([true, true, true])
    expect(told.refusals.map(([, message]) => message)).toEqual([
      expect.stringMatching(/is the model itself/),
      expect.stringMatching(/package\.json: this is a text file/),
      expect.stringMatching(/nothing\.npz: no such file/),
    ])
    for (const length of told.reports) expect(length).toBeGreaterThan(300)
    const [source, fixed] = ['model.onnx', 'fixed.onnx'].map((name) => readFileSync(join(project, name)))
    expect(source).toEqual(readFileSync(join(root, 'assets/demo.onnx')))
    expect(fixed!.length).toBeGreaterThan(source!.length * 0.9)
  })

  test('is typed', async () => {
    writeFileSync(join(project, 'typed.ts'), typed)
    const options = {
      strict: true,
      module: 'nodenext',
      target: 'es2022',
      noEmit: true,
      skipLibCheck: false,
      types: [],
    }
    writeFileSync(
      join(project, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: options, files: ['typed.ts'] }),
    )
    const compiler = join(root, 'node_modules/typescript/bin/tsc')
    const { stdout } = await run(process.execPath, [compiler, '-p', project], { cwd: project }).catch(
      (error: { stdout: string }) => error,
    )
    expect(stdout).toBe('')
  })
})
