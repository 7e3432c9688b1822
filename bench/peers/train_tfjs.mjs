/**
 * Peer of bench/train.ts: training steps in TensorFlow.js (forward, backward, SGD with momentum and weight decay; no
 * running statistics), one for each line of stdin.
 *
 *   node train_tfjs.mjs NETWORK BATCH THREADS FOLDER cpu|wasm
 *
 * FOLDER has @tensorflow/tfjs (and @tensorflow/tfjs-backend-wasm) in its node_modules.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { classes, layersOf, networks, sampleShape } from './networks.mjs'
import { serve, uniform } from './serve.mjs'

const [, , name, batchText, threads, folder, backend] = process.argv
const batch = Number(batchText)
const require = createRequire(join(folder, 'index.js'))

await serve(async () => {
  // It tells of faster packages on stdout.
  console.warn = () => {}
  const tf = require('@tensorflow/tfjs')
  if (backend === 'wasm') require('@tensorflow/tfjs-backend-wasm').setThreadsCount(Number(threads))
  if (!(await tf.setBackend(backend))) throw new Error(`its backend ${backend} does not start`)

  const tensors = layersOf(name).flatMap(({ kind, inputs, outputs, kernel }) => {
    if (kind === 'norm') return [tf.ones([outputs]), tf.zeros([outputs])]
    const shape = kind === 'conv' ? [kernel, kernel, inputs, outputs] : [inputs, outputs]
    const size = shape.reduce((n, length) => n * length, 1)
    const weight = tf.tensor(uniform(size, Math.sqrt((3 * outputs) / size)), shape)
    return kind === 'conv' ? [weight] : [weight, tf.zeros([outputs])]
  })
  const parameters = tensors.map((tensor) => tf.variable(tensor))
  const momenta = parameters.map((parameter) => tf.variable(tf.zerosLike(parameter)))
  const [channels, ...positions] = sampleShape(name)
  const shape = [batch, ...positions, channels]
  const x = tf.tensor(uniform(batch * channels * positions.reduce((n, size) => n * size, 1), 1.7), shape)
  const labels = tf.oneHot(
    Array.from({ length: batch }, (_, i) => (i * 7) % classes),
    classes,
  )

  let next = 0
  const parameter = () => parameters[next++]
  const op = {
    again: (value) => value,
    channels: (value) => value.shape.at(-1),
    relu: (value) => tf.relu(value),
    add: (a, b) => tf.add(a, b),
    concat: (a, b) => tf.concat([a, b], -1),
    dropout: (value, ratio) => tf.dropout(value, ratio),
    maxPool: (value) => tf.maxPool(value, 2, 2, 'valid'),
    averagePool: (value) => tf.avgPool(value, 2, 2, 'valid'),
    globalPool: (value) => tf.mean(value, [1, 2]),
    dense: (value, _outputs) => tf.add(tf.matMul(value, parameter()), parameter()),
    norm(value) {
      const { mean, variance } = tf.moments(
        value,
        value.shape.slice(1).map((_, axis) => axis),
      )
      const [scale, shift] = [parameter(), parameter()]
      return tf.add(tf.mul(tf.mul(tf.sub(value, mean), tf.rsqrt(tf.add(variance, 1e-5))), scale), shift)
    },
    conv(value, _outputs, kernel, stride = 1, groups = 1) {
      if (groups > 1) throw new Error('it has no grouped convolution')
      return tf.conv2d(value, parameter(), stride, Math.floor(kernel / 2))
    },
  }
  const lossOf = () => {
    next = 0
    return tf.losses.softmaxCrossEntropy(labels, networks[name](op, x))
  }
  const step = () => {
    const value = tf.tidy(() => {
      const { value, grads } = tf.variableGrads(lossOf, parameters)
      parameters.forEach((variable, i) => {
        const gradient = tf.add(grads[variable.name], tf.mul(variable, 1e-4))
        momenta[i].assign(tf.add(tf.mul(momenta[i], 0.9), gradient))
        variable.assign(tf.sub(variable, tf.mul(momenta[i], 0.01)))
      })
      return value
    })
    const loss = value.dataSync()[0]
    value.dispose()
    if (!Number.isFinite(loss)) throw new Error(`its loss is ${loss}`)
  }
  return { release: tf.version.tfjs, step }
})
