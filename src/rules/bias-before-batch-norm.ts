import type { Norm } from '../analysis/facts.ts'
import { storedTensor } from '../ir/edit.ts'
import { labelOf, type Model, type Node, opsetOf } from '../ir/model.ts'
import { usesOf } from '../ir/uses.ts'
import { opOf } from '../ops/index.ts'
import { defineRule } from './define-rule.ts'
import { biasOf } from './exposure.ts'
import { placeOf } from './places.ts'

/** A bias that the normalization behind it takes away again. */
export const biasBeforeBatchNorm = defineRule({
  id: 'bias-before-batch-norm',
  severity: 'info',
  summary:
    'A convolution or dense layer adds a bias, and a BatchNormalization right behind it takes the mean away again.',
  why: 'The bias changes nothing that the network can compute: the running mean absorbs it, and the shift of the normalization does its work. It costs memory and, while training, time; weight decay moves it for nothing. Nothing is wrong with what the file computes.',
  ignoreWhen: 'The network is trained already. It matters when it is trained anew.',
  fix: 'Switch the bias off where the network is defined: `bias=False` in PyTorch, `use_bias=False` in Keras.',
  source: 'Ioffe, Szegedy: Batch normalization, arXiv:1502.03167, section 3.2.',
  examples: {
    quiet: [
      `net (float32[N, 2, 8, 8] x) => (float32[N, 2, 8, 8] y)
<float32[2, 2, 1, 1] w = uniform(-1, 1, 3), float32[2] one = fill(1), float32[2] mean = fill(0.3)>
{
  c = Conv(x, w)
  y = BatchNormalization(c, one, mean, mean, one)
}`,
      `net (float32[N, 2, 8, 8] x) => (float32[N, 2, 8, 8] y)
<float32[2, 2, 1, 1] w = uniform(-1, 1, 3), float32[2] b = {0.5, -0.1}, float32[2] one = fill(1), float32[2] mean = fill(0.3)>
{
  c = Conv(x, w, b)
  r = Relu(c)
  y = BatchNormalization(r, one, mean, mean, one)
}`,
      `net (float32[N, 2, 8, 8] x) => (float32[N, 2, 8, 8] y)
<float32[2, 2, 1, 1] w = uniform(-1, 1, 3), float32[2] b = {0.5, -0.1}, float32[2] one = fill(1), float32[2] mean = fill(0.3)>
{
  c = Conv(x, w, b)
  n = BatchNormalization(c, one, mean, mean, one)
  y = Add(n, c)
}`,
    ],
    finding: [
      `net (float32[N, 2, 8, 8] x) => (float32[N, 2, 8, 8] y)
<float32[2, 2, 1, 1] w = uniform(-1, 1, 3), float32[2] b = {0.5, -0.1}, float32[2] one = fill(1), float32[2] mean = fill(0.3)>
{
  [conv] c = Conv(x, w, b)
  [bn] y = BatchNormalization(c, one, mean, mean, one)
}`,
      `net (float32[N, 3] x) => (float32[N, 2] y)
<float32[3, 2] w = uniform(-1, 1, 3), float32[2] b = {0.5, -0.1}, float32[2] one = fill(1), float32[2] mean = fill(0.3)>
{
  [dense] h = MatMul(x, w)
  [bias] s = Add(h, b)
  [bn] y = BatchNormalization(s, one, mean, mean, one)
}`,
    ],
  },
  messages: {
    useless: "The bias of '{layer}' changes nothing: '{norm}' right behind it takes the mean away again.",
  },
  check({ model, facts, report }) {
    for (const norm of facts.norms) {
      const layer = biasedLayerBefore(model, norm)
      if (layer)
        report({
          message: 'useless',
          at: placeOf(layer),
          data: { layer: labelOf(layer), norm: norm.label },
        })
    }
  },
})

/** The layer whose result, with its bias, only this norm reads. */
function biasedLayerBefore(model: Model, { node }: Norm): Node | undefined {
  const uses = usesOf(model.graph)
  let value = node.inputs[0]!
  for (;;) {
    const producer = uses.producer(value)
    if (!producer || uses.isOutput(value) || uses.consumers(value).length > 1) return undefined
    const bias = biasOf(model, producer)
    // Exporters write zeros where a layer has no bias.
    if (bias) return bias.some((element) => element !== 0) ? producer : undefined
    const added = addedVector(model, producer)
    if (added) return added.rest && isWeightLayer(added.rest) ? producer : undefined
    const [flow, ...others] = opOf(producer).flow({
      node: producer,
      opset: opsetOf(model),
      moving: producer.inputs.map((_, i) => i === 0),
    })
    if (flow !== 'layout' || others.some((other) => other !== 'none')) return undefined
    value = producer.inputs[0]!
  }
}

const isWeightLayer = (node: Node): boolean => opOf(node).role === 'weight'

/** For `rest + vector`, with a stored vector that is not all zeros, what computes the rest. */
function addedVector(model: Model, node: Node): { rest: Node | undefined } | undefined {
  if (node.opType !== 'Add') return undefined
  for (const [vector, rest] of [node.inputs, node.inputs.toReversed()] as [string, string][]) {
    const tensor = storedTensor(model.graph, vector)
    const isVector = tensor && tensor.dims.filter((dim) => dim !== 1).length <= 1
    if (isVector && tensor.toNumbers().some((element) => element !== 0))
      return { rest: usesOf(model.graph).producer(rest) }
  }
  return undefined
}
