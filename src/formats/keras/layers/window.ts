import type { Dim } from '../../../ir/model.ts'
import type { Config } from '../config.ts'
import type { LayerBuilder, LayerValue } from '../layer-builder.ts'

/** Where the channels of a layer are, as Keras sees it. */
export function channelsLast(config: Config): boolean {
  return (
    config.choice('data_format', ['channels_last', 'channels_first'], 'channels_last') === 'channels_last'
  )
}

/** A value with `rank` axes of positions, its channels second in the graph. */
export interface Positions {
  readonly name: string
  readonly batch: Dim
  readonly channels: Dim
  readonly sizes: readonly Dim[]
}

export function positionsOf(build: LayerBuilder, x: LayerValue, rank: number, last: boolean): Positions {
  const { shape } = x
  if (shape.length !== rank + 2)
    build.refuse(`it takes values of ${rank + 2} axes, got ${shape.length}; the file may be damaged`)
  return last
    ? {
        name: build.withChannelsSecond(x),
        batch: shape[0],
        channels: shape.at(-1),
        sizes: shape.slice(1, -1),
      }
    : { name: build.inKerasOrder(x), batch: shape[0], channels: shape[1], sizes: shape.slice(2) }
}

/** The value behind a layer whose result `name` has its channels second. */
export function fromPositions({ name, batch, channels, sizes }: Positions, last: boolean): LayerValue {
  return {
    name,
    shape: last ? [batch, ...sizes, channels] : [batch, channels, ...sizes],
    dataType: 'float32',
    channelsSecond: last,
  }
}

export type Padding = 'valid' | 'same' | 'causal'

/** Attributes of a sliding window and the sizes behind it; TensorFlow's `same` puts the odd one behind. */
export function windowOf(
  sizes: readonly Dim[],
  kernel: readonly number[],
  strides: readonly number[],
  dilations: readonly number[],
  padding: Padding,
): { attributes: { pads?: number[]; auto_pad?: string }; sizes: Dim[] } {
  const reach = kernel.map((k, i) => (k - 1) * dilations[i]! + 1)
  const out = sizes.map((size, i): Dim => {
    if (typeof size !== 'number') return undefined
    if (padding === 'valid') return Math.max(0, Math.floor((size - reach[i]!) / strides[i]!) + 1)
    return Math.ceil(size / strides[i]!)
  })
  if (padding === 'valid') return { attributes: {}, sizes: out }
  if (padding === 'causal')
    return { attributes: { pads: [...reach.map((r) => r - 1), ...reach.map(() => 0)] }, sizes: out }
  const totals = sizes.map((size, i) => {
    if (strides[i] === 1) return reach[i]! - 1
    if (typeof size !== 'number') return undefined
    return Math.max(0, (Math.ceil(size / strides[i]!) - 1) * strides[i]! + reach[i]! - size)
  })
  if (!totals.every((total) => total !== undefined))
    return { attributes: { auto_pad: 'SAME_UPPER' }, sizes: out }
  const before = totals.map((total) => Math.floor(total / 2))
  return { attributes: { pads: [...before, ...totals.map((total, i) => total - before[i]!)] }, sizes: out }
}
