/**
 * Training steps of varshift, one for each line of stdin, in a process of their own so that its memory is theirs.
 *
 *   node bench/train-worker.mjs NETWORK BATCH THREADS [LAYOUT]
 *
 * Prints `ready VERSION PARAMETERS`, then for every line the milliseconds of a step and the peak resident memory in MiB.
 */
import { createInterface } from 'node:readline'
import { normal } from '../dist/ir/random.js'
import { Tensor } from '../dist/ir/tensor.js'
import { parseNetwork } from '../dist/models/index.js'
import { trainer } from '../dist/train/trainer.js'
import { version } from '../dist/version.js'

const [name, batch, threads] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const isMlp = name.startsWith('mlp')
const noise = isMlp ? { noise: { kind: 'dropout', value: 0.5 }, placement: 'before-weight' } : {}
const network = parseNetwork(name).build(noise)
const sampleShape = isMlp ? [784] : [3, 32, 32]
const values = sampleShape.reduce((n, size) => n * size, 1)
const pixels = Float32Array.from(normal(batch * values, 0, 1, 1))
const data = {
  name: 'random',
  size: batch,
  fields: [{ name: 'x', dataType: 'float32', sampleShape }],
  labelled: true,
  async *batches({ batchSize, start = 0, limit = batch }) {
    for (let from = start; from < start + limit; from += batchSize) {
      const size = Math.min(batchSize, start + limit - from)
      const part = pixels.subarray(from * values, (from + size) * values)
      const labels = Int32Array.from({ length: size }, (_, i) => ((from + i) * 7) % 10)
      yield { inputs: new Map([['x', Tensor.float32([size, ...sampleShape], part)]]), labels, size }
    }
  },
}
const training = await trainer(network.model, {
  data,
  epochs: 1_000_000,
  batchSize: batch,
  threads,
  learningRate: 0.01,
  optimizer: 'sgd:momentum=0.9,weightDecay=0.0001',
})
const events = training[Symbol.asyncIterator]()
async function step() {
  for (;;) {
    const { value } = await events.next()
    if (value.type === 'step') return value.durationMs
  }
}
console.log('ready', version, training.parameterCount)
for await (const _ of createInterface({ input: process.stdin })) {
  const ms = await step()
  console.log(ms, process.resourceUsage().maxRSS / 1024)
}
process.exit(0)
