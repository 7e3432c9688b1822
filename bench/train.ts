/**
 * Whole steps of training (forward, backward, SGD with momentum and weight decay, BatchNormalization by the batch), batch
 * 64, in varshift and in its peer, each in a process of its own. They take turns, a few steps each; medians are printed.
 *
 *   npm run bench:train -- [NETWORK...] [--rounds 7] [--threads 2] [--python python3]
 *
 * `--python` has PyTorch; where it is not there, that is skipped with a line.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { version } from '../src/version.ts'
import { machine, median } from './measure.ts'

interface TrainRow {
  network: string
  oursMs: number
  peer: string
  peerMs: number
  /** Of our time to the peer's, the median of the rounds; below 1 we are faster. */
  ratio: number
  oursMiB: number
  peerMiB: number
}

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
  },
})
const batch = 64
const warmUp = 2
const blockMs = 1500

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

  async step(): Promise<number> {
    this.#child.stdin!.write('step\n')
    const [ms = 0, memory = 0] = String((await this.#lines.next()).value)
      .split(' ')
      .map(Number)
    this.memoryMiB = memory
    return ms
  }

  /** Median of some steps in a row, the first not counted: it finds the caches full of the other's data. */
  async steps(count: number): Promise<number> {
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

const peers: { name: string; start: (network: string) => Promise<Trainer | undefined> }[] = [
  {
    name: 'PyTorch',
    start: (network) => Trainer.start(values.python, [pathOf('peers/train_torch.py'), ...common(network)]),
  },
]

const wanted = positionals.length > 0 ? positionals : networks
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

for (const network of wanted) {
  for (const { name, start } of peers) {
    const peer = await start(network)
    if (!peer) {
      console.error(`skipped: ${network} in ${name} (not installed, or it cannot train it)`)
      continue
    }
    const ours = await Trainer.start(process.execPath, [pathOf('train-worker.mjs'), ...common(network)])
    if (!ours) throw new Error(`the worker for ${network} did not start; run npm run build`)
    versions[name] = peer.release
    for (let i = 0; i < warmUp; i++) {
      await ours.step()
      await peer.step()
    }
    const times: { ours: number; peer: number }[] = []
    const count = (ms: number) => Math.max(2, Math.min(30, Math.round(blockMs / ms)))
    const [ourCount, peerCount] = [count(await ours.step()), count(await peer.step())]
    for (let round = 0; round < Number(values.rounds); round++)
      times.push({ ours: await ours.steps(ourCount), peer: await peer.steps(peerCount) })
    rows.push({
      network,
      oursMs: rounded(median(times.map(({ ours }) => ours))),
      peer: name,
      peerMs: rounded(median(times.map(({ peer }) => peer))),
      ratio: rounded(median(times.map(({ ours, peer }) => ours / peer)), 3),
      oursMiB: Math.round(ours.memoryMiB),
      peerMiB: Math.round(peer.memoryMiB),
    })
    console.error(JSON.stringify(rows.at(-1)))
    ours.stop()
    peer.stop()
  }
}

console.table(rows)
if (positionals.length === 0) {
  const result = { machine: machine(), versions, threads: Number(values.threads), batch, rows }
  writeFileSync(new URL('results/train.json', import.meta.url), `${JSON.stringify(result, null, 2)}\n`)
}

function rounded(value: number, digits = 1): number {
  return Math.round(value * 10 ** digits) / 10 ** digits
}
