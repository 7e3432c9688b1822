/** TensorFlow.js' part of check-written.ts: loads the models of a folder and compares outputs. */
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const home = join(resolve(process.env.TFJS), 'package.json')
const tf = createRequire(home)('@tensorflow/tfjs')
const [, , folder] = process.argv
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

const { cases } = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'))
for (const { path, inputs, outputs } of cases.filter((other) => other.path.endsWith('model.json'))) {
  const json = JSON.parse(readFileSync(path, 'utf8'))
  const files = json.weightsManifest.flatMap(({ paths }) => paths)
  const data = Buffer.concat(files.map((name) => readFileSync(join(dirname(path), name))))
  const weightData = data.buffer.slice(data.byteOffset, data.byteOffset + data.length)
  const weightSpecs = json.weightsManifest.flatMap(({ weights }) => weights)
  const model = await tf.loadLayersModel(tf.io.fromMemory({ ...json, weightSpecs, weightData }))
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
told('MomentPreservingDropout(0.4)', new MomentPreservingDropout({ rate: 0.4 }).apply(x, { training: true }))
const gradient = tf.grad((v) =>
  new MomentPreservingDropout({ rate: 0.4 }).apply(v, { training: true }).sum(),
)(x)
console.log(`TensorFlow.js gradient of it, mean ${gradient.mean().dataSync()[0].toFixed(3)}`)
