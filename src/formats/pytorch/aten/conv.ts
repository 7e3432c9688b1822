import { type Call, defineAten, type Emitter, Untranslatable } from './define-aten.ts'

/** A value for each spatial axis: one number stands for all. */
export const spread = (values: readonly number[], rank: number): readonly number[] =>
  values.length === 1 ? Array.from({ length: rank }, () => values[0]!) : values

interface Geometry {
  readonly stride: readonly number[]
  readonly dilation: readonly number[]
  readonly groups: number
  /** At the beginning and at the end of each axis. */
  readonly pads: readonly number[]
}

function emitConv(build: Emitter, call: Call, { stride, dilation, groups, pads }: Geometry): string {
  const [x, weight, bias] = [call.tensor('input'), call.tensor('weight'), call.optional('bias')]
  const kernel = build.shape(weight).slice(2) as readonly number[]
  const isBatch = build.rank(x) === build.rank(weight)
  const attributes = { kernel_shape: kernel, strides: stride, dilations: dilation, group: groups, pads }
  const batched = isBatch ? x : build.unsqueeze(x, [0])
  const y = build.op('Conv', [batched, weight, ...(bias ? [bias] : [])], attributes)
  return isBatch ? y : build.op('Squeeze', [y, build.ints([0])])
}

function emitTransposed(
  build: Emitter,
  call: Call,
  { stride, dilation, groups, pads, extra }: Geometry & { readonly extra: readonly number[] },
): string {
  const [x, weight, bias] = [call.tensor('input'), call.tensor('weight'), call.optional('bias')]
  if (build.rank(x) !== build.rank(weight)) throw new Untranslatable('its input has no batch axis')
  return build.op('ConvTranspose', [x, weight, ...(bias ? [bias] : [])], {
    kernel_shape: build.shape(weight).slice(2) as readonly number[],
    strides: stride,
    dilations: dilation,
    group: groups,
    pads,
    output_padding: extra,
  })
}

function geometryOf(build: Emitter, call: Call): Geometry {
  const weight = call.tensor('weight')
  const rank = build.rank(weight) - 2
  const dilation = spread(call.ints('dilation', [1]), rank)
  const common = {
    stride: spread(call.ints('stride', [1]), rank),
    dilation,
    groups: call.number('groups', 1),
  }
  const padding = call.string('padding', '')
  if (padding === 'same') {
    // PyTorch puts the odd one at the end.
    const totals = dilation.map((d, i) => d * (build.size(weight, i + 2) - 1))
    return {
      ...common,
      pads: [...totals.map((t) => Math.floor(t / 2)), ...totals.map((t) => Math.ceil(t / 2))],
    }
  }
  const pads = padding === 'valid' ? spread([0], rank) : spread(call.ints('padding', [0]), rank)
  return { ...common, pads: [...pads, ...pads] }
}

export const conv = defineAten({
  target: ['conv1d', 'conv2d', 'conv3d'],
  emit: (call, build) => emitConv(build, call, geometryOf(build, call)),
})

export const convTranspose = defineAten({
  target: ['conv_transpose1d', 'conv_transpose2d', 'conv_transpose3d'],
  emit(call, build) {
    const geometry = geometryOf(build, call)
    const extra = spread(call.ints('output_padding', [0]), geometry.stride.length)
    return emitTransposed(build, call, { ...geometry, extra })
  },
})

/** What decompositions make of all of them. */
export const convolution = defineAten({
  target: ['convolution', '_convolution'],
  emit(call, build) {
    const geometry = geometryOf(build, call)
    if (!call.bool('transposed', false)) return emitConv(build, call, geometry)
    const extra = spread(call.ints('output_padding', [0]), geometry.stride.length)
    return emitTransposed(build, call, { ...geometry, extra })
  },
})
