import { describe, expect, test } from 'vitest'
import { typesOf } from '../../src/analysis/infer-types.ts'
import { withGradients } from '../../src/autodiff/with-gradients.ts'
import { encodeModel } from '../../src/formats/onnx/write.ts'
import { GraphBuilder } from '../../src/ir/builder.ts'
import type { Model } from '../../src/ir/model.ts'
import { normal } from '../../src/ir/random.ts'
import { elementCount, Tensor } from '../../src/ir/tensor.ts'
import { parseModel } from '../../src/ir/text.ts'
import { blockChannels } from '../../src/rewrite/passes/block-channels.ts'
import { expandBlockedNodes } from '../../src/rewrite/passes/expand-blocked.ts'
import { channelBlock } from '../../src/runtime/channel-block.ts'
import { createSession } from '../../src/runtime/session.ts'

const block = await channelBlock()

/** The outputs of the model, and the gradients of the sum of y times fixed numbers with respect to all its inputs. */
function differentiated(model: Model): Model {
  const wrt = model.graph.inputs.map(({ name }) => name)
  const build = new GraphBuilder(model)
  for (const node of model.graph.nodes) build.keep(node)
  const shape = typesOf(model).get('y')!.shape as number[]
  const factors = Tensor.float32(shape, Float32Array.from(normal(elementCount(shape), 0, 1, 99)))
  const loss = build.reduceSum(
    build.mul('y', build.constant(factors)),
    [0, 1, 2, 3].slice(0, shape.length),
    false,
  )
  const graph = { ...model.graph, nodes: build.nodes, initializers: build.initializers }
  const { model: whole, gradients } = withGradients({ ...model, graph }, { loss, wrt })
  const outputs = [...model.graph.outputs, ...[...gradients.values()].map((name) => ({ name }))]
  return { ...whole, graph: { ...whole.graph, outputs } }
}

async function run(model: Model, feeds: ReadonlyMap<string, Tensor>): Promise<Tensor[]> {
  const session = await createSession(encodeModel(model), { threads: 2 })
  const outputs = await session.run(feeds)
  await session.release()
  return model.graph.outputs.map(({ name }) => outputs.get(name)!)
}

/** Largest error of `got`, relative to the largest element of `wanted`. */
function error(got: Tensor, wanted: Tensor): number {
  const [a, b] = [got.toNumbers(), wanted.toNumbers()]
  const scale = b.reduce((max, value) => Math.max(max, Math.abs(value)), 1e-6)
  return a.reduce((max, value, i) => Math.max(max, Math.abs(value - b[i]!)), 0) / scale
}

const cases: Readonly<Record<string, string>> = {
  'a convolution':
    'g (float32[16, 16, 6, 7] x, float32[32, 16, 3, 3] w, float32[32] b) => (y) { y = Conv <pads = [1, 1, 1, 1]> (x, w, b) }',
  'no padding': 'g (float32[16, 16, 6, 7] x, float32[32, 16, 3, 2] w) => (y) { y = Conv(x, w) }',
  'uneven padding':
    'g (float32[16, 16, 6, 7] x, float32[32, 16, 3, 3] w) => (y) { y = Conv <pads = [2, 0, 1, 1]> (x, w) }',
  'stride 2':
    'g (float32[16, 16, 8, 6] x, float32[32, 16, 3, 3] w) => (y) { y = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w) }',
  'stride 2 of one axis':
    'g (float32[16, 16, 8, 6] x, float32[32, 16, 3, 3] w) => (y) { y = Conv <pads = [1, 1, 1, 1], strides = [2, 1]> (x, w) }',
  'stride 3':
    'g (float32[16, 16, 9, 6] x, float32[32, 16, 5, 5] w) => (y) { y = Conv <pads = [1, 2, 1, 2], strides = [3, 3]> (x, w) }',
  'stride 2, padding behind':
    'g (float32[16, 16, 8, 6] x, float32[32, 16, 3, 3] w) => (y) { y = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w) }',
  pointwise: 'g (float32[16, 32, 8, 4] x, float32[16, 32, 1, 1] w) => (y) { y = Conv(x, w) }',
  'pointwise, stride 2':
    'g (float32[16, 32, 8, 8] x, float32[64, 32, 1, 1] w) => (y) { y = Conv <strides = [2, 2]> (x, w) }',
  'pointwise, few positions':
    'g (float32[16, 32, 2, 2] x, float32[16, 32, 1, 1] w) => (y) { y = Conv(x, w) }',
  'kernel 5, dilated':
    'g (float32[16, 16, 12, 12] x, float32[16, 16, 5, 5] w) => (y) { y = Conv <pads = [4, 4, 4, 4], dilations = [2, 2]> (x, w) }',
  groups:
    'g (float32[16, 64, 6, 6] x, float32[32, 32, 3, 3] w) => (y) { y = Conv <pads = [1, 1, 1, 1], group = 2> (x, w) }',
  'groups, stride 2':
    'g (float32[16, 32, 6, 6] x, float32[64, 16, 3, 3] w) => (y) { y = Conv <pads = [1, 1, 1, 1], group = 2, strides = [2, 2]> (x, w) }',
  'samples that fill no blocks':
    'g (float32[5, 16, 6, 6] x, float32[16, 16, 3, 3] v, float32[32, 16, 1, 1] w) => (y) { h = Conv <pads = [1, 1, 1, 1]> (x, v) y = Conv <strides = [2, 2]> (h, w) }',
  'three channels':
    'g (float32[16, 3, 8, 8] x, float32[16, 3, 3, 3] w) => (y) { y = Conv <pads = [1, 1, 1, 1]> (x, w) }',
  'a norm between':
    'g (float32[16, 3, 8, 8] x, float32[16, 3, 3, 3] v, float32[16, 16, 3, 3] w, float32[16] s, float32[16] b) => (y) <float32[16] m = fill(0), float32[16] q = fill(1)> { h = Conv <pads = [1, 1, 1, 1]> (x, v) n, a, c = BatchNormalization <training_mode = 1, momentum = 0.0> (h, s, b, m, q) r = Relu(n) y = Conv <pads = [1, 1, 1, 1]> (r, w) }',
  'a residual block':
    'g (float32[16, 16, 8, 8] x, float32[16, 16, 3, 3] v, float32[16] s, float32[16] b) => (y) <float32[16] m = fill(0.5), float32[16] q = fill(2)> { h = Conv <pads = [1, 1, 1, 1]> (x, v) n, a, c = BatchNormalization <training_mode = 1, momentum = 0.9> (h, s, b, m, q) z = Add(n, x) t = Relu(z) u = Tanh(t) y = Mul(u, t) }',
  pools:
    'g (float32[16, 16, 8, 8] x, float32[16, 16, 3, 3] v) => (y) { h = Conv <pads = [1, 1, 1, 1]> (x, v) a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (h) b = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (a) c = Conv <pads = [1, 1, 1, 1]> (b, v) y = GlobalAveragePool(c) }',
  'max pool of ties':
    'g (float32[16, 16, 8, 8] x, float32[16, 16, 1, 1] v) => (y) { h = Conv(x, v) f = Relu(h) a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (f) y = Neg(a) }',
  'channels that fill no blocks':
    'g (float32[16, 3, 8, 8] x, float32[12, 3, 3, 3] u, float32[12] p, float32[12] s, float32[12] b, float32[12, 12, 3, 3] v, float32[20, 24, 1, 1] w, float32[12, 20, 3, 3] z) => (y, mean, variance) <float32[12] m = fill(0), float32[12] q = fill(1)> { h = Conv <pads = [1, 1, 1, 1]> (x, u, p) n, mean, variance = BatchNormalization <training_mode = 1, momentum = 0.5> (h, s, b, m, q) r = Relu(n) c = Conv <pads = [1, 1, 1, 1]> (r, v) d = Concat <axis = 1> (c, h) e = Conv(d, w) f = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (e) k = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (e) l = Add(f, k) t = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (l, z) o = Tanh(t) i = GlobalAveragePool(o) y = Exp(i) }',
  'channels that fill no blocks, then a plain rest':
    'g (float32[16, 12, 8, 8] x, float32[12, 12, 3, 3] v) => (y) { h = Conv <pads = [1, 1, 1, 1]> (x, v) a = Concat <axis = 1> (x, h) e = Exp(a) y = Transpose(e) }',
  'concatenation and a plain rest':
    'g (float32[16, 16, 8, 8] x, float32[16, 16, 3, 3] v, float32[16, 32, 1, 1] w) => (y) { h = Conv <pads = [1, 1, 1, 1]> (x, v) c = Concat <axis = 1> (h, x) d = Conv(c, w) e = Transpose(d) y = Sigmoid(e) }',
}

describe.skipIf(block === undefined || block > 16)(
  'a blocked model and its gradients are those of the plain one',
  () => {
    for (const [name, text] of Object.entries(cases))
      test(name, async () => {
        const model = parseModel(text)
        const feeds = new Map(
          model.graph.inputs.map(({ name, type }, i) => {
            const dims = type!.shape as number[]
            return [name, Tensor.float32(dims, Float32Array.from(normal(elementCount(dims), 0.3, 1, i + 1)))]
          }),
        )
        const blocked = blockChannels(model, block!)
        expect(blocked.graph.nodes.some(({ domain }) => domain !== '')).toBe(true)
        const wanted = await run(differentiated(model), feeds)
        const got = await run(expandBlockedNodes(differentiated(blocked)), feeds)
        for (const [i, tensor] of got.entries()) {
          expect(tensor.dims).toEqual(wanted[i]!.dims)
          expect(error(tensor, wanted[i]!), `output ${i}`).toBeLessThan(2e-5)
        }
      })
  },
)
