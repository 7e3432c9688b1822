/**
 * What measuring costs: a batch in a long pass of `measure` against plain ONNX Runtime inference of the same model and
 * batch, and against the forward pass in train mode that PyTorch's update_bn makes (where torch is installed).
 * All take turns on the same data, a few runs each; medians of the ratios of each round are printed.
 *
 *   npm run bench -- measure [--rounds 15] [--threads 2] [--python python3]
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { cpus } from 'node:os'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { factsOf } from '../src/analysis/index.ts'
import { encodeModel } from '../src/formats/onnx/index.ts'
import type { Model } from '../src/ir/model.ts'
import { uniform } from '../src/ir/random.ts'
import { Tensor } from '../src/ir/tensor.ts'
import { createProbedSession } from '../src/measure/blocked-probe.ts'
import { Gathering, probeInMode, runBatches } from '../src/measure/measure.ts'
import { nodeFiles } from '../src/platform/node.ts'
import { toMode } from '../src/rewrite/modes/mode.ts'
import { createSession } from '../src/runtime/session.ts'
import { densenet100, preresnet110, resnet50 } from './networks.ts'

export interface MeasureRow {
  network: string
  batch: number
  norms: number
  plainMs: number
  measureMs: number
  ratio: number
  updateBnMs: number | null
  ratioToUpdateBn: number | null
}

const cases: { network: string; build: () => Model; batch: number; size: number }[] = [
  { network: 'resnet50', build: resnet50, batch: 8, size: 224 },
  { network: 'preresnet110', build: preresnet110, batch: 16, size: 32 },
  { network: 'densenet100', build: densenet100, batch: 16, size: 32 },
]

export async function benchMeasure(options: {
  rounds: number
  threads: number
  python: string
}): Promise<MeasureRow[]> {
  const rows: MeasureRow[] = []
  for (const { network, build, batch, size } of cases) {
    const model = build()
    const dims = [batch, 3, size, size]
    const x = Tensor.float32(dims, uniform(batch * 3 * size * size, -1, 1, 1))
    const feeds = new Map([['x', x]])
    const fields = [{ name: 'x', dataType: 'float32' as const, sampleShape: dims.slice(1) }]
    const probed = probeInMode(model, 'eval', { fields })
    const { threads } = options
    const plain = await createSession(encodeModel(toMode(model, 'eval')), { threads })
    const measured = await createProbedSession(probed, { batchSize: batch, files: nodeFiles, threads })
    const peer = await Peer.start(options.python, network, batch, threads)
    const gathering = new Gathering(probed, measured.places)
    const times: { plain: number[]; measure: number[]; peer: number[] } = { plain: [], measure: [], peer: [] }
    // Each in short runs of its own, as in use: the first of a run finds the caches full of the other's data.
    const plainBatch = async () => {
      await plain.run(feeds)
      const start = performance.now()
      for (let i = 0; i < blockLength; i++) await plain.run(feeds)
      return (performance.now() - start) / blockLength
    }
    const measuredBatch = async () => {
      await measured.run(feeds)
      const start = performance.now()
      const batches = Array.from({ length: blockLength }, () => ({ inputs: feeds, size: batch }))
      for await (const { fetched } of runBatches(measured, batches)) gathering.add(fetched, batch)
      return (performance.now() - start) / blockLength
    }
    const peerBatch = async (process: Peer) => {
      await process.run()
      let sum = 0
      for (let i = 0; i < blockLength; i++) sum += await process.run()
      return sum / blockLength
    }
    for (let round = 0; round <= options.rounds; round++) {
      const own = {
        plain: await plainBatch(),
        measure: await measuredBatch(),
        peer: peer && (await peerBatch(peer)),
      }
      if (round === 0) continue
      times.plain.push(own.plain)
      times.measure.push(own.measure)
      if (own.peer !== undefined) times.peer.push(own.peer)
    }
    peer?.stop()
    await plain.release()
    await measured.release()
    const ratios = (a: number[], b: number[]) => a.map((value, i) => value / b[i]!)
    rows.push({
      network,
      batch,
      norms: factsOf(model).norms.length,
      plainMs: median(times.plain),
      measureMs: median(times.measure),
      ratio: median(ratios(times.measure, times.plain)),
      updateBnMs: times.peer.length > 0 ? median(times.peer) : null,
      ratioToUpdateBn: times.peer.length > 0 ? median(ratios(times.measure, times.peer)) : null,
    })
  }
  return rows
}

/** Runs of one kind in a row. */
const blockLength = 6

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted.length % 2 === 1
    ? sorted[sorted.length >> 1]!
    : (sorted[sorted.length / 2 - 1]! + sorted[sorted.length / 2]!) / 2
}

/** A PyTorch process that runs one forward pass in train mode for each line it is sent. */
class Peer {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.#child = child
    this.#lines = lines
  }

  static async start(
    python: string,
    network: string,
    batch: number,
    threads: number,
  ): Promise<Peer | undefined> {
    const script = fileURLToPath(new URL('update_bn.py', import.meta.url))
    const child = spawn(python, [script, network, String(batch), String(threads)], {
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    child.on('error', () => {})
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
    const first = await lines.next()
    if (first.value === 'ready') return new Peer(child, lines)
    console.error(
      `skipped: PyTorch's update_bn (no torch in '${python}'; pip install torch, or give --python)`,
    )
    return undefined
  }

  async run(): Promise<number> {
    this.#child.stdin!.write('run\n')
    return Number((await this.#lines.next()).value)
  }

  stop(): void {
    this.#child.stdin!.end()
  }
}

export const machine = () => `${cpus()[0]?.model.trim() ?? 'unknown'}, ${cpus().length} cores`
