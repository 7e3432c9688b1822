/**
 * Eval outputs of models through varshift, for the scripts that compare them with a framework's.
 *
 *   npx jiti scripts/oracle/live-outputs.ts JOBS.json      [{ model, data, outputs, written? }, ...]
 *
 * `data` is an .npz with arrays named as the model's inputs, or with one array for its one input. With `written`, the
 * file is first written there with other running statistics (means plus 0.1, variances times 1.5), and the outputs are
 * those of that file.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { factsOf } from '../../src/analysis/index.ts'
import { encodeNpz } from '../../src/data/npz-write.ts'
import { openDataset } from '../../src/data/open.ts'
import { concat, encodeModel } from '../../src/formats/onnx/index.ts'
import { openModel } from '../../src/formats/open-model.ts'
import type { Tensor } from '../../src/ir/tensor.ts'
import { nodeFiles } from '../../src/platform/node.ts'
import { toMode } from '../../src/rewrite/modes/mode.ts'
import { createSession } from '../../src/runtime/session.ts'

interface Job {
  readonly model: string
  readonly data: string
  readonly outputs: string
  readonly written?: string
}

for (const job of JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as Job[]) {
  let { model, write } = await openModel(job.model, nodeFiles)
  if (job.written) {
    const edits = factsOf(model).norms.map((norm) => ({
      kind: 'set-running-statistics' as const,
      node: norm.key,
      mean: norm.mean!.map((value) => value + 0.1),
      variance: norm.variance!.map((value) => value * 1.5),
    }))
    writeFileSync(job.written, concat(write(edits)))
    ;({ model, write } = await openModel(job.written, nodeFiles))
  }
  const dataset = await openDataset(job.data, nodeFiles)
  const session = await createSession(encodeModel(toMode(model, 'eval')), { threads: 2 })
  for await (const { inputs } of dataset.batches({ batchSize: dataset.size })) {
    const [input, ...more] = model.graph.inputs
    const only = [...inputs.values()]
    const feeds = input && more.length === 0 && only.length === 1 ? new Map([[input.name, only[0]!]]) : inputs
    const results = await session.run(feeds)
    const named = model.graph.outputs.map(({ name }, i): [string, Tensor] => [
      `output${i}`,
      results.get(name)!,
    ])
    writeFileSync(job.outputs, encodeNpz(new Map(named)))
  }
  await session.release()
}
