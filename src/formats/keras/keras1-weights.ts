import { dataTypes, elementCount } from '../../ir/tensor.ts'
import { permuted } from './permute.ts'
import { innerLayer, type Layer } from './topology.ts'
import type { StoredWeight } from './weights.ts'

/** Who wrote the arrays of a `.h5` file. */
export interface Writer {
  /** Version of Keras: 1, 2 or 3. */
  readonly major: number
  /** `theano` convolves, with kernels mirrored; the others correlate. */
  readonly backend: string | undefined
}

const wrappers = new Set(['Bidirectional', 'TimeDistributed'])
const convolutions = new Set(['Conv1D', 'Conv2D', 'Conv3D', 'Conv2DTranspose'])

/**
 * The arrays of a layer as Keras 2 and 3 order them.
 * Source: keras.src.legacy_h5_format, preprocess_weights_for_loading.
 */
export function asKeras2(
  arrays: readonly StoredWeight[],
  layer: Layer,
  writer: Writer,
): readonly StoredWeight[] {
  const [kernel, ...others] = arrays
  if (kernel && convolutions.has(layer.className)) {
    const ordered = writer.major === 1 ? kernelOf1(kernel, layer) : kernel
    return [writer.backend === 'theano' ? mirrored(ordered) : ordered, ...others]
  }
  if (writer.major === 1 && wrappers.has(layer.className)) {
    const inner = innerLayer(layer)
    const directions = layer.className === 'Bidirectional' ? 2 : 1
    const each = arrays.length / directions
    return Array.from({ length: directions }, (_, i) =>
      asKeras2(arrays.slice(i * each, (i + 1) * each), inner, writer),
    ).flat()
  }
  const gates = writer.major === 1 ? gatesOf[layer.className] : undefined
  if (!gates || arrays.length !== 3 * gates.length) return arrays
  return [0, 1, 2].map((part) => joined(gates.map((gate) => arrays[3 * gate + part]!)))
}

/** Keras 1 stored three arrays (W, U, b) for each gate; here the order of the gates in Keras 2. */
const gatesOf: Readonly<Record<string, readonly number[]>> = {
  // Stored: input, cell, forget, output.
  LSTM: [0, 2, 1, 3],
  // Stored: update, reset, candidate.
  GRU: [0, 1, 2],
}

function kernelOf1(kernel: StoredWeight, { className, config }: Layer): StoredWeight {
  const isFirst = config.raw('data_format') === 'channels_first'
  const rank = kernel.dims.length
  // Early one-dimensional convolutions were two-dimensional ones with an axis of size 1, before Keras 1.2 the last.
  if (className === 'Conv1D' && rank === 4 && kernel.dims[1] !== 1 && kernel.dims[3] === 1) {
    const kept = turned(kernel, [2, 3, 1, 0])
    return { ...kept, dims: kept.dims.filter((_, axis) => axis !== 1) }
  }
  if (className === 'Conv1D' && rank === 4 && kernel.dims[1] === 1)
    return { ...kernel, dims: kernel.dims.filter((_, axis) => axis !== 1), locator: undefined }
  if (className === 'Conv2DTranspose' && rank === 4)
    return turned(kernel, isFirst ? [2, 3, 0, 1] : [0, 1, 3, 2])
  if (className === 'Conv2D' && rank === 4 && isFirst) return turned(kernel, [2, 3, 1, 0])
  if (className === 'Conv3D' && rank === 5 && isFirst) return turned(kernel, [2, 3, 4, 1, 0])
  return kernel
}

/** With the axes in another order. What is not stored as it is cannot be written. */
const turned = (weight: StoredWeight, axes: readonly number[]): StoredWeight => ({
  ...weight,
  dims: axes.map((axis) => weight.dims[axis]!),
  read: () => permuted(weight.read(), weight.dims, axes, weight.dataType),
  locator: undefined,
})

/** With the axes of positions, all but the last two, reversed. */
const mirrored = (weight: StoredWeight): StoredWeight => ({
  ...weight,
  locator: undefined,
  read() {
    const bytes = weight.read()
    const cell = elementCount(weight.dims.slice(-2)) * (dataTypes[weight.dataType].bits / 8)
    const out = new Uint8Array(bytes.length)
    for (let at = 0; at < bytes.length; at += cell)
      out.set(bytes.subarray(at, at + cell), bytes.length - cell - at)
    return out
  },
})

/** Next to each other along the last axis. */
function joined(weights: readonly StoredWeight[]): StoredWeight {
  const [first] = weights
  const columns = weights.map(({ dims }) => dims.at(-1) ?? 0)
  const total = columns.reduce((sum, n) => sum + n, 0)
  return {
    ...first!,
    dims: [...first!.dims.slice(0, -1), total],
    locator: undefined,
    read() {
      const size = dataTypes[first!.dataType].bits / 8
      const rows = elementCount(first!.dims.slice(0, -1))
      const out = new Uint8Array(rows * total * size)
      let at = 0
      for (const [i, weight] of weights.entries()) {
        const width = columns[i]! * size
        const bytes = weight.read()
        for (let row = 0; row < rows; row++)
          out.set(bytes.subarray(row * width, (row + 1) * width), row * total * size + at)
        at += width
      }
      return out
    },
  }
}
