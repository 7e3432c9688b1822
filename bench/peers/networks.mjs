/**
 * The networks of bench/train.ts for peers that are JavaScript libraries. Each is a function of a peer's operations `op`
 * and of a value; `op.again(x)` is `x` for one more reader. Parameters are taken in the order of `layersOf`.
 */
export const networks = {
  'preresnet-20': (op, x) => preActivation(op, x, [16, 32, 64], 3),
  'wrn-16-4': (op, x) => preActivation(op, x, [64, 128, 256], 2, true),
  'densenet-bc-40-12': (op, x) => denseNet(op, x, 12, 6),
  'resnext-20-4x16': (op, x) => resNeXt(op, x, 4, 16),
  'vgg-11-bn': (op, x) => vgg(op, x, [[64], [128], [256, 256], [512, 512], [512, 512]]),
  'mlp-784-1024-1024-10': (op, x) => mlp(op, x, [1024, 1024], 0.5),
}

export const classes = 10
export const sampleShape = (name) => (name.startsWith('mlp') ? [784] : [3, 32, 32])

/** What has parameters: `{ kind: 'conv' | 'norm' | 'dense', inputs, outputs, kernel }`. */
export function layersOf(name) {
  const layers = []
  const half = ([channels, height, width]) => [channels, height / 2, width / 2]
  const same = (x) => x
  networks[name](
    {
      again: same,
      relu: same,
      add: same,
      dropout: same,
      maxPool: half,
      averagePool: half,
      globalPool: ([channels]) => [channels],
      concat: ([a, height, width], [b]) => [a + b, height, width],
      channels: ([channels]) => channels,
      norm(x) {
        layers.push({ kind: 'norm', outputs: x[0] })
        return x
      },
      dense([inputs], outputs) {
        layers.push({ kind: 'dense', inputs, outputs })
        return [outputs]
      },
      conv([inputs, height, width], outputs, kernel, stride = 1, groups = 1) {
        layers.push({ kind: 'conv', inputs: inputs / groups, outputs, kernel })
        return [outputs, height / stride, width / stride]
      },
    },
    sampleShape(name),
  )
  return layers
}

const normRelu = (op, x) => op.relu(op.norm(x))
const head = (op, x) => op.dense(op.globalPool(x), classes)

function preActivation(op, image, widths, blocks, wide = false) {
  let x = op.conv(image, 16, 3)
  widths.forEach((width, stage) => {
    for (let block = 0; block < blocks; block++) {
      const stride = stage > 0 && block === 0 ? 2 : 1
      const projects = op.channels(x) !== width
      const active = normRelu(op, projects && wide ? x : op.again(x))
      let kept = x
      if (projects) kept = op.conv(wide ? op.again(active) : x, width, 1, stride)
      const inner = normRelu(op, op.conv(active, width, 3, stride))
      x = op.add(op.conv(inner, width, 3), kept)
    }
  })
  return head(op, normRelu(op, x))
}

function resNeXt(op, image, groups, groupWidth) {
  let x = normRelu(op, op.conv(image, 64, 3))
  for (let stage = 0; stage < 3; stage++)
    for (let block = 0; block < 2; block++) {
      const [width, outputs] = [groups * groupWidth * 2 ** stage, 256 * 2 ** stage]
      const stride = stage > 0 && block === 0 ? 2 : 1
      const projects = op.channels(x) !== outputs
      const squeezed = normRelu(op, op.conv(op.again(x), width, 1))
      const grouped = normRelu(op, op.conv(squeezed, width, 3, stride, groups))
      const expanded = op.norm(op.conv(grouped, outputs, 1))
      x = op.relu(op.add(expanded, projects ? op.norm(op.conv(x, outputs, 1, stride)) : x))
    }
  return head(op, x)
}

function denseNet(op, image, growth, count) {
  let x = op.conv(image, 2 * growth, 3)
  for (let stage = 0; stage < 3; stage++) {
    for (let i = 0; i < count; i++) {
      const narrow = op.conv(normRelu(op, op.again(x)), 4 * growth, 1)
      x = op.concat(x, op.conv(normRelu(op, narrow), growth, 3))
    }
    if (stage < 2) x = op.averagePool(op.conv(normRelu(op, x), op.channels(x) / 2, 1))
  }
  return head(op, normRelu(op, x))
}

function vgg(op, image, stages) {
  let x = image
  for (const widths of stages) {
    for (const width of widths) x = normRelu(op, op.conv(x, width, 3))
    x = op.maxPool(x)
  }
  return head(op, x)
}

function mlp(op, input, widths, ratio) {
  let x = input
  for (const width of widths) x = op.dropout(normRelu(op, op.dense(x, width)), ratio)
  return op.dense(x, classes)
}
