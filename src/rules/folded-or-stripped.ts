import { storedTensor } from '../ir/edit.ts'
import type { Model, Node } from '../ir/model.ts'
import { opOf } from '../ops/index.ts'
import { defineRule } from './define-rule.ts'
import { biasOf } from './exposure.ts'
import { counted, noiseInWords, someOf } from './words.ts'

/** An export for inference, from which normalizations or noise are gone. */
export const foldedOrStripped = defineRule({
  id: 'folded-or-stripped',
  severity: 'info',
  summary:
    'The file looks like an export for inference: no BatchNormalization is left although convolutions carry biases, or no noise is left beside the BatchNormalizations.',
  why: 'Exporters fold normalizations into the convolutions in front of them and take Dropout out, since both change nothing at inference. With the normalizations folded, the stored statistics are gone: a shift can be neither seen, measured nor repaired in this file. With only the noise gone, the statistics are still there: what the layers see can be measured and repaired, but where the noise was, and so which layers it exposes, cannot be told.',
  ignoreWhen: 'The network was trained without BatchNormalization, or without noise.',
  fix: 'Export the trained network again so that both survive: in PyTorch call `model.eval()`, then `train()` on the Dropout modules alone, and export with `training=TrainingMode.PRESERVE, do_constant_folding=False`. If only the noise is gone, `varshift measure MODEL --data DATA` and `varshift fix` work on this file as it is.',
  source: 'Behaviour of the ONNX exporters of PyTorch and of tf2onnx.',
  examples: {
    quiet: [
      `net (float32[N, 2, 8, 8] x) => (float32[N, 2, 8, 8] y)
<float ratio = {0.5}, bool on = {1}, float32[2] one = fill(1), float32[2] mean = fill(0.3)>
{
  d = Dropout(x, ratio, on)
  y = BatchNormalization(d, one, mean, mean, one)
}`,
      `net (float32[N, 2, 8, 8] x) => (float32[N, 2, 8, 8] y)
<float32[2, 2, 1, 1] w = uniform(-1, 1, 3), float32[2] b = {0.5, -0.1}, float32[2] one = fill(1), float32[2] zero = fill(0)>
{
  c = Conv(x, w, b)
  y = InstanceNormalization(c, one, zero)
}`,
      `net (float32[N, 3] x) => (float32[N, 2] y)
<float32[3, 2] w = uniform(-1, 1, 3), float32[2] b = {0.5, -0.1}>
{
  y = Gemm(x, w, b)
}`,
    ],
    finding: [
      `net (float32[N, 2, 8, 8] x) => (float32[N, 2, 8, 8] y)
<float32[2, 2, 1, 1] w = uniform(-1, 1, 3), float32[2] b = {0.5, -0.1}>
{
  c = Conv(x, w, b)
  y = Relu(c)
}`,
      `net (float32[N, 2, 8, 8] x) => (float32[N, 2, 8, 8] y)
<float32[2, 2, 1, 1] w = uniform(-1, 1, 3), float32[2] one = fill(1), float32[2] mean = fill(0.3)>
{
  c = Conv(x, w)
  y = BatchNormalization(c, one, mean, mean, one)
}`,
    ],
  },
  messages: {
    folded:
      'The file holds no BatchNormalization, but {layers} with a bias{noise}: if the network was trained with any, they were folded away, and nothing about their statistics can be said from this file.',
    stripped:
      'The file holds {norms} and no noise: if the network was trained with Dropout, the export took it out. Which layers it exposed cannot be told; measuring and repairing with data work all the same.',
  },
  check({ model, facts, report }) {
    const { norms, noises, nested } = facts
    const normCount = norms.length + nested.norms.length
    if (normCount > 0) {
      if (noises.length + nested.noises.length === 0)
        report({
          message: 'stripped',
          aspect: 'noise',
          data: { norms: counted(normCount, 'batch normalization') },
        })
      return
    }
    const { nodes } = model.graph
    const biased = nodes.filter((node) => isConvolution(model, node) && biasOf(model, node))
    if (biased.length === 0 || nodes.some((node) => opOf(node).role === 'norm')) return
    report({
      message: 'folded',
      aspect: 'norms',
      data: {
        layers: counted(biased.length, 'convolution'),
        noise: noises.length > 0 ? `, and noise (${someOf(noises.map(noiseInWords))})` : '',
      },
    })
  },
})

/** Whether the node applies a kernel: weights of at least three axes (dense layers have two). */
const isConvolution = (model: Model, node: Node): boolean =>
  opOf(node).role === 'weight' && (storedTensor(model.graph, node.inputs[1] ?? '')?.dims.length ?? 0) > 2
