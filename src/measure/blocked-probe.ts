import { readModel } from '../formats/onnx/index.ts'
import { GraphBuilder } from '../ir/builder.ts'
import type { Model, Node } from '../ir/model.ts'
import { byteLengthOf, Tensor } from '../ir/tensor.ts'
import { type Uses, usesOf } from '../ir/uses.ts'
import { nchwcDomain } from '../ops/blocked/index.ts'
import type { Files } from '../platform/files.ts'
import { channelBlock } from '../runtime/channel-block.ts'
import { createSession, type Session, type SessionOptions } from '../runtime/session.ts'
import type { Probed, Stretch } from './probe.ts'

/** Weights up to which a second session is worth its memory, in bytes. */
const largestWeights = 2 ** 28

/** Batches from which on a faster pass pays for the second session. */
export const fewestBatches = 32

export interface BlockedProbeOptions extends Pick<SessionOptions, 'threads' | 'name'> {
  /** Samples in most of the batches. */
  readonly batchSize: number
  readonly files?: Pick<Files, 'read' | 'join' | 'withTemporaryFolder'> | undefined
}

/** An output that takes the place of the one that a stretch lies in, with rows as wide but not of one sample each. */
export interface Place {
  readonly output: string
  /** Samples that each row is the sum of; the first row begins with the first one, and so on. */
  readonly samplesPerRow: number
  /** What they are to be multiplied by. */
  readonly factor: number
}

export interface ProbedSession extends Session {
  /** Of the stretches that are not where the probed model says, if a run returns such an output. */
  readonly places: ReadonlyMap<Stretch, Place>
}

/**
 * A session of a probed model that takes the squares of batches of `batchSize` samples without writing them down.
 *
 * ONNX Runtime has no operator for the sum of squares of a value in the blocked layout that its convolutions work in: it
 * squares into a new value and pools that. But a value whose samples are taken as channels, convolved in depth by itself
 * as kernel, gives just these sums in one pass that writes nothing (decision 0020). The layout is ONNX Runtime's own
 * choice, so the model is read back as its optimiser left it, and only the squares in that are replaced. Batches of other
 * sizes run as the model was. Where nothing can be gained the session is the ordinary one.
 */
export async function createProbedSession(
  probed: Probed & { positions(value: string): number | undefined },
  { batchSize, files, threads, name }: BlockedProbeOptions,
): Promise<ProbedSession> {
  const { model } = probed
  const block = await blockFor(model, files)
  const create = async (optimisedTo?: string) => ({
    ...(await createSession(model, { threads, name, optimisedTo })),
    places: new Map(),
  })
  if (block === undefined) return create()
  // It is no more than a shorter way: a full disk, or a layout that has changed, must not stop anyone.
  return files!.withTemporaryFolder!(async (folder) => {
    const path = files!.join(folder, 'optimised.onnx')
    const plain = await create(path)
    const faster = await blockedSession(path).catch(() => undefined)
    return faster ? beside(plain, faster) : plain
  }).catch(() => create())

  async function blockedSession(path: string): Promise<ProbedSession | undefined> {
    const optimised = readModel(await files!.read(path)).model
    const found = withBlockedSquares(optimised, probed, { block: block!, batchSize })
    if (!found) return undefined
    return {
      ...(await createSession(found.model, { threads, name, isOptimised: true })),
      places: found.places,
    }
  }

  function beside(plain: ProbedSession, faster: ProbedSession): ProbedSession {
    return {
      ...plain,
      places: faster.places,
      run: (feeds) => {
        const [first] = feeds.values()
        return (first?.dims[0] === batchSize ? faster : plain).run(feeds)
      },
      async release() {
        await faster.release()
        await plain.release()
      },
    }
  }
}

async function blockFor(model: Model, files: BlockedProbeOptions['files']): Promise<number | undefined> {
  let bytes = 0
  for (const tensor of model.graph.initializers.values()) bytes += byteLengthOf(tensor.dataType, tensor.dims)
  return files?.withTemporaryFolder && bytes <= largestWeights ? channelBlock() : undefined
}

/** The optimised model with its blocked squares replaced; undefined if it holds none. */
function withBlockedSquares(
  optimised: Model,
  { stretches, positions }: Probed & { positions(value: string): number | undefined },
  { block, batchSize }: { readonly block: number; readonly batchSize: number },
): { model: Model; places: ReadonlyMap<Stretch, Place> } | undefined {
  const { graph } = optimised
  const uses = usesOf(graph)
  const build = new GraphBuilder(optimised)
  const places = new Map<Stretch, Place>()
  const outputs = new Map<string, string>()
  const replaced = new Set<Node>()
  /** New nodes by the value that they read, in the order of the graph. */
  const added = new Map<string, Node[]>()
  const joined: Node[] = []
  /** Blocked values with their samples as channels. */
  const flat = new Map<string, string>()
  const rowsPerBatch = rowsFor(batchSize)
  const samplesPerRow = batchSize / rowsPerBatch

  for (const [output, parts] of stretchesByOutput(stretches)) {
    const joint = withoutReorder(uses, output)
    if (joint?.opType !== 'Concat' || joint.inputs.length !== parts.length) continue
    const found = joint.inputs.map((value, i) => blockedPool(uses, value, positions(parts[i]!.value)))
    if (!found.some((pool) => pool?.isSquare)) continue
    let node: Node | undefined = uses.producer(output)
    for (; node && node !== joint; node = uses.producer(node.inputs[0]!)) replaced.add(node)
    replaced.add(joint)
    const name = build.fresh('blocked_probe')
    const lengths: { from: number; stride: number; channels: number }[] = []
    let from = 0
    const values = joint.inputs.map((value, i) => {
      const [part, pool] = [parts[i]!, found[i]]
      const stride = pool ? Math.ceil(part.channels / block) * block : part.channels
      places.set(part, {
        output: name,
        samplesPerRow,
        factor: pool?.isSquare ? 1 / pool.positions : 1,
      })
      lengths.push({ from, stride, channels: part.channels })
      from += batchSize * stride
      for (const old of pool?.nodes ?? []) replaced.add(old)
      return pool
        ? inGroup(pool.of, () => pooled(pool, batchSize * stride))
        : inGroup(value, () => asRow(value))
    })
    const begin = build.nodes.length
    const all = build.reshape(build.op('Concat', values, { axis: 1 }), [-1])
    const rows = build.op('Gather', [all, build.constant(rowsOf(lengths), 'rows')], { axis: 0 })
    build.several('Identity', [build.reduceSum(rows, [1], false)], [name])
    joined.push(...build.nodes.splice(begin))
    outputs.set(output, name)
  }
  if (outputs.size === 0) return undefined

  // ONNX Runtime orders nodes depth first from the outputs, later ones in the file first: so each value is pooled as
  // soon as it is there if the last ones come first in the file.
  const order = new Map(graph.nodes.flatMap(({ outputs }, i) => outputs.map((value) => [value, i] as const)))
  const groups = [...added].sort(([a], [b]) => (order.get(b) ?? -1) - (order.get(a) ?? -1))
  const kept = graph.nodes.filter((node) => !replaced.has(node))
  return {
    places,
    model: {
      ...optimised,
      graph: {
        ...graph,
        nodes: [...kept, ...groups.flatMap(([, nodes]) => nodes), ...joined],
        initializers: build.initializers,
        outputs: graph.outputs.map((info) => {
          const name = outputs.get(info.name)
          return name === undefined ? info : { name, type: { dataType: 'float32' } }
        }),
        types: new Map(),
      },
    },
  }

  /** Rows x samples of a row x width: where each number lies, sample `row + k rowsPerBatch` being the k-th of its row. */
  function rowsOf(lengths: readonly { from: number; stride: number; channels: number }[]): Tensor {
    const width = lengths.reduce((sum, { channels }) => sum + channels, 0)
    const indices = new Int32Array(batchSize * width)
    let at = 0
    for (let row = 0; row < rowsPerBatch; row++)
      for (let k = 0; k < samplesPerRow; k++)
        for (const { from, stride, channels } of lengths) {
          const first = from + (row + k * rowsPerBatch) * stride
          for (let c = 0; c < channels; c++) indices[at++] = first + c
        }
    return new Tensor('int32', [rowsPerBatch, samplesPerRow, width], new Uint8Array(indices.buffer))
  }

  function inGroup(value: string, write: () => string): string {
    const from = build.nodes.length
    const made = write()
    added.set(value, [...(added.get(value) ?? []), ...build.nodes.splice(from)])
    return made
  }

  function asRow(value: string): string {
    return build.reshape(value, [1, -1, 1, 1])
  }

  /** Sums of squares, or means, of each sample and channel: 1 x (samples x channels) x 1 x 1. */
  function pooled({ of, positions, isSquare }: BlockedPool, channels: number): string {
    const x = flat.get(of) ?? build.reshape(of, [1, channels, 1, positions])
    flat.set(of, x)
    if (!isSquare) return build.several('GlobalAveragePool', [x], 1, {}, nchwcDomain)[0]!
    const kernel = build.reshape(of, [channels, 1, 1, positions])
    const settings = { group: channels, kernel_shape: [1, positions] }
    return build.several('Conv', [x, kernel], 1, settings, nchwcDomain)[0]!
  }
}

/**
 * Rows that the samples of a batch are summed up to: few, since what is read here of each run is read while nothing
 * runs, but some, so that a batch is spread over several groups of the jackknife.
 */
function rowsFor(batchSize: number): number {
  for (let rows = 4; rows < batchSize; rows++) if (batchSize % rows === 0) return rows
  return batchSize
}

interface BlockedPool {
  /** The blocked value that is pooled, or whose square is. */
  readonly of: string
  readonly positions: number
  readonly isSquare: boolean
  /** Nodes that nothing else reads. */
  readonly nodes: readonly Node[]
}

/** The pool of a blocked value that `value` is; undefined if it is something else. */
function blockedPool(uses: Uses, value: string, positions: number | undefined): BlockedPool | undefined {
  if (positions === undefined) return undefined
  const nodes: Node[] = []
  const isAlone = (name: string) => uses.consumers(name).length === 1 && !uses.isOutput(name)
  /** What `name` is of, once a node that only puts it into the plain layout is left out. */
  const inBlocks = (name: string): string => {
    const node = uses.producer(name)
    if (node?.opType !== 'ReorderOutput' || node.domain !== nchwcDomain) return name
    if (isAlone(name)) nodes.push(node)
    return node.inputs[0]!
  }
  const result = inBlocks(value)
  const pool = uses.producer(result)
  if (pool?.opType !== 'GlobalAveragePool' || !isAlone(result)) return undefined
  nodes.push(pool)
  const input = inBlocks(pool.inputs[0]!)
  // Where channels fill no whole block, ONNX Runtime pools in the plain layout.
  if (pool.domain !== nchwcDomain && input === pool.inputs[0]) return undefined
  const square = uses.producer(input)
  const isSquare = square?.opType === 'Mul' && square.inputs[0] === square.inputs[1] && isAlone(input)
  if (!isSquare) return { of: input, positions, isSquare, nodes }
  return { of: square.inputs[0]!, positions, isSquare, nodes: [...nodes, square] }
}

/** What makes `value`; where that only puts it into the plain layout, what makes it blocked. */
function withoutReorder(uses: Uses, value: string): Node | undefined {
  const node = uses.producer(value)
  const isReorder = node?.opType === 'ReorderOutput' && node.domain === nchwcDomain
  return isReorder ? uses.producer(node.inputs[0]!) : node
}

function stretchesByOutput(stretches: readonly Stretch[]): Map<string, Stretch[]> {
  const found = new Map<string, Stretch[]>()
  for (const stretch of stretches) {
    const { output } = stretch.block
    found.set(output, [...(found.get(output) ?? []), stretch])
  }
  return found
}
