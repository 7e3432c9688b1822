import { encodeModel } from '../formats/onnx/write.ts'
import { GraphBuilder } from '../ir/builder.ts'
import type { Model } from '../ir/model.ts'
import { elementCount, Tensor } from '../ir/tensor.ts'
import { createSession } from './session.ts'

const dims = [1, 64, 1, 2]
let found: Promise<number | undefined> | undefined

/**
 * Channels in a block of the layout that ONNX Runtime's CPU kernels compute convolutions in on this machine (8 or 16 by
 * its vector units); undefined where it has none. Found by looking at how it lays out a small value.
 */
export function channelBlock(): Promise<number | undefined> {
  found ??= probe().catch(() => undefined)
  return found
}

async function probe(): Promise<number | undefined> {
  const type = { dataType: 'float32', shape: dims } as const
  const empty: Model = {
    format: 'onnx',
    irVersion: 8,
    opsets: new Map([
      ['', 17],
      ['com.microsoft.nchwc', 1],
    ]),
    graph: {
      name: 'probe',
      nodes: [],
      inputs: [{ name: 'x', type }],
      outputs: [{ name: 'y', type }],
      initializers: new Map(),
      types: new Map(),
    },
    functions: [],
    producer: '',
  }
  const build = new GraphBuilder(empty)
  build.several('ReorderInput', ['x'], ['y'], { channels_last: 0 }, 'com.microsoft.nchwc')
  const session = await createSession(
    encodeModel({ ...empty, graph: { ...empty.graph, nodes: build.nodes } }),
    { threads: 1 },
  )
  const x = Tensor.float32(
    dims,
    Float32Array.from({ length: elementCount(dims) }, (_, i) => i),
  )
  const y = (await session.run(new Map([['x', x]]))).get('y')!
  await session.release()
  // The second position of the first channel comes behind the first position of all channels of the block.
  const block = y.toNumbers().indexOf(1)
  return block > 1 ? block : undefined
}
