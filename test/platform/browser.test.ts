import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, extname, join, normalize, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { build } from 'vite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { check as checkInNode, measure, readModel, trainer } from '../../src/index.ts'
import type { Result } from '../../src/result/result.ts'

const browser = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium'
const hasBrowser = existsSync(browser)
if (!hasBrowser)
  process.stdout.write(
    `browser test skipped: there is no ${browser}; install Chromium, or set CHROMIUM_PATH to where it is\n`,
  )

const root = fileURLToPath(new URL('../../', import.meta.url))
const fixture = join(root, 'test/oracle/networks/mlp')
const oracle = join(root, 'test/oracle')
/** Models of other formats, as folders of files. */
const others = [
  'keras/sequential/model.keras',
  'keras/sequential/model.h5',
  'tfjs/quantized-uint8/model.json',
].map((model) => ({
  model,
  files: model.endsWith('.json')
    ? readdirSync(join(oracle, dirname(model))).map((name) => `${dirname(model)}/${name}`)
    : [model],
}))
const runtime = join(root, 'node_modules/onnxruntime-web/dist')
const folder = mkdtempSync(join(tmpdir(), 'varshift-browser-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** What a page does with the library: everything in memory, ONNX Runtime in WebAssembly on one thread. */
const page = `
import { env } from 'onnxruntime-web'
import { check, fix, measure, memoryFiles, readModel, trainer, UserError } from ${JSON.stringify(join(root, 'src/browser.ts'))}

env.wasm.wasmPaths = '/runtime/'
env.wasm.numThreads = 1

async function run() {
  const fetched = async (name) => new Uint8Array(await (await fetch('/fixture/' + name)).arrayBuffer())
  const files = memoryFiles(new Map([
    ['model.onnx', await fetched('model.onnx')],
    ['data.npz', await fetched('data.npz')],
    ['text.onnx', new TextEncoder().encode('no model')],
  ]))
  const model = await readModel('model.onnx', files)
  const options = { data: 'data.npz', modeSamples: 100 }
  const refusal = await readModel('text.onnx', files).catch((error) => error)
  const fixed = await fix(model, options, files)
  const training = await trainer(model, { data: 'data.npz', batchSize: 32, learningRate: 0.02, epochs: 2, seed: 4 }, files)
  const losses = []
  for await (const event of training) if (event.type === 'step') losses.push(event.loss)
  const others = []
  for (const { model, files } of ${JSON.stringify(others)}) {
    const contents = new Map()
    for (const name of files)
      contents.set(name, new Uint8Array(await (await fetch('/oracle/' + name)).arrayBuffer()))
    others.push(check(await readModel(model, memoryFiles(contents))).findings.map(({ fingerprint }) => fingerprint))
  }
  return {
    losses,
    others,
    check: check(model),
    measured: await measure(model, options, files),
    fixed: fixed.result,
    bytes: fixed.chunks.reduce((sum, chunk) => sum + chunk.length, 0),
    refusal: refusal instanceof UserError ? refusal.message : String(refusal),
  }
}
globalThis.outcome = run()
`

const types: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
}

/** Serves the files below some folders, each under a name. */
async function serve(folders: Record<string, string>): Promise<Server> {
  const server = createServer((request, response) => {
    const [, name = '', ...rest] = new URL(request.url ?? '/', 'http://localhost').pathname.split('/')
    const base = folders[name]
    const path = base && normalize(join(base, ...rest))
    if (!path?.startsWith(base + sep) || !existsSync(path)) {
      response.writeHead(404).end()
      return
    }
    response.writeHead(200, { 'content-type': types[extname(path)] ?? 'application/octet-stream' })
    response.end(readFileSync(path))
  })
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  return server
}

describe.skipIf(!hasBrowser)('in a browser', () => {
  let server: Server
  beforeAll(async () => {
    mkdirSync(join(folder, 'source'))
    writeFileSync(join(folder, 'source/page.js'), page)
    await build({
      configFile: false,
      logLevel: 'silent',
      root: join(folder, 'source'),
      resolve: { alias: { 'onnxruntime-web': join(runtime, 'ort.bundle.min.mjs') } },
      build: {
        outDir: join(folder, 'app'),
        emptyOutDir: true,
        target: 'es2022',
        rollupOptions: { input: join(folder, 'source/page.js'), output: { entryFileNames: 'page.js' } },
      },
    })
    writeFileSync(
      join(folder, 'app/index.html'),
      '<!doctype html><meta charset="utf-8"><title>varshift</title><script type="module" src="page.js"></script>',
    )
    server = await serve({ app: join(folder, 'app'), runtime, fixture, oracle })
  }, 120_000)
  afterAll(() => server?.close())

  test('nothing of Node is in the bundle', () => {
    const scripts = readdirSync(join(folder, 'app'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      /\.m?js$/.test(name),
    )
    expect(scripts).toContain('page.js')
    for (const name of scripts)
      expect(readFileSync(join(folder, 'app', name), 'utf8')).not.toMatch(/from\s*["']node:|onnxruntime-node/)
  })

  test('check, measure and fix give what they give in Node', async () => {
    const inNode = await measure(await readModel(join(fixture, 'model.onnx')), {
      data: join(fixture, 'data.npz'),
      modeSamples: 100,
    })
    const instance = await chromium.launch({
      executablePath: browser,
      args: ['--no-sandbox', '--disable-background-networking'],
    })
    try {
      const tab = await instance.newPage()
      const problems: string[] = []
      tab.on('pageerror', (error) => problems.push(error.message))
      const { port } = server.address() as AddressInfo
      await tab.goto(`http://127.0.0.1:${port}/app/index.html`)
      await tab.waitForFunction('globalThis.outcome')
      const outcome = (await tab.evaluate('globalThis.outcome')) as {
        check: Result
        measured: Result
        fixed: Result
        bytes: number
        refusal: string
        losses: number[]
        others: string[][]
      }
      expect(problems).toEqual([])
      // Figures differ in their last digits: Math.exp is not the same in every engine.
      const told = ({ findings }: Result) => findings.map(({ rule, fingerprint }) => `${rule} ${fingerprint}`)
      expect(told(outcome.check)).toEqual(told(inNode))
      const [here, there] = [inNode.measurement!, outcome.measured.measurement!]
      expect(there.layers.map(({ label }) => label)).toEqual(here.layers.map(({ label }) => label))
      for (const [i, layer] of there.layers.entries())
        expect(Math.abs(layer.shiftRatio / here.layers[i]!.shiftRatio - 1)).toBeLessThan(1e-4)
      expect(there.modes.eval.accuracy).toBe(here.modes.eval.accuracy)
      expect(there.modes.agreements).toHaveLength(3)
      expect(outcome.fixed.repair?.outcome).toBe('kept')
      expect(outcome.bytes).toBeGreaterThan(70_000)
      const training = await trainer(await readModel(join(fixture, 'model.onnx')), {
        data: join(fixture, 'data.npz'),
        batchSize: 32,
        learningRate: 0.02,
        epochs: 2,
        seed: 4,
      })
      const losses: number[] = []
      for await (const event of training) if (event.type === 'step') losses.push(event.loss)
      expect(losses.length).toBe(12)
      expect(outcome.losses.length).toBe(12)
      for (const [i, loss] of losses.entries())
        expect(Math.abs(outcome.losses[i]! / loss - 1)).toBeLessThan(1e-3)
      for (const [i, { model }] of others.entries()) {
        const found = checkInNode(await readModel(join(oracle, model))).findings
        expect(found.length, model).toBeGreaterThan(0)
        expect(outcome.others[i], model).toEqual(found.map(({ fingerprint }) => fingerprint))
      }
      expect(outcome.refusal).toMatch(/text\.onnx: this is a text file, not a model/)
    } finally {
      await instance.close()
    }
  }, 120_000)
})
