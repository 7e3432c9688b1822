import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { factsOf } from '../../src/analysis/index.ts'
import { encodeModel } from '../../src/formats/onnx/index.ts'
import { openModel } from '../../src/formats/open-model.ts'
import { parseModel } from '../../src/ir/text.ts'
import { nodeFiles } from '../../src/platform/node.ts'
import { type Result, resultSchema } from '../../src/result/result.ts'

const jiti = fileURLToPath(new URL('../../node_modules/jiti/lib/jiti-cli.mjs', import.meta.url))
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'varshift-train-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))

interface Run {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Runs `varshift train` with the words of `line`; `stop` sends a signal once the log tells of that step. */
function train(
  line: string,
  stop?: { signal: 'SIGINT' | 'SIGKILL'; log: string; step: number },
): Promise<Run> {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(VARSHIFT_|FORCE_COLOR|VITEST)/.test(name)),
  )
  const child = spawn(process.execPath, [jiti, main, 'train', ...line.split(' ').filter(Boolean)], {
    cwd: folder,
    env: { ...env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [out, err] = ['', '']
  child.stdout.on('data', (data) => {
    out += data
  })
  child.stderr.on('data', (data) => {
    err += data
  })
  const watch = setInterval(() => {
    const log = stop && join(folder, stop.log)
    if (!log || !existsSync(log) || !readFileSync(log, 'utf8').includes(`"type":"step","step":${stop.step},`))
      return
    clearInterval(watch)
    child.kill(stop.signal)
  }, 2)
  return new Promise((resolve) =>
    child.on('close', (code) => {
      clearInterval(watch)
      resolve({ code, out, err })
    }),
  )
}

const read = (name: string) => readFileSync(join(folder, name))
const stepsIn = (log: string) =>
  read(log)
    .toString()
    .split('\n')
    .flatMap((line) => (/"type":"step","step":(\d+)/.exec(line) ?? []).slice(1).map(Number))

describe('varshift train', () => {
  const data = '--data shapes:count=240,size=12,seed=1'
  const recipe = `preresnet-8 ${data} --validation 0.2 --epochs 6 --batch-size 16 --dropout 0.3 --placement before-norm --augment crop=1,flip --lr 0.05 --momentum 0.9 --schedule cosine --weight-decay 1e-4 --seed 5 --threads 2`

  test('goes on after Ctrl-C and kill -9 and writes the very same file', { timeout: 120_000 }, async () => {
    const whole = await train(`${recipe} -o whole.onnx`)
    expect(whole).toMatchObject({ code: 0 })
    expect(whole.out).toMatch(/Trained: accuracy .* on the validation samples after 6 epochs/)
    expect(whole.err).toMatch(/epoch 1: loss .*validation loss/)

    const stopped = await train(`${recipe} -o parts.onnx --checkpoint-dir run --log run.jsonl`, {
      signal: 'SIGINT',
      log: 'run.jsonl',
      step: 5,
    })
    expect(stopped).toMatchObject({ code: 130 })
    expect(stopped.err).toContain('varshift: stopped; go on with: varshift train --resume run')
    expect(existsSync(join(folder, 'parts.onnx'))).toBe(false)

    const killed = await train('--resume run', { signal: 'SIGKILL', log: 'run.jsonl', step: 40 })
    expect(killed.code).toBe(null)
    const rest = await train('--resume run --json')
    expect(rest).toMatchObject({ code: 0 })
    const result = resultSchema.parse(JSON.parse(rest.out) as Result)
    expect(result).toMatchObject({
      command: 'train',
      seed: 5,
      training: { ended: 'finished', steps: 72, output: 'parts.onnx' },
    })
    expect(result.training!.curve.map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4, 5, 6])
    expect(read('parts.onnx').equals(read('whole.onnx'))).toBe(true)
    expect(stepsIn('run.jsonl')).toEqual(Array.from({ length: 72 }, (_, i) => i + 1))

    const { model } = await openModel(join(folder, 'whole.onnx'), nodeFiles)
    const { noises, norms } = factsOf(model)
    expect(noises.map(({ kind, active }) => [kind, active])).toEqual(noises.map(() => ['dropout', 'never']))
    expect(noises.length).toBeGreaterThan(0)
    expect(norms[0]!.mean!.some((value) => value !== 0)).toBe(true)
  })

  test('fine-tunes a file in its own format, and leaves the file as it was', {
    timeout: 60_000,
  }, async () => {
    const bytes = encodeModel(
      parseModel(`<ir_version: 8, opset_import: ["": 17]>
        net (float32[N, 432] x) => (float32[N, 10] y) <float32[10, 432] w = uniform(-0.1, 0.1, 1), float32[10] b = fill(0)>
        { y = Gemm <transB = 1> (x, w, b) }`),
    )
    writeFileSync(join(folder, 'plain.onnx'), bytes)
    const run = await train(`plain.onnx ${data} --epochs 2 --lr 1e-2 -o tuned.onnx`)
    expect(run).toMatchObject({ code: 0 })
    expect(read('plain.onnx').equals(bytes)).toBe(true)
    expect(read('tuned.onnx').length).toBe(bytes.length)
    expect(read('tuned.onnx').equals(bytes)).toBe(false)
  })

  test('says in one line what is wrong, and writes nothing', { timeout: 120_000 }, async () => {
    writeFileSync(join(folder, 'labels.txt'), 'x')
    for (const [line, message] of [
      [`preresnet-8 ${data}`, /where is the trained model to go\? give -o FILE/],
      [`preresnet-8 -o x.onnx`, /train needs samples/],
      [`nonsense ${data} -o x.onnx`, /there is no network 'nonsense'; there are/],
      [`missing.onnx ${data} -o x.onnx`, /there is no file 'missing.onnx'/],
      [`preresnet-8 ${data} --dropout 0.5 -o x.onnx`, /needs a placement/],
      [
        `preresnet-8 ${data} --noise dropout -o x.onnx`,
        /--noise is 'dropout', expected a kind and its value/,
      ],
      [`preresnet-8 ${data} --loss cross -o x.onnx`, /no loss is called 'cross'; there are cross-entropy/],
      [`preresnet-8 ${data} --momentum 2 -o x.onnx`, /--momentum.*expected a number from 0/],
      [`preresnet-8 ${data} --schedule cosine:warm=1 -o x.onnx`, /schedule 'cosine' has no setting 'warm'/],
      [`preresnet-8 ${data} --augment zoom -o x.onnx`, /'zoom' is no augmentation/],
      [`--resume nowhere`, /'nowhere' holds no checkpoint/],
      [`preresnet-8 --resume run`, /leave the argument out/],
    ] as const) {
      const { code, err } = await train(line)
      expect({ line, code }).toEqual({ line, code: 2 })
      expect(err.trimEnd().split('\n').length).toBe(1)
      expect(err).toMatch(message)
    }
    expect(existsSync(join(folder, 'x.onnx'))).toBe(false)
  })
})
