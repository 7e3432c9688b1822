import { describe, expect, test } from 'vitest'
import { pathOf, recordedNetworks } from '../../test/conformance/oracle.ts'
import { dataFor } from '../commands/data.ts'
import { openModel } from '../formats/open-model.ts'
import { nodeFiles } from '../platform/node.ts'
import { channelBlock } from '../runtime/channel-block.ts'
import { createProbedSession } from './blocked-probe.ts'
import { Gathering, probeInMode } from './measure.ts'

const batchSize = 8

async function opened(network: string) {
  const { model } = await openModel(pathOf(network, 'model.onnx'), nodeFiles)
  const { batches } = await dataFor(model, { data: pathOf(network, 'data.npz'), batchSize }, nodeFiles)
  return { batches, probed: probeInMode(model, 'eval', batches) }
}

describe('squares taken without writing them down are those that were written', () => {
  for (const network of recordedNetworks)
    test(network, async () => {
      const { batches, probed } = await opened(network)
      const plain = await createProbedSession(probed, { batchSize })
      const faster = await createProbedSession(probed, { batchSize, files: nodeFiles })
      expect(plain.places.size).toBe(0)
      const isTwoDimensional = !['mlp', 'conv1d'].includes(network)
      if (await channelBlock()) expect(faster.places.size > 0).toBe(isTwoDimensional)
      // A whole batch, and one that only the ordinary graph takes.
      for (const limit of [batchSize, batchSize - 1])
        for await (const { inputs } of batches.batches({ limit })) {
          const seen = [plain, faster].map(async (session) => {
            const fetched = await session.run(inputs)
            const gathering = new Gathering(probed, session.places)
            gathering.add(fetched, limit)
            const { name } = probed.model.graph.outputs[0]!
            const moments = probed.norms.map((norm) => gathering.momentsOf(norm))
            return [
              fetched.get(name)!.toNumbers(),
              ...moments.flatMap(({ mean, variance }) => [mean, variance]),
            ]
          })
          const [expected, found] = await Promise.all(seen)
          expected!.forEach((numbers, i) => {
            const largest = Math.max(...numbers.map(Math.abs))
            expect(largest).toBeGreaterThan(0)
            expect(found![i]).toHaveLength(numbers.length)
            numbers.forEach((value, k) => {
              expect(Math.abs(found![i]![k]! - value)).toBeLessThan(1e-5 * largest)
            })
          })
        }
      await plain.release()
      await faster.release()
    })
})

test('batches of one, and a folder that is gone afterwards', async () => {
  const { probed } = await opened('preresnet')
  const folders: string[] = []
  const files = {
    ...nodeFiles,
    withTemporaryFolder: <Result>(use: (folder: string) => Promise<Result>) =>
      nodeFiles.withTemporaryFolder!((folder) => {
        folders.push(folder)
        return use(folder)
      }),
  }
  const session = await createProbedSession(probed, { batchSize: 1, files })
  await session.release()
  for (const folder of folders) expect(await nodeFiles.stat(folder)).toBeUndefined()
})
