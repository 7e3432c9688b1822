import { spawn } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { explainError } from '../../src/cli/explain-error.ts'
import { encodeModel } from '../../src/formats/onnx/write.ts'
import { UserError } from '../../src/ir/errors.ts'
import { parseModel } from '../../src/ir/text.ts'
import { type Result, resultSchema } from '../../src/result/result.ts'
import { version } from '../../src/version.ts'

/** The program from its sources: Node 20 does not run TypeScript by itself. */
const jiti = fileURLToPath(new URL('../../node_modules/jiti/lib/jiti-cli.mjs', import.meta.url))
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

const escapeCharacter = '\u001b'

interface Run {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Sends Ctrl-C when standard error shows this. */
  readonly interruptAt?: string
}

let folder = ''

/** Runs `varshift` with the words of `line`. */
function varshift(line: string, { env, cwd = folder, interruptAt }: RunOptions = {}): Promise<Run> {
  const clean = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(?:VARSHIFT_|NO_COLOR$|FORCE_COLOR$|VITEST)/.test(name),
    ),
  )
  const child = spawn(process.execPath, [jiti, main, ...line.split(' ').filter(Boolean)], {
    cwd,
    env: { ...clean, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [out, err] = ['', '']
  child.stdout.on('data', (data) => {
    out += data
  })
  child.stderr.on('data', (data) => {
    err += data
    if (interruptAt && String(data).includes(interruptAt)) child.kill('SIGINT')
  })
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })))
}

const modelText = (ratio: number) => `net (float32[N, 3, 8, 8] x) => (float32[N, 10] y)
<float ratio = {${ratio}}, bool on = {1}, float32[10] one = fill(1), float32[10] zero = fill(0), float32[10] var = fill(1.3),
 float32[10, 3, 3, 3] w = uniform(-0.6, 0.6, 1)>
{
  [conv] c = Conv <pads = [1, 1, 1, 1]> (x, w)
  [drop] d = Dropout(c, ratio, on)
  [bn] n = BatchNormalization(d, one, zero, zero, var)
  [act] a = Relu(n)
  [pool] p = GlobalAveragePool(a)
  [flat] y = Flatten(p)
}`

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'varshift-cli-'))
  writeFileSync(join(folder, 'exposed.onnx'), encodeModel(parseModel(modelText(0.5))))
  writeFileSync(join(folder, 'clean.onnx'), encodeModel(parseModel(modelText(0))))
  writeFileSync(join(folder, 'broken.onnx'), '<html>404</html>')
})

afterAll(() => rmSync(folder, { recursive: true }))

const lines = (text: string) => text.trim().split('\n')

describe('the program', () => {
  test('prints its version', async () => {
    expect(await varshift('--version')).toEqual({ code: 0, out: `${version}\n`, err: '' })
  })

  test('without arguments shows help on standard error and fails', async () => {
    const { code, out, err } = await varshift('')
    expect([code, out]).toEqual([2, ''])
    expect(err).toContain('Usage: varshift')
  })

  test('help has examples and exit codes', async () => {
    const { code, out, err } = await varshift('measure --help')
    expect([code, err]).toEqual([0, ''])
    for (const part of [
      'Usage: varshift measure <model> --data <spec>',
      'Examples:',
      'Exit codes:',
      '--mode-samples',
    ])
      expect(out).toContain(part)
  })

  test.each([
    ['chek exposed.onnx', "unknown command 'chek' (Did you mean check?)"],
    ['check --selct x', "unknown option '--selct' (Did you mean --select?)"],
    ['check --fail-on warnings', 'expected error, warning, info or never'],
    ['check --select dead-batchnorm exposed.onnx', "did you mean 'dead-batch-norm-channel'"],
    ['check --explain dropout-befor-batch-norm', "did you mean 'dropout-before-batch-norm'"],
    ['check', 'takes one model file or more, got none'],
    ['check missing.onnx', 'cannot read missing.onnx: no such file'],
    ['check broken.onnx', 'broken.onnx: this is a web page'],
    ['check exposed.onnx --json --format sarif', 'contradict each other'],
    ['check exposed.onnx --update-baseline', 'needs a file'],
    ['check exposed.onnx --baseline none.json', 'there is no baseline none.json'],
    ['check exposed.onnx -o report.docx', 'cannot tell from the name'],
    ['check exposed.onnx --html none/report.html', 'there is no folder none'],
    ['check exposed.onnx -o exposed.onnx', 'cannot tell from the name'],
    ['measure exposed.onnx', 'needs samples'],
    ['measure exposed.onnx --samples many', 'expected a whole number from 1'],
    ['fix exposed.onnx --data shapes:count=8,size=8', 'give -o FILE, --in-place or --dry-run'],
    ['fix exposed.onnx --data shapes:count=8,size=8 -o exposed.onnx', 'is the model itself'],
    ['fix exposed.onnx --data shapes:count=8,size=8 -o none/fixed.onnx', 'there is no folder none'],
    ['fix exposed.onnx --data shapes:count=8,size=8 -o a.onnx --html a.onnx', 'would be overwritten'],
    ['fix exposed.onnx --from found.json -o found.json', 'would be overwritten'],
    ['measure exposed.onnx --data images.npz --labels labels.txt -o labels.txt', 'would be overwritten'],
    ['report exposed.onnx', 'is not JSON'],
  ])('%s: one line on standard error, exit code 2', async (line, message) => {
    const { code, out, err } = await varshift(line)
    expect([code, out]).toEqual([2, ''])
    expect(lines(err)).toHaveLength(1)
    expect(err).toMatch(/^varshift: error: /)
    expect(err).toContain(message)
  })

  test('a defect says so, and shows its stack on demand only', () => {
    const told: string[] = []
    const console = { error: (line: string) => void told.push(line), verbose: false }
    expect(explainError(new TypeError('x is not a function\nmore'), console)).toBe(70)
    expect(told).toEqual([
      'varshift: defect: x is not a function; please report it (--verbose or VARSHIFT_DEBUG=1 shows where it came from)',
    ])
    expect(explainError(new UserError('bad input'), { ...console, verbose: true })).toBe(2)
    expect(told[1]).toBe('varshift: error: bad input')
    expect(told[2]).toMatch(/^ +at /)
  })
})

describe('layer', () => {
  test('prints the layers for one framework', async () => {
    const { code, out, err } = await varshift('layer keras')
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(/register_keras_serializable\(package="varshift"\)\nclass Uout/)
    expect((await varshift('layer tfjs')).out).toContain('registerClass(MomentPreservingDropout)')
    const wrong = await varshift('layer torch')
    expect([wrong.code, wrong.out]).toEqual([2, ''])
    expect(wrong.err).toBe("varshift: error: there are no layers for 'torch'; give keras or tfjs\n")
  })
})

describe('check', () => {
  test('exit codes follow --fail-on and --max-warnings', async () => {
    const code = async (line: string) => (await varshift(`check -q ${line}`)).code
    expect(await code('clean.onnx')).toBe(0)
    expect(await code('exposed.onnx')).toBe(1)
    expect(await code('exposed.onnx --fail-on error')).toBe(0)
    expect(await code('exposed.onnx --fail-on never --max-warnings 0')).toBe(0)
    expect(await code('exposed.onnx --max-warnings 5')).toBe(0)
    expect(await code('exposed.onnx --max-warnings 0')).toBe(1)
    expect(await code('exposed.onnx --severity dropout-before-batch-norm=error --fail-on error')).toBe(1)
    expect(await code('exposed.onnx --ignore dropout-before-batch-norm,max-pool-after-dropout')).toBe(0)
  })

  test('--json writes a result that fits the schema, and nothing else', async () => {
    const { out, err } = await varshift('check exposed.onnx --json')
    expect(err).toBe('')
    const result = resultSchema.parse(JSON.parse(out))
    expect(result.findings[0]).toMatchObject({ rule: 'dropout-before-batch-norm', at: { label: 'bn' } })
  })

  test('a broken file among several does not hide what the others have', async () => {
    const { code, out, err } = await varshift('check clean.onnx broken.onnx exposed.onnx --json')
    expect(code).toBe(2)
    expect(lines(err)).toHaveLength(1)
    const results = JSON.parse(out) as Result[]
    expect(results.map(({ model }) => model.path)).toEqual(['clean.onnx', 'exposed.onnx'])
  })

  test('--format sarif has a run for each model', async () => {
    const { out } = await varshift('check clean.onnx exposed.onnx --format sarif')
    const log = JSON.parse(out) as { version: string; runs: { results: { ruleId: string }[] }[] }
    expect(log.version).toBe('2.1.0')
    expect(log.runs).toHaveLength(2)
    expect(log.runs[1]?.results[0]?.ruleId).toBe('dropout-before-batch-norm')
  })

  test('reports go to files as well, in the form of their ending', async () => {
    const { out, err } = await varshift('check exposed.onnx -o found.sarif --html found.html')
    expect(lines(err)).toEqual(['wrote found.sarif', 'wrote found.html'])
    expect(out).toContain('dropout-before-batch-norm')
    expect(JSON.parse(readFileSync(join(folder, 'found.sarif'), 'utf8')).version).toBe('2.1.0')
    expect(readFileSync(join(folder, 'found.html'), 'utf8')).toMatch(/^<!doctype html>/i)
  })

  test('colours: none in a pipe, on demand only', async () => {
    const colored = async (line: string, env?: Record<string, string>) =>
      (await varshift(`check exposed.onnx ${line}`, env ? { env } : {})).out.includes(escapeCharacter)
    expect(await colored('')).toBe(false)
    expect(await colored('', { FORCE_COLOR: '1' })).toBe(true)
    expect(await colored('', { FORCE_COLOR: '1', NO_COLOR: '1' })).toBe(false)
    expect(await colored('--color', { NO_COLOR: '1' })).toBe(true)
    expect(await colored('--no-color', { FORCE_COLOR: '1' })).toBe(false)
  })

  test('lists and explains rules', async () => {
    const list = await varshift('check --list-rules')
    expect(list).toMatchObject({ code: 0, err: '' })
    expect(list.out).toMatch(/^degenerate-batch-norm +error /m)
    const json = JSON.parse((await varshift('check --list-rules --json')).out) as { id: string }[]
    expect(json.map(({ id }) => id)).toContain('folded-or-stripped')
    const page = await varshift('check --explain never-updated-batch-norm')
    for (const heading of ['Why it matters', 'When to ignore it', 'What to do', 'Source'])
      expect(page.out).toContain(heading)
  })

  test('a baseline hides what it lists until something new comes', async () => {
    const base = '--baseline base/known.json'
    mkdirSync(join(folder, 'base'))
    expect(await varshift(`check exposed.onnx clean.onnx -q ${base} --update-baseline`)).toMatchObject({
      code: 0,
      err: '',
    })
    const contents = readFileSync(join(folder, 'base/known.json'), 'utf8')
    const { models } = JSON.parse(contents) as { models: Record<string, string[]> }
    expect(models['../exposed.onnx']).toContain('dropout-before-batch-norm:bn')
    expect(models['../exposed.onnx']).toEqual(models['../exposed.onnx']?.toSorted())

    const again = await varshift(`check exposed.onnx --json ${base}`)
    expect(again.code).toBe(0)
    expect(JSON.parse(again.out)).toMatchObject({
      findings: [],
      suppressed: models['../exposed.onnx']?.length,
    })

    await varshift(`check exposed.onnx ${base} --update-baseline`)
    expect(readFileSync(join(folder, 'base/known.json'), 'utf8')).toBe(contents)

    copyFileSync(join(folder, 'exposed.onnx'), join(folder, 'other.onnx'))
    expect((await varshift(`check other.onnx -q ${base}`)).code).toBe(1)
  })

  test('loads neither ONNX Runtime nor sharp', async () => {
    writeFileSync(
      join(folder, 'loaded.cjs'),
      `process.on('exit', () => require('fs').appendFileSync('loaded.txt', Object.keys(require.cache).join('\\n') + '\\n'))`,
    )
    const env = { NODE_OPTIONS: `--require=${join(folder, 'loaded.cjs')}` }
    const loadedBy = async (line: string) => {
      await varshift(line, { env })
      const loaded = readFileSync(join(folder, 'loaded.txt'), 'utf8')
      rmSync(join(folder, 'loaded.txt'))
      return loaded
    }
    const heavy = /node_modules.(?:onnxruntime|sharp)/
    expect(await loadedBy('check exposed.onnx')).not.toMatch(heavy)
    expect(await loadedBy('measure exposed.onnx --data shapes:count=8,size=8')).toMatch(heavy)
  })
})

describe('configuration', () => {
  const sources = async (line: string, options: RunOptions) => {
    const { code, out, err } = await varshift(`${line} --print-config --json`, options)
    expect([code, err]).toEqual([0, ''])
    return JSON.parse(out) as {
      file: string | null
      settings: Record<string, { value: unknown; source: string }>
    }
  }

  test('flags go before environment before file, from the folder or one above', async () => {
    const inner = join(folder, 'project/src')
    mkdirSync(inner, { recursive: true })
    writeFileSync(
      join(folder, 'project/varshift.config.ts'),
      `const seed: number = 7
      export default { seed, threads: 1, samples: 10, labels: 'labels.txt', data: 'cifar10:data#test',
        severity: { 'degenerate-batch-norm': 'warning', 'folded-or-stripped': 'off' } }`,
    )
    const env = { VARSHIFT_THREADS: '2', VARSHIFT_SAMPLES: '20' }
    const flags = '--samples 30 --severity folded-or-stripped=error'
    const { file, settings } = await sources(`measure ${flags}`, { cwd: inner, env })
    expect(file).toBe(join(folder, 'project/varshift.config.ts'))
    expect(settings).toMatchObject({
      seed: { value: 7, source: '../varshift.config.ts' },
      threads: { value: 2, source: 'VARSHIFT_THREADS' },
      samples: { value: 30, source: '--samples' },
      labels: { value: '../labels.txt' },
      data: { value: 'cifar10:../data#test' },
      batchSize: { value: null, source: 'default' },
      severity: {
        value: { 'degenerate-batch-norm': 'warning', 'folded-or-stripped': 'error' },
        source: '--severity over ../varshift.config.ts',
      },
    })
    expect((await sources('measure --no-config', { cwd: inner })).file).toBeNull()
  })

  test('the search ends at the root of a repository', async () => {
    const inner = join(folder, 'outer/repository')
    mkdirSync(join(inner, '.git'), { recursive: true })
    writeFileSync(join(folder, 'outer/varshift.config.json'), '{ "seed": 1 }')
    expect((await sources('check', { cwd: inner })).file).toBeNull()
    expect((await sources('check', { cwd: join(folder, 'outer') })).file).not.toBeNull()
  })

  test.each([
    ['{ "igonre": ["x"] }', "there is no setting 'igonre'; did you mean 'ignore'?"],
    ['{ "failOn": "warnings" }', 'failOn is "warnings", expected error, warning, info or never'],
    ['{ "samples": 1.5 }', 'samples is 1.5, expected a whole number from 1'],
    ['[]', 'expected an object'],
    ['{', 'cannot read the configuration mistake.json'],
  ])('a mistake in it is one line: %s', async (contents, message) => {
    writeFileSync(join(folder, 'mistake.json'), contents)
    const { code, err } = await varshift('check exposed.onnx --config mistake.json')
    expect(code).toBe(2)
    expect(lines(err)).toHaveLength(1)
    expect(err).toContain(message)
  })

  test('so is one in the environment', async () => {
    const { code, err } = await varshift('check exposed.onnx', { env: { VARSHIFT_FAIL_ON: 'always' } })
    expect(code).toBe(2)
    expect(err).toBe(
      "varshift: error: the environment variable VARSHIFT_FAIL_ON is 'always', expected error, warning, info or never\n",
    )
  })

  test('what it says is done', async () => {
    const cwd = join(folder, 'lenient')
    mkdirSync(cwd)
    writeFileSync(join(cwd, 'varshift.config.mjs'), `export default { failOn: 'never', format: 'json' }`)
    const { code, out } = await varshift('check ../exposed.onnx', { cwd })
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ command: 'check' })
  })
})

describe('measure, fix, compare, report', () => {
  const data = '--data shapes:count=300,size=8 --mode-samples 64 --threads 1'

  test('the whole journey', async () => {
    const measured = await varshift(`measure exposed.onnx ${data} -o shift.json`)
    expect(measured).toMatchObject({ code: 0, err: 'wrote shift.json\n' })
    expect(measured.out).toContain('Shift by layer')
    const shift = resultSchema.parse(JSON.parse(readFileSync(join(folder, 'shift.json'), 'utf8')))
    expect(shift.statistics?.map(({ label }) => label)).toEqual(['bn'])

    const fixed = await varshift(`fix exposed.onnx ${data} -o fixed.onnx --json`)
    expect([fixed.code, fixed.err]).toEqual([0, 'wrote fixed.onnx\n'])
    expect(JSON.parse(fixed.out)).toMatchObject({ repair: { outcome: 'kept', output: 'fixed.onnx' } })

    const elsewhere = await varshift('fix exposed.onnx --from shift.json -o elsewhere.onnx -q')
    expect([elsewhere.code, elsewhere.err]).toEqual([0, ''])
    const [a, b] = ['fixed.onnx', 'elsewhere.onnx'].map((name) => readFileSync(join(folder, name)))
    expect(a?.equals(b!)).toBe(true)

    const compared = await varshift(`compare exposed.onnx fixed.onnx ${data} --json`)
    expect(compared.code).toBe(0)
    const { measurement, after } = resultSchema.parse(JSON.parse(compared.out))
    expect(after!.layers[0]!.shiftRatio).toBeLessThan(measurement!.layers[0]!.shiftRatio)

    const shown = await varshift('report shift.json --html shift.html')
    expect(shown).toMatchObject({ code: 0, err: 'wrote shift.html\n' })
    expect(shown.out).toBe(measured.out)

    const again = await varshift(`fix fixed.onnx ${data} -o twice.onnx`)
    expect(again).toMatchObject({ code: 0, err: 'nothing was written\n' })
    expect(again.out).toContain('Nothing to repair')
    expect(existsSync(join(folder, 'twice.onnx'))).toBe(false)
  })

  test('a dry run writes nothing; in place replaces the model and leaves nothing behind', async () => {
    mkdirSync(join(folder, 'place'))
    const copy = join(folder, 'place/model.onnx')
    copyFileSync(join(folder, 'exposed.onnx'), copy)
    const before = readFileSync(copy)
    const dry = await varshift(`fix place/model.onnx ${data} --dry-run`)
    expect(dry).toMatchObject({ code: 0, err: 'dry run: nothing was written\n' })
    expect(readFileSync(copy).equals(before)).toBe(true)
    expect(await varshift(`fix place/model.onnx ${data} --in-place`)).toMatchObject({
      code: 0,
      err: 'wrote place/model.onnx\n',
    })
    expect(readFileSync(copy).equals(before)).toBe(false)
    expect(readdirSync(join(folder, 'place'))).toEqual(['model.onnx'])
  })

  test('Ctrl-C gives what has been measured, marked as partial', async () => {
    const line =
      'measure exposed.onnx --data shapes:count=2000000,size=8 --mode-samples 0 --threads 1 -v -o partial.json'
    const { code, err } = await varshift(line, { interruptAt: 'measuring' })
    expect(code).toBe(130)
    expect(lines(err)).toContain('stopping after this batch (Ctrl-C again to quit at once)')
    const { measurement } = JSON.parse(readFileSync(join(folder, 'partial.json'), 'utf8')) as Result
    expect(measurement?.partial).toBe(true)
    expect(measurement?.data.samples).toBeGreaterThan(0)
  })

  test('Ctrl-C during a repair writes nothing', async () => {
    const line =
      'fix exposed.onnx --data shapes:count=2000000,size=8 --mode-samples 0 --threads 1 -v -o never.onnx'
    const { code, err } = await varshift(line, { interruptAt: 'measuring' })
    expect(code).toBe(130)
    expect(lines(err).at(-1)).toBe('varshift: stopped; nothing was written')
    expect(existsSync(join(folder, 'never.onnx'))).toBe(false)
  })
})
