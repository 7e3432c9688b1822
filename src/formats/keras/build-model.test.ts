import { describe, expect, it } from 'vitest'
import { uniform } from '../../ir/random.ts'
import { buildModel } from './build-model.ts'
import type { Json } from './config.ts'
import { readTopology } from './topology.ts'
import type { StoredWeight, WeightSource } from './weights.ts'

/** Arrays of the shapes given, by layer and name. */
function source(shapes: Readonly<Record<string, readonly number[]>>): WeightSource {
  return {
    of: (layer, expected) =>
      expected.map(({ name }, i): StoredWeight => {
        const key = `${layer.path}/${name}`
        const dims = shapes[key] ?? []
        const values = Float32Array.from(
          uniform(
            dims.reduce((n, dim) => n * dim, 1),
            -1,
            1,
            i,
          ),
        )
        return {
          name: key,
          dataType: 'float32',
          dims,
          read: () => new Uint8Array(values.buffer),
          locator: key,
        }
      }),
  }
}

const build = (json: Json, shapes: Readonly<Record<string, readonly number[]>> = {}) =>
  buildModel(readTopology(json), source(shapes), { format: 'keras', producer: 'test', kerasMajor: 3 })

const vectors = (layer: string, channels: number) =>
  Object.fromEntries(
    ['gamma', 'beta', 'moving_mean', 'moving_variance'].map((name) => [`${layer}/${name}`, [channels]]),
  )

describe('buildModel', () => {
  const json = {
    class_name: 'Sequential',
    config: {
      name: 'net',
      layers: [
        { class_name: 'InputLayer', config: { name: 'image', batch_shape: [null, 8, 8, 3] } },
        {
          class_name: 'Conv2D',
          config: { name: 'conv', filters: 4, kernel_size: [3, 3], padding: 'same', use_bias: false },
        },
        { class_name: 'BatchNormalization', config: { name: 'bn', axis: [3] } },
        { class_name: 'ReLU', config: { name: 'relu' } },
        { class_name: 'SpatialDropout2D', config: { name: 'drop', rate: 0.5 } },
        {
          class_name: 'Conv2D',
          config: { name: 'conv2', filters: 2, kernel_size: 3, strides: 2, padding: 'same' },
        },
        { class_name: 'Flatten', config: { name: 'flat' } },
      ],
    },
  }
  const shapes = {
    'conv/kernel': [3, 3, 3, 4],
    ...vectors('bn', 4),
    'conv2/kernel': [3, 3, 4, 2],
    'conv2/bias': [2],
  }

  it('moves axes only at the input and where the order matters again', () => {
    const { model, locations } = build(json, shapes)
    expect(model.graph.nodes.map(({ opType }) => opType)).toEqual([
      'Transpose',
      'Conv',
      'BatchNormalization',
      'Relu',
      'Slice',
      'RandomUniformLike',
      'Less',
      'Cast',
      'Div',
      'Mul',
      'Conv',
      'Transpose',
      'Reshape',
    ])
    expect(model.graph.inputs).toEqual([
      { name: 'image', type: { dataType: 'float32', shape: ['N', 8, 8, 3] } },
    ])
    expect(model.graph.outputs).toEqual([{ name: 'flat', type: { dataType: 'float32', shape: ['N', 32] } }])
    expect([...locations.keys()]).toContain('bn/moving_mean')
    expect(model.graph.nodes.find(({ opType }) => opType === 'BatchNormalization')!.origin).toEqual({
      label: 'bn',
    })
  })

  it('moves the axes of kernels when they are first read', () => {
    const { model } = build(json, shapes)
    const kernel = model.graph.initializers.get('conv/kernel')!
    expect(kernel.dims).toEqual([4, 3, 3, 3])
    const stored = uniform(108, -1, 1, 0)
    // Element [filter 1, channel 2, row 0, column 1] is stored at [0, 1, 2, 1].
    expect(kernel.toNumbers()[1 * 27 + 2 * 9 + 1]).toBeCloseTo(stored[(1 * 3 + 2) * 4 + 1]!, 6)
  })

  it('keeps a layer that it does not know as a node, and says so', () => {
    const { model, notes } = build({
      class_name: 'Sequential',
      config: [
        { class_name: 'Custom>Wave', config: { name: 'wave', batch_input_shape: [null, 5] } },
        { class_name: 'Dropout', config: { name: 'drop', rate: 0.2 } },
      ],
    })
    expect(model.graph.nodes.map(({ domain, opType }) => domain + opType)).toEqual(['kerasWave', 'Dropout'])
    expect(notes).toEqual([expect.stringMatching(/^wave: 'Wave' is no layer that varshift knows/)])
  })

  it('refuses arrays of another shape by the name of the layer', () => {
    expect(() => build(json, { ...shapes, 'conv2/kernel': [3, 3, 5, 2] })).toThrow(
      "layer 'conv2' (Conv2D): its array 'conv2/kernel' has shape [3, 3, 5, 2], expected [3, 3, 4, 2]",
    )
  })
})
