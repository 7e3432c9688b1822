/**
 * Whole steps of training (forward, backward, SGD with momentum and weight decay, BatchNormalization by the batch), batch
 * 64, in varshift and in its peer, each in a process of its own. They take turns, a few steps each; medians are printed.
 *
 *   npm run bench:train -- [NETWORK...] [--rounds 7] [--threads 2] [--python python3] [--peers FOLDER]
 *
 * `--python` has PyTorch. FOLDER has `@tensorflow/tfjs`, `@tensorflow/tfjs-backend-wasm` and `@jax-js/jax` in its
 * node_modules (npm install them there). A peer that is not there is skipped with a line; one that is there and cannot
 * train a network gets a row that says why. Rows of other networks and absent peers stay in bench/results/train.json.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { version } from '../src/version.ts'
import { machine, median } from './measure.ts'

interface Measured {
  network: string
  oursMs: number
  peer: string
  peerMs: number
  /** Of our time to the peer's, the median of the rounds; below 1 we are faster. */
  ratio: number
  oursMiB: number
  peerMiB: number
}
type TrainRow = Measured | { network: string; peer: string; cannotRun: string }

const networks = [
  'preresnet-20',
  'wrn-16-4',
  'densenet-bc-40-12',
  'resnext-20-4x16',
  'vgg-11-bn',
  'mlp-784-1024-1024-10',
]

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '7' },
    threads: { type: 'string', default: '2' },
    python: { type: 'string', default: 'python3' },
    peers: { type: 'string' },
  },
})
const batch = 64
const warmUp = 2
const blockMs = 1500
/** Of a peer with longer steps the second one is all that is measured. */
const slowMs = 20_000
/** A peer with longer steps is given up. */
const longestMs = 400_000
/** What peers are asked to train that are some hundred times slower; the others take 4 to 30 times as long. */
const forSlowPeers = ['preresnet-20', 'mlp-784-1024-1024-10']

class CannotRun extends Error {}

/** A process that makes one step of training for each line it is sent. */
class Trainer {
  /** Peak resident memory so far. */
  memoryMiB = 0
  readonly release: string
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  private constructor(child: ChildProcess, lines: AsyncIterator<string>, release: string) {
    this.#child = child
    this.#lines = lines
    this.release = release
  }

  /** Undefined if it does not get ready. */
  static async start(command: string, args: readonly string[]): Promise<Trainer | undefined> {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] })
    child.on('error', () => {})
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
    const [ready, release = ''] = String((await lines.next()).value).split(' ')
    return ready === 'ready' ? new Trainer(child, lines, release) : undefined
  }

  /** Throws a CannotRun if there is no step. */
  async step(): Promise<number> {
    this.#child.stdin!.write('step\n')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), longestMs)
    const { value } = await this.#lines.next()
    clearTimeout(timer)
    const [, reason] = /^cannot (.*)/.exec(value ?? '') ?? []
    if (reason) throw new CannotRun(reason)
    if (value === undefined)
      throw new CannotRun(
        this.#child.killed ? `a step takes more than ${longestMs / 1000} s` : 'its process ended',
      )
    const [ms = 0, memory = 0] = value.split(' ').map(Number)
    this.memoryMiB = memory
    return ms
  }

  /** Median of some steps in a row, behind one that is not counted: it finds the caches full of the other's data. */
  async steps(count: number): Promise<number> {
    if (count === 1) return this.step()
    await this.step()
    const times: number[] = []
    for (let i = 0; i < count; i++) times.push(await this.step())
    return median(times)
  }

  stop(): void {
    this.#child.stdin!.end()
    this.#child.kill()
  }
}

const pathOf = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const common = (network: string) => [network, String(batch), values.threads]

interface Peer {
  readonly name: string
  readonly start: (network: string) => Promise<Trainer | undefined>
}

/** Libraries in the user's folder. */
const scripts: readonly (Peer & { readonly needs: string })[] = [
  ...(['cpu', 'wasm'] as const).map((backend) => ({
    name: backend === 'cpu' ? 'TF.js (CPU)' : 'TF.js (WASM)',
    needs: backend === 'cpu' ? '@tensorflow/tfjs' : '@tensorflow/tfjs-backend-wasm',
    start: (network: string) => startScript('train_tfjs.mjs', network, backend),
  })),
  {
    name: 'jax-js (WASM)',
    needs: '@jax-js/jax',
    start: (network) => startScript('train_jax.mjs', network),
  },
]

const startScript = (script: string, network: string, ...more: string[]) =>
  Trainer.start(process.execPath, [
    pathOf(`peers/${script}`),
    ...common(network),
    resolve(values.peers!),
    ...more,
  ])

const isInstalled = (name: string) => values.peers && existsSync(join(values.peers, 'node_modules', name))

const peers: readonly Peer[] = [
  {
    name: 'PyTorch',
    start: (network) => Trainer.start(values.python, [pathOf('peers/train_torch.py'), ...common(network)]),
  },
  ...scripts.filter(({ needs }) => isInstalled(needs)),
]

const rows: TrainRow[] = []
const versions: Record<string, string> = {
  varshift: version,
  node: process.version,
  onnxruntime: (
    JSON.parse(
      readFileSync(new URL('../node_modules/onnxruntime-node/package.json', import.meta.url), 'utf8'),
    ) as { version: string }
  ).version,
}

for (const { name, needs } of scripts)
  if (!isInstalled(needs)) console.error(`skipped: ${name} (give --peers a folder with ${needs} installed)`)

for (const { name, start } of peers) {
  const usual = name === 'PyTorch' ? networks : forSlowPeers
  for (const network of positionals.length > 0 ? positionals : usual) {
    const peer = await start(network)
    if (!peer) {
      console.error(`skipped: ${network} in ${name} (not installed)`)
      continue
    }
    versions[name] = peer.release
    const ours = await Trainer.start(process.execPath, [pathOf('train-worker.mjs'), ...common(network)])
    if (!ours) throw new Error(`the worker for ${network} did not start; run npm run build`)
    try {
      rows.push({ network, peer: name, ...(await compare(ours, peer)) })
    } catch (error) {
      if (!(error instanceof CannotRun)) throw error
      rows.push({ network, peer: name, cannotRun: error.message })
    }
    console.error(JSON.stringify(rows.at(-1)))
    ours.stop()
    peer.stop()
  }
}

async function compare(ours: Trainer, peer: Trainer): Promise<Omit<Measured, 'network' | 'peer'>> {
  // The first step of a peer may compile what it runs.
  const isSlow = (await peer.step()) > slowMs
  for (let i = 0; i < warmUp; i++) await ours.step()
  const times: { ours: number; peer: number }[] = []
  const count = (ms: number) => Math.max(2, Math.min(30, Math.round(blockMs / ms)))
  const ourCount = count(await ours.step())
  const peerCount = isSlow ? 1 : count(await peer.step())
  for (let round = 0; round < (isSlow ? 1 : Number(values.rounds)); round++)
    times.push({ ours: await ours.steps(ourCount), peer: await peer.steps(peerCount) })
  return {
    oursMs: rounded(median(times.map(({ ours }) => ours))),
    peerMs: rounded(median(times.map(({ peer }) => peer))),
    ratio: rounded(median(times.map(({ ours, peer }) => ours / peer)), 4),
    oursMiB: Math.round(ours.memoryMiB),
    peerMiB: Math.round(peer.memoryMiB),
  }
}

console.table(rows)
const path = new URL('results/train.json', import.meta.url)
const last = JSON.parse(readFileSync(path, 'utf8')) as { versions: typeof versions; rows: TrainRow[] }
// What was measured of other networks and peers stays.
const isNew = (row: TrainRow) =>
  rows.some(({ network, peer }) => network === row.network && peer === row.peer)
const all = [...rows, ...last.rows.filter((row) => !isNew(row))]
const placeOf = ({ network, peer }: TrainRow) =>
  peers.findIndex(({ name }) => name === peer) * networks.length + networks.indexOf(network)
const result = {
  machine: machine(),
  versions: { ...last.versions, ...versions },
  threads: Number(values.threads),
  batch,
  rows: all.toSorted((a, b) => placeOf(a) - placeOf(b)),
}
writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`)

function rounded(value: number, digits = 1): number {
  return Math.round(value * 10 ** digits) / 10 ** digits
}
