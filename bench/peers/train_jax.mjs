/**
 * Peer of bench/train.ts: training steps in jax-js (forward, backward, SGD with momentum and weight decay, one function
 * under jit; no running statistics), one for each line of stdin.
 *
 *   node train_jax.mjs NETWORK BATCH THREADS FOLDER
 *
 * FOLDER has @jax-js/jax in its node_modules.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { classes, layersOf, networks, sampleShape } from './networks.mjs'
import { serve, uniform } from './serve.mjs'

const [, , name, batchText, , folder] = process.argv
const batch = Number(batchText)

await serve(async () => {
  const require = createRequire(join(folder, 'index.js'))
  const jax = require('@jax-js/jax')
  const { version } = JSON.parse(readFileSync(join(folder, 'node_modules/@jax-js/jax/package.json'), 'utf8'))
  const { numpy: np, lax, nn, random, tree } = jax
  await jax.init('wasm')
  jax.defaultDevice('wasm')

  const filled = (shape, bound) => {
    const size = shape.reduce((n, length) => n * length, 1)
    return np.array(uniform(size, bound)).reshape(shape)
  }
  const parameters = layersOf(name).flatMap(({ kind, inputs, outputs, kernel }) => {
    if (kind === 'norm') return [np.ones([outputs]), np.zeros([outputs])]
    const shape = kind === 'conv' ? [outputs, inputs, kernel, kernel] : [inputs, outputs]
    const fan = kind === 'conv' ? inputs * kernel ** 2 : inputs
    const weight = filled(shape, Math.sqrt(3 / fan))
    return kind === 'conv' ? [weight] : [weight, np.zeros([outputs])]
  })
  const x = filled([batch, ...sampleShape(name)], 1.7)
  const labels = np.array(Int32Array.from({ length: batch }, (_, i) => (i * 7) % classes))

  /** The operations on values that they use up, with parameters and random numbers from a list each. */
  const operations = (parameters, key) => {
    const list = [...parameters]
    const parameter = () => list.shift()
    let drawn = 0
    const perChannel = (value, tensor) => tensor.reshape([1, -1, ...value.shape.slice(2).map(() => 1)])
    return {
      again: (value) => value.ref,
      channels: (value) => value.shape[1],
      relu: (value) => nn.relu(value),
      add: (a, b) => a.add(b),
      concat: (a, b) => np.concatenate([a, b], 1),
      maxPool: (value) => lax.reduceWindow(value, np.max, [2, 2], [2, 2]),
      averagePool: (value) => lax.reduceWindow(value, np.mean, [2, 2], [2, 2]),
      globalPool: (value) => np.mean(value, [2, 3]),
      dense: (value, _outputs) => np.dot(value, parameter()).add(parameter()),
      dropout(value, ratio) {
        const kept = random.bernoulli(random.key(key.ref.add(drawn++)), 1 - ratio, value.shape)
        return np.where(kept, value.mul(1 / (1 - ratio)), 0)
      },
      norm(value) {
        const axes = value.shape.map((_, axis) => axis).filter((axis) => axis !== 1)
        const centred = value.ref.sub(np.mean(value, axes, { keepdims: true }))
        const variance = np.mean(np.square(centred.ref), axes, { keepdims: true })
        const [scale, shift] = [perChannel(centred, parameter()), perChannel(centred, parameter())]
        return centred
          .mul(np.reciprocal(np.sqrt(variance.add(1e-5))))
          .mul(scale)
          .add(shift)
      },
      conv(value, _outputs, kernel, stride = 1, groups = 1) {
        const pad = Math.floor(kernel / 2)
        const pads = [
          [pad, pad],
          [pad, pad],
        ]
        return lax.convGeneralDilated(value, parameter(), [stride, stride], pads, {
          featureGroupCount: groups,
        })
      },
    }
  }
  const lossOf = (parameters, x, labels, key) => {
    const logits = networks[name](operations(parameters, key), x)
    key.dispose()
    return nn
      .logSoftmax(logits)
      .mul(nn.oneHot(labels, classes))
      .sum()
      .mul(-1 / batch)
  }
  const update = jax.jit((parameters, momenta, x, labels, key) => {
    const [loss, gradients] = jax.valueAndGrad(lossOf)(tree.ref(parameters), x, labels, key)
    const moved = momenta.map((momentum, i) =>
      momentum.mul(0.9).add(gradients[i].add(parameters[i].ref.mul(1e-4))),
    )
    return [loss, parameters.map((parameter, i) => parameter.sub(moved[i].ref.mul(0.01))), moved]
  })

  let state = [parameters, parameters.map((parameter) => np.zeros(parameter.shape))]
  let count = 0
  const step = async () => {
    const key = np.array(2 * count++, { dtype: np.int32 })
    const [loss, ...next] = update(...state, x.ref, labels.ref, key)
    state = next
    await jax.blockUntilReady(state.flat())
    const value = await loss.jsAsync()
    if (!Number.isFinite(value)) throw new Error(`its loss is ${value}`)
  }
  return { release: version, step }
})
