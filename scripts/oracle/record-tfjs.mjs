/**
 * Records what TensorFlow.js computes with layers models that it makes itself: model.json and shards as it saves them
 * (and as converters and old versions write them), inputs, and outputs in eval mode.
 *
 *   npm install --prefix FOLDER @tensorflow/tfjs@4
 *   TFJS=FOLDER node scripts/oracle/record-tfjs.mjs
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const tf = createRequire(join(resolve(process.env.TFJS ?? '.'), 'package.json'))('@tensorflow/tfjs')
const target = fileURLToPath(new URL('../../test/oracle/tfjs/', import.meta.url))
const { layers } = tf

/** Numbers between `low` and `high`, the same on every computer. */
function uniform(count, low, high, seed) {
  let state = seed * 2654435761 + 1
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x297a2d39) | 0
    const mixed = Math.imul(state ^ (state >>> 12), 0x846ca68b)
    return low + ((mixed >>> 8) / 2 ** 24) * (high - low)
  })
}

/** Weights of their own for every layer; variances are positive. */
function fill(model) {
  const values = model.weights.map((weight, i) => {
    const { shape, originalName } = weight
    const size = shape.reduce((n, d) => n * d, 1)
    const [low, high] = /variance|gamma/.test(originalName)
      ? [0.4, 1.6]
      : /mean|beta|bias|alpha/.test(originalName)
        ? [-0.4, 0.4]
        : [-0.7, 0.7]
    return tf.tensor(uniform(size, low, high, i + 1), shape)
  })
  const order = new Map(model.weights.map((weight, i) => [weight, values[i]]))
  for (const layer of model.layers) layer.setWeights(layer.weights.map((weight) => order.get(weight)))
  return model
}

const norm = () => layers.batchNormalization()

const models = {
  /** Dense layers, noise before batch normalization, two shards of which one weight spans both. */
  dense: {
    make: () =>
      tf.sequential({
        layers: [
          layers.dense({ units: 12, inputShape: [6], activation: 'relu' }),
          layers.dropout({ rate: 0.4 }),
          norm(),
          layers.dense({ units: 8, activation: 'elu', useBias: false }),
          layers.gaussianNoise({ stddev: 0.1 }),
          layers.batchNormalization({ scale: false, epsilon: 0.01 }),
          layers.dense({ units: 3, activation: 'softmax' }),
        ],
      }),
    shardBytes: 100,
  },
  /** A residual network of pictures with most convolutions and poolings. */
  residual: {
    make: () => {
      const x = tf.input({ shape: [8, 8, 3], name: 'image' })
      let y = layers.conv2d({ filters: 6, kernelSize: 3, padding: 'same', strides: 2 }).apply(x)
      y = norm().apply(y)
      const trunk = layers.activation({ activation: 'relu6' }).apply(y)
      y = layers.depthwiseConv2d({ kernelSize: 3, padding: 'same', depthMultiplier: 1 }).apply(trunk)
      y = layers.dropout({ rate: 0.3 }).apply(y)
      y = norm().apply(y)
      y = layers
        .separableConv2d({ filters: 6, kernelSize: [3, 2], padding: 'same', activation: 'tanh' })
        .apply(y)
      y = layers.add().apply([trunk, y])
      const a = layers.maxPooling2d({ poolSize: 3, strides: 1, padding: 'same' }).apply(y)
      const b = layers.averagePooling2d({ poolSize: 2, strides: 1, padding: 'same' }).apply(y)
      y = layers.concatenate().apply([a, b])
      y = layers.upSampling2d({ size: [2, 2] }).apply(y)
      y = layers
        .cropping2D({
          cropping: [
            [1, 2],
            [0, 1],
          ],
        })
        .apply(y)
      y = layers
        .zeroPadding2d({
          padding: [
            [0, 1],
            [2, 0],
          ],
        })
        .apply(y)
      y = layers.conv2dTranspose({ filters: 4, kernelSize: 2, strides: 2, padding: 'valid' }).apply(y)
      y = layers.leakyReLU({ alpha: 0.2 }).apply(y)
      y = layers.globalAveragePooling2d({}).apply(y)
      return tf.model({ inputs: x, outputs: layers.dense({ units: 2 }).apply(y), name: 'residual' })
    },
  },
  /** Sequences: one-dimensional layers, activations that are layers, moving of axes. */
  sequence: {
    make: () =>
      tf.sequential({
        layers: [
          layers.conv1d({ filters: 5, kernelSize: 3, padding: 'same', dilationRate: 2, inputShape: [12, 4] }),
          layers.prelu({ sharedAxes: [1] }),
          layers.spatialDropout1d({ rate: 0.2 }),
          norm(),
          layers.maxPooling1d({ poolSize: 2 }),
          layers.thresholdedReLU({ theta: 0.1 }),
          layers.permute({ dims: [2, 1] }),
          layers.gaussianDropout({ rate: 0.2 }),
          layers.reshape({ targetShape: [3, 10] }),
          layers.averagePooling1d({ poolSize: 2, strides: 1 }),
          layers.alphaDropout({ rate: 0.1 }),
          layers.layerNormalization(),
          layers.flatten(),
          layers.dense({ units: 4, activation: 'selu' }),
          layers.repeatVector({ n: 3 }),
          layers.globalMaxPooling1d(),
          layers.softmax(),
        ],
      }),
  },
  /** Words: masks, recurrent layers of every kind, their variants and wrappers. */
  recurrent: {
    make: () => {
      const x = tf.input({ shape: [6], dtype: 'int32', name: 'words' })
      let y = layers.embedding({ inputDim: 9, outputDim: 4, maskZero: true }).apply(x)
      const forward = layers.gru({ units: 3, returnSequences: true, recurrentActivation: 'sigmoid' })
      y = layers.bidirectional({ layer: forward, mergeMode: 'concat' }).apply(y)
      y = layers.lstm({ units: 5, returnSequences: true, dropout: 0.2, recurrentDropout: 0.3 }).apply(y)
      y = layers.timeDistributed({ layer: layers.dense({ units: 3, activation: 'relu' }) }).apply(y)
      y = norm().apply(y)
      y = layers.simpleRNN({ units: 4, goBackwards: true }).apply(y)
      return tf.model({ inputs: x, outputs: layers.dense({ units: 2 }).apply(y) })
    },
    inputs: { words: [4, 2, 1, 0, 0, 0, 3, 8, 5, 5, 1, 0, 7, 6, 2, 1, 3, 4] },
  },
  /** Two inputs and two outputs, a model inside a model, a layer applied twice. */
  shared: {
    make: () => {
      const inner = tf.sequential({
        name: 'encoder',
        layers: [layers.dense({ units: 4, inputShape: [5], activation: 'softplus' }), norm()],
      })
      const [a, b] = [tf.input({ shape: [5], name: 'left' }), tf.input({ shape: [5], name: 'right' })]
      const shared = layers.dense({ units: 4, name: 'shared' })
      const [p, q] = [inner.apply(a), inner.apply(b)]
      const merged = [
        layers.add().apply([p, q]),
        layers.multiply().apply([shared.apply(p), shared.apply(q)]),
        layers.maximum().apply([p, q]),
        layers.minimum().apply([p, q]),
        layers.average().apply([p, q]),
      ]
      const y = layers.concatenate({ axis: -1 }).apply(merged)
      const dot = layers.dot({ axes: -1, normalize: true }).apply([p, q])
      return tf.model({ inputs: [a, b], outputs: [layers.dense({ units: 2 }).apply(norm().apply(y)), dot] })
    },
  },
  /** Channels first, three dimensions. */
  volume: {
    make: () =>
      tf.sequential({
        layers: [
          layers.conv3d({ filters: 3, kernelSize: 2, inputShape: [4, 4, 4, 2], activation: 'hardSigmoid' }),
          layers.averagePooling3d({ poolSize: [3, 1, 1], strides: 1 }),
          layers.reshape({ targetShape: [3, 3, 3] }),
          layers.conv2d({ filters: 4, kernelSize: 2, dataFormat: 'channelsFirst', activation: 'softsign' }),
          layers.globalMaxPooling2d({ dataFormat: 'channelsFirst' }),
        ],
      }),
  },
  /** Padding that is masked, at the end of sequences. */
  masking: {
    make: () =>
      tf.sequential({
        layers: [
          layers.masking({ maskValue: 0, inputShape: [5, 3] }),
          layers.bidirectional({ layer: layers.lstm({ units: 3, returnSequences: true }), mergeMode: 'ave' }),
          layers.gru({ units: 4, recurrentDropout: 0.25 }),
          norm(),
          layers.dense({ units: 2, activation: 'sigmoid' }),
        ],
      }),
    inputs: { zeroTail: 2 },
  },
  /** Preprocessing of pictures within the model. */
  rescaling: {
    make: () =>
      tf.sequential({
        layers: [
          layers.rescaling({ scale: 1 / 127.5, offset: -1, inputShape: [6, 5, 3] }),
          layers.conv2d({ filters: 4, kernelSize: 3, strides: 2, activation: 'swish' }),
          layers.dropout({ rate: 0.5 }),
          norm(),
          layers.flatten(),
          layers.dense({ units: 2 }),
        ],
      }),
  },
  /** As the Python converter quantises: one byte a weight. */
  'quantized-uint8': { like: 'dense', quantize: () => 'uint8' },
  /** Half precision, two bytes and none in one file, in groups of their own, shards without an extension. */
  'quantized-mixed': {
    like: 'residual',
    quantize: (name) =>
      /kernel/.test(name) ? 'float16' : /moving|gamma|beta/.test(name) ? 'uint16' : undefined,
    groups: true,
    old: true,
  },
}

function quantized(values, kind) {
  if (kind === 'float16') {
    const codes = Uint16Array.from(values, halfOf)
    return { quantization: { dtype: kind, original_dtype: 'float32' }, bytes: new Uint8Array(codes.buffer) }
  }
  const [low, high] = [Math.min(...values), Math.max(...values)]
  const most = kind === 'uint8' ? 255 : 65535
  const scale = high > low ? (high - low) / most : 1
  const codes = Array.from(values, (v) => Math.round((v - low) / scale))
  const packed = kind === 'uint8' ? Uint8Array.from(codes) : Uint16Array.from(codes)
  return {
    quantization: { dtype: kind, min: low, scale, original_dtype: 'float32' },
    bytes: new Uint8Array(packed.buffer),
  }
}

/** Nearest half, cut towards zero below the normal ones: any half will do for a recording. */
function halfOf(value) {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]
  const [sign, exponent, fraction] = [
    (bits >>> 16) & 0x8000,
    ((bits >>> 23) & 0xff) - 112,
    (bits >>> 13) & 0x3ff,
  ]
  if (exponent <= 0) return sign
  return sign | (exponent << 10) | fraction
}

async function artifactsOf(model) {
  let artifacts
  await model.save(
    tf.io.withSaveHandler(async (given) => {
      artifacts = given
      return { modelArtifactsInfo: {} }
    }),
  )
  return artifacts
}

/** Writes what the browser would download, or what converters and old versions wrote. */
async function write(folder, model, { shardBytes = 2 ** 22, quantize, groups, old }) {
  const { modelTopology, weightSpecs, weightData, ...rest } = await artifactsOf(model)
  const all = new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData))
  let offset = 0
  const weights = weightSpecs.map((spec) => {
    const length = 4 * spec.shape.reduce((n, d) => n * d, 1)
    const bytes = all.slice(offset, offset + length)
    offset += length
    const kind = spec.dtype === 'float32' ? quantize?.(spec.name) : undefined
    if (!kind) return { spec, bytes }
    const { quantization, bytes: packed } = quantized(new Float32Array(bytes.buffer), kind)
    return { spec: { ...spec, quantization }, bytes: packed }
  })
  // Backwards: specs come in any order.
  const lists = groups ? weights.reverse().map((weight) => [weight]) : [weights]
  const manifest = lists.map((list, group) => {
    const bytes = Buffer.concat(list.map((weight) => weight.bytes))
    const count = Math.max(1, Math.ceil(bytes.length / shardBytes))
    const paths = Array.from({ length: count }, (_, shard) => {
      const name = old ? `group${group + 1}-shard${shard + 1}of${count}` : `weights${group}-${shard}.bin`
      writeFileSync(join(folder, name), bytes.subarray(shard * shardBytes, (shard + 1) * shardBytes))
      return name
    })
    return { paths, weights: list.map((weight) => weight.spec) }
  })
  const json = old
    ? {
        modelTopology: { keras_version: '2.1.6', backend: 'tensorflow', model_config: modelTopology },
        weightsManifest: manifest,
      }
    : {
        modelTopology,
        format: rest.format,
        generatedBy: rest.generatedBy,
        convertedBy: null,
        weightsManifest: manifest,
      }
  writeFileSync(join(folder, 'model.json'), JSON.stringify(json, null, old ? 1 : 0))
}

/** Loads the files as a browser does. */
export function load(path) {
  const folder = dirname(path)
  const json = JSON.parse(readFileSync(path, 'utf8'))
  const specs = json.weightsManifest.flatMap(({ weights }) => weights)
  const data = Buffer.concat(
    json.weightsManifest.flatMap(({ paths }) => paths.map((name) => readFileSync(join(folder, name)))),
  )
  const weightData = data.buffer.slice(data.byteOffset, data.byteOffset + data.length)
  return tf.loadLayersModel(tf.io.fromMemory({ ...json, weightSpecs: specs, weightData }))
}

const samples = 3

/** As many digits as a float32 has. */
const short = (value) => Number(value.toPrecision(9))

function inputsFor(model, given = {}) {
  return model.inputs.map((input, i) => {
    const dims = [samples, ...input.shape.slice(1)]
    const size = dims.reduce((n, d) => n * d, 1)
    const { name } = input.sourceLayer
    const values = given[name] ?? uniform(size, -1, 1, 77 + i)
    if (given.zeroTail)
      for (let n = 0; n < samples; n++) {
        const perSample = size / samples
        const steps = given.zeroTail - n
        if (steps > 0) values.fill(0, (n + 1) * perSample - steps * dims[2], (n + 1) * perSample)
      }
    return { name, dims, dataType: input.dtype, values: Array.from(values, short) }
  })
}

await tf.setBackend('cpu')
await tf.ready()
for (const [name, recipe] of Object.entries(models)) {
  const { make, inputs } = recipe.like ? models[recipe.like] : recipe
  const folder = join(target, name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  await write(folder, fill(make()), recipe)
  const model = await load(join(folder, 'model.json'))
  const fed = inputsFor(model, inputs)
  const results = [
    model.predict(fed.map(({ values, dims, dataType }) => tf.tensor(values, dims, dataType))),
  ].flat()
  const outputs = results.map((tensor) => ({
    dims: tensor.shape,
    values: Array.from(tensor.dataSync(), short),
  }))
  const expected = { tfjs: tf.version.tfjs, inputs: fed, outputs }
  writeFileSync(join(folder, 'expected.json'), `${JSON.stringify(expected)}\n`)
  console.log(name, outputs.map(({ dims }) => dims.join('x')).join(', '))
}
