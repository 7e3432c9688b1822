import { activated } from './activation.ts'
import { defineLayer, expectDims, type LayerDefinition, withBias } from './define-layer.ts'

/** y = x W + b along the last axis. */
const dense = defineLayer({
  classNames: ['Dense'],
  keepsMask: true,
  weights: withBias('kernel'),
  emit(call) {
    const { build, config, weight, inputs } = call
    const x = inputs[0]!
    const kernel = weight('kernel')
    expectDims(call, kernel, [x.shape.at(-1), config.integer('units')])
    const units = kernel.dims[1]!
    const bias = config.flag('use_bias', true)
      ? [build.weight(expectDims(call, weight('bias'), [units]))]
      : []
    const value = build.inKerasOrder(x)
    const weights = build.weight(kernel)
    const isMatrix = x.shape.length === 2
    const product = isMatrix
      ? build.op('Gemm', [value, weights, ...bias])
      : build.op('MatMul', [value, weights])
    const name = isMatrix || bias.length === 0 ? product : build.op('Add', [product, ...bias])
    const shape = [...x.shape.slice(0, -1), units]
    return activated(
      call,
      { name, shape, dataType: 'float32', channelsSecond: false },
      config.raw('activation'),
    )
  },
})

/** Adds a cost in training; the values pass. */
const activityRegularization = defineLayer({
  classNames: ['ActivityRegularization'],
  keepsMask: true,
  emit: ({ build, inputs: [x] }) => ({ ...x!, name: build.op('Identity', [x!.name]) }),
})

export const denseLayers: readonly LayerDefinition[] = [dense, activityRegularization]
