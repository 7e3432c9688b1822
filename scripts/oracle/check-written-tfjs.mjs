/** TensorFlow.js' part of check-written.ts: loads the models of a folder and compares outputs. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const home = join(resolve(process.env.TFJS), 'package.json')
const tf = createRequire(home)('@tensorflow/tfjs')
const [, , folder, part] = process.argv
globalThis.tf = tf
// The text as it is printed, but for where it takes TensorFlow.js from.
const text = readFileSync(join(folder, 'varshift-layers.js'), 'utf8').replace(
  /^import \* as tf .*$/m,
  'const tf = globalThis.tf',
)
writeFileSync(join(folder, 'varshift-layers.mjs'), text)
const { Uout, MomentPreservingDropout } = await import(
  pathToFileURL(join(folder, 'varshift-layers.mjs')).href
)

function load(path) {
  const json = JSON.parse(readFileSync(path, 'utf8'))
  const files = json.weightsManifest.flatMap(({ paths }) => paths)
  const data = Buffer.concat(files.map((name) => readFileSync(join(dirname(path), name))))
  const weightData = data.buffer.slice(data.byteOffset, data.byteOffset + data.length)
  const weightSpecs = json.weightsManifest.flatMap(({ weights }) => weights)
  return tf.loadLayersModel(tf.io.fromMemory({ ...json, weightSpecs, weightData }))
}

async function compare() {
  const { cases } = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'))
  for (const { path, inputs, outputs } of cases.filter((other) => other.path.endsWith('model.json'))) {
    const model = await load(path)
    const fed = inputs.map(({ values, dims, dataType }) => tf.tensor(values, dims, dataType))
    const results = [model.predict(fed)].flat().map((tensor) => tensor.dataSync())
    const worst = Math.max(
      ...results.flatMap((values, i) => Array.from(values, (v, k) => Math.abs(v - outputs[i][k]))),
    )
    console.log(`TensorFlow.js ${path.slice(folder.length + 1)}: ${worst.toExponential(1)}`)
    if (!(worst < 1e-4)) process.exitCode = 1
  }

  const x = tf
    .randomUniform([4000, 5, 3], 0, 1, 'float32', 7)
    .pow(4)
    .add(tf.tensor1d([0, 2, -1]))
  const told = (name, y) => {
    const [before, after] = [tf.moments(x, [0, 1]), tf.moments(y, [0, 1])]
    const ratio = after.variance.div(before.variance).dataSync()
    const shift = after.mean.sub(before.mean).dataSync()
    const list = (values) => Array.from(values, (v) => v.toFixed(3)).join(' ')
    console.log(`TensorFlow.js ${name} in training: variance x ${list(ratio)}, mean + ${list(shift)}`)
  }
  told('Uout(0.5)', new Uout({ beta: 0.5 }).apply(x, { training: true }))
  told(
    'MomentPreservingDropout(0.4)',
    new MomentPreservingDropout({ rate: 0.4 }).apply(x, { training: true }),
  )
  const gradient = tf.grad((v) =>
    new MomentPreservingDropout({ rate: 0.4 }).apply(v, { training: true }).sum(),
  )(x)
  console.log(`TensorFlow.js gradient of it, mean ${gradient.mean().dataSync()[0].toFixed(3)}`)
}

/** A network with Dropout in front of its batch normalizations, trained on sums of sines. */
async function train() {
  const { layers } = tf
  const block = (inputShape) => [
    layers.dense({ units: 32, activation: 'relu', ...(inputShape ? { inputShape } : {}) }),
    layers.dropout({ rate: 0.5 }),
    layers.batchNormalization({ momentum: 0.9 }),
  ]
  const model = tf.sequential({ layers: [...block([16]), ...block(), layers.dense({ units: 1 })] })
  const x = tf.randomNormal([2000, 16], 0, 1, 'float32', 3)
  model.compile({ optimizer: tf.train.adam(0.01), loss: 'meanSquaredError' })
  await model.fit(x, x.sin().sum(1, true), { epochs: 8, batchSize: 100, verbose: 0 })
  const target = join(folder, 'trained')
  mkdirSync(target)
  writeFileSync(join(target, 'x.bin'), new Uint8Array(x.dataSync().buffer))
  await model.save(
    tf.io.withSaveHandler(async ({ modelTopology, weightSpecs, weightData }) => {
      const weightsManifest = [{ paths: ['weights.bin'], weights: weightSpecs }]
      writeFileSync(join(target, 'model.json'), JSON.stringify({ modelTopology, weightsManifest }))
      writeFileSync(join(target, 'weights.bin'), new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData)))
      return { modelArtifactsInfo: {} }
    }),
  )
}

/** What the batch normalizations see at inference, by TensorFlow.js itself, over what they store. */
async function measure() {
  const values = new Float32Array(new Uint8Array(readFileSync(join(folder, 'trained/x.bin'))).buffer)
  const x = tf.tensor(values, [values.length / 16, 16])
  for (const name of ['trained', 'repaired']) {
    const model = await load(join(folder, name, 'model.json'))
    const norms = model.layers.filter((layer) => layer.getClassName() === 'BatchNormalization')
    const ratios = norms.map((layer) => {
      const seen = tf.model({ inputs: model.inputs, outputs: layer.input }).predict(x)
      const stored = layer.getWeights().at(-1)
      return tf.moments(seen, 0).variance.mean().div(stored.mean()).dataSync()[0]
    })
    console.log(
      `TensorFlow.js ${name}: variance seen at inference over the stored one ${ratios.map((r) => r.toFixed(3)).join(', ')}`,
    )
    if (name === 'repaired' && ratios.some((ratio) => Math.abs(ratio - 1) > 0.01)) process.exitCode = 1
  }
}

await { compare, train, measure }[part]()
