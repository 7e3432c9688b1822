import { attributesOf, float } from '../src/ir/builder.ts'
import type { Model, Node } from '../src/ir/model.ts'
import { uniform } from '../src/ir/random.ts'
import { Tensor } from '../src/ir/tensor.ts'

/** Builds image classifiers with random weights, as an exporter in training mode would leave them. */
class Builder {
  readonly nodes: Node[] = []
  readonly initializers = new Map<string, Tensor>()
  #count = 0

  node(opType: string, inputs: string[], attributes: Parameters<typeof attributesOf>[0] = {}): string {
    const output = `${opType}_${this.#count++}`
    this.nodes.push({
      name: output,
      opType,
      domain: '',
      inputs,
      outputs: [output],
      attributes: attributesOf(attributes),
    })
    return output
  }

  parameter(dims: number[], low: number, high: number): string {
    const name = `p${this.#count++}`
    const size = dims.reduce((n, d) => n * d, 1)
    this.initializers.set(name, Tensor.float32(dims, uniform(size, low, high, this.#count)))
    return name
  }

  conv(x: string, inputs: number, outputs: number, kernel: number, stride = 1): string {
    const bound = Math.sqrt(6 / (inputs * kernel * kernel))
    const pad = (kernel - 1) >> 1
    return this.node('Conv', [x, this.parameter([outputs, inputs, kernel, kernel], -bound, bound)], {
      kernel_shape: [kernel, kernel],
      strides: [stride, stride],
      pads: [pad, pad, pad, pad],
    })
  }

  norm(x: string, channels: number): string {
    const parameters = [
      [0.8, 1.2],
      [-0.2, 0.2],
      [-0.3, 0.3],
      [0.5, 1.5],
    ].map(([low, high]) => this.parameter([channels], low!, high!))
    return this.node('BatchNormalization', [x, ...parameters], { epsilon: float(1e-5) })
  }

  relu = (x: string): string => this.node('Relu', [x])

  classifier(x: string, channels: number, classes: number): string {
    const pooled = this.node('Flatten', [this.node('GlobalAveragePool', [x])])
    return this.node(
      'Gemm',
      [pooled, this.parameter([classes, channels], -0.05, 0.05), this.parameter([classes], 0, 0)],
      { transB: 1 },
    )
  }

  dropout(x: string): string {
    this.initializers.set('ratio', Tensor.float32([], [0.5]))
    this.initializers.set('training', Tensor.of('bool', [], [1]))
    return this.node('Dropout', [x, 'ratio', 'training'])
  }

  model(output: string, size: number): Model {
    return {
      format: 'onnx',
      irVersion: 8,
      opsets: new Map([['', 17]]),
      functions: [],
      producer: 'bench',
      graph: {
        name: 'net',
        nodes: this.nodes,
        initializers: this.initializers,
        types: new Map(),
        inputs: [{ name: 'x', type: { dataType: 'float32', shape: ['N', 3, size, size] } }],
        outputs: [{ name: output, type: { dataType: 'float32', shape: ['N', undefined] } }],
      },
    }
  }
}

/** ResNet-50 (He et al., arXiv:1512.03385), 224 x 224, 53 norms. */
export function resnet50(): Model {
  const b = new Builder()
  let x = b.relu(b.norm(b.conv('x', 3, 64, 7, 2), 64))
  x = b.node('MaxPool', [x], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] })
  let inputs = 64
  for (const [width, blocks, first] of [
    [64, 3, 1],
    [128, 4, 2],
    [256, 6, 2],
    [512, 3, 2],
  ] as const)
    for (let block = 0; block < blocks; block++) {
      const stride = block === 0 ? first : 1
      let y = b.relu(b.norm(b.conv(x, inputs, width, 1), width))
      y = b.relu(b.norm(b.conv(y, width, width, 3, stride), width))
      y = b.norm(b.conv(y, width, 4 * width, 1), 4 * width)
      const shortcut = block === 0 ? b.norm(b.conv(x, inputs, 4 * width, 1, stride), 4 * width) : x
      x = b.relu(b.node('Add', [y, shortcut]))
      inputs = 4 * width
    }
  return b.model(b.classifier(x, inputs, 1000), 224)
}

/** PreResNet-110 with bottlenecks (He et al., arXiv:1603.05027), 32 x 32, 163 norms, Dropout before the last of each. */
export function preresnet110(): Model {
  const b = new Builder()
  let x = b.conv('x', 3, 16, 3)
  let inputs = 16
  for (const [width, first] of [
    [16, 1],
    [32, 2],
    [64, 2],
  ] as const)
    for (let block = 0; block < 18; block++) {
      const stride = block === 0 ? first : 1
      let y = b.conv(b.relu(b.norm(x, inputs)), inputs, width, 1)
      y = b.conv(b.relu(b.norm(y, width)), width, width, 3, stride)
      y = b.conv(b.relu(b.norm(b.dropout(y), width)), width, 4 * width, 1)
      x = b.node('Add', [y, block === 0 ? b.conv(x, inputs, 4 * width, 1, stride) : x])
      inputs = 4 * width
    }
  return b.model(b.classifier(b.relu(b.norm(x, inputs)), inputs, 10), 32)
}

/** DenseNet-BC-100-12 (Huang et al., arXiv:1608.06993), 32 x 32, 99 norms, Dropout behind each 3 x 3 convolution. */
export function densenet100(): Model {
  const b = new Builder()
  const growth = 12
  let inputs = 2 * growth
  let x = b.conv('x', 3, inputs, 3)
  for (const stage of [0, 1, 2]) {
    for (let layer = 0; layer < 16; layer++) {
      let y = b.conv(b.relu(b.norm(x, inputs)), inputs, 4 * growth, 1)
      y = b.dropout(b.conv(b.relu(b.norm(y, 4 * growth)), 4 * growth, growth, 3))
      x = b.node('Concat', [x, y], { axis: 1 })
      inputs += growth
    }
    if (stage === 2) break
    x = b.conv(b.relu(b.norm(x, inputs)), inputs, inputs >> 1, 1)
    x = b.node('AveragePool', [x], { kernel_shape: [2, 2], strides: [2, 2] })
    inputs >>= 1
  }
  return b.model(b.classifier(b.relu(b.norm(x, inputs)), inputs, 10), 32)
}

/** A stack of dense layers of about `sizeBytes`, to time reading and writing. */
export function wideMlp(sizeBytes: number): Model {
  const b = new Builder()
  const width = 4096
  let x = b.node('Flatten', [b.node('GlobalAveragePool', ['x'])])
  let inputs = 3
  for (let left = sizeBytes; left > 0; left -= width * width * 4) {
    const weights = `w${left}`
    b.initializers.set(weights, new Tensor('float32', [inputs, width], new Uint8Array(inputs * width * 4)))
    x = b.relu(b.norm(b.node('MatMul', [x, weights]), width))
    inputs = width
  }
  return b.model(x, 32)
}
