import { type Call, defineAten, type Emitter, Untranslatable } from './define-aten.ts'

const input = 'self'

/** At most one size that depends on the input can be left to be inferred. */
function reshapeTo(build: Emitter, x: string, sizes: readonly (number | string)[]): string {
  const dynamic = sizes.filter((size) => typeof size === 'string').length
  const inferred = sizes.includes(-1)
  // A size of 0 would mean "as before" to ONNX.
  if (dynamic === 1 && !inferred && !sizes.includes(0))
    return build.reshape(
      x,
      sizes.map((size) => (typeof size === 'string' ? -1 : size)),
    )
  return build.op('Reshape', [x, build.sizes(sizes)], sizes.includes(0) ? { allowzero: 1 } : {})
}

export const view = defineAten({
  target: ['view', 'reshape', '_unsafe_view', '_reshape_copy', 'view_copy'],
  emit(call, build) {
    if (call.overload === 'dtype') return build.cast(call.tensor(input), call.outputType)
    return reshapeTo(build, call.tensor(input), call.sizes(call.has('size') ? 'size' : 'shape'))
  },
})

export const viewAs = defineAten({
  target: ['view_as', 'reshape_as'],
  emit: (call, build) => build.op('Reshape', [call.tensor(input), build.op('Shape', [call.tensor('other')])]),
})

export const flatten = defineAten({
  target: 'flatten',
  emit(call, build) {
    const x = call.tensor(input)
    const rank = build.rank(x)
    const start = call.axis('start_dim', rank, 0)
    const end = call.axis('end_dim', rank, -1)
    if (rank === 0) return build.reshape(x, [1])
    if (end === start) return x
    // One size is inferred; those in front are copied, those behind have to be known or copied too.
    if (start === 1 && end === rank - 1) return build.op('Flatten', [x], { axis: 1 })
    const shape = build.shape(x)
    const behind = shape.slice(end + 1)
    if (behind.every((size) => typeof size === 'number'))
      return build.reshape(x, [...shape.slice(0, start).map(() => 0), -1, ...behind])
    const all = build.op('Shape', [x])
    const parts = [build.slice(all, 0, 0, start), build.ints([-1]), build.slice(all, 0, end + 1, rank)]
    return build.op('Reshape', [x, build.op('Concat', parts, { axis: 0 })])
  },
})

export const unflatten = defineAten({
  target: 'unflatten',
  emit(call, build) {
    const x = call.tensor(input)
    const rank = build.rank(x)
    const axis = call.axis('dim', rank)
    const behind = build.shape(x).slice(axis + 1)
    if (!behind.every((size) => typeof size === 'number'))
      throw new Untranslatable('sizes behind it are dynamic')
    const front = Array.from({ length: axis }, () => 0)
    return build.reshape(x, [...front, ...call.ints('sizes'), ...behind])
  },
})

export const squeeze = defineAten({
  target: 'squeeze',
  emit(call, build) {
    const x = call.tensor(input)
    const shape = build.shape(x)
    const named = call.has('dim') ? call.axes('dim', shape.length) : shape.map((_, axis) => axis)
    const axes = named.filter((axis) => shape[axis] === 1)
    return axes.length === 0 ? x : build.op('Squeeze', [x, build.ints(axes)])
  },
})

export const unsqueeze = defineAten({
  target: 'unsqueeze',
  emit: (call, build) => build.unsqueeze(call.tensor(input), [call.number('dim')]),
})

export const permute = defineAten({
  target: ['permute', 'permute_copy'],
  emit: (call, build) =>
    build.transpose(call.tensor(input), call.axes('dims', build.rank(call.tensor(input)))),
})

export const transpose = defineAten({
  target: ['transpose', 'swapaxes', 'swapdims', 't', 'numpy_T', 'adjoint', 'mT'],
  emit(call, build) {
    const x = call.tensor(input)
    const rank = build.rank(x)
    const axes = Array.from({ length: rank }, (_, axis) => axis)
    if (call.op === 't' || call.op === 'numpy_T') return build.transpose(x, axes.reverse())
    const has = (name: string) => call.has(name)
    const a = has('dim0') ? call.axis('dim0', rank) : has('axis0') ? call.axis('axis0', rank) : rank - 2
    const b = has('dim1') ? call.axis('dim1', rank) : has('axis1') ? call.axis('axis1', rank) : rank - 1
    axes[a] = b
    axes[b] = a
    return build.transpose(x, axes)
  },
})

export const movedim = defineAten({
  target: ['movedim', 'moveaxis'],
  emit(call, build) {
    const x = call.tensor(input)
    const rank = build.rank(x)
    const [from, to] = [call.axes('source', rank), call.axes('destination', rank)]
    const perm: (number | undefined)[] = Array.from({ length: rank }, () => undefined)
    for (const [i, axis] of to.entries()) perm[axis] = from[i]!
    const rest = Array.from({ length: rank }, (_, axis) => axis).filter((axis) => !from.includes(axis))
    return build.transpose(
      x,
      perm.map((axis) => axis ?? rest.shift()!),
    )
  },
})

/** -1 keeps a size, as 1 does to ONNX. */
export const expand = defineAten({
  target: ['expand', 'broadcast_to', 'expand_copy'],
  emit: (call, build) =>
    build.op('Expand', [
      call.tensor(input),
      build.sizes(call.sizes('size').map((size) => (size === -1 ? 1 : size))),
    ]),
})

export const expandAs = defineAten({
  target: 'expand_as',
  emit: (call, build) => build.op('Expand', [call.tensor(input), build.op('Shape', [call.tensor('other')])]),
})

export const repeat = defineAten({
  target: ['repeat', 'tile'],
  emit(call, build) {
    const x = call.tensor(input)
    const repeats = call.sizes(call.op === 'repeat' ? 'repeats' : 'dims')
    const rank = build.rank(x)
    const missing = repeats.length - rank
    const wide = build.unsqueeze(
      x,
      Array.from({ length: Math.max(0, missing) }, (_, i) => i),
    )
    const full = [...Array.from({ length: Math.max(0, -missing) }, () => 1), ...repeats]
    return build.op('Tile', [wide, build.sizes(full)])
  },
})

export const cat = defineAten({
  target: ['cat', 'concat', 'concatenate'],
  emit(call, build) {
    const parts = call.tensors('tensors').map((part) => build.cast(part, call.outputType))
    return build.op('Concat', parts, { axis: call.number('dim', 0) })
  },
})

export const stack = defineAten({
  target: 'stack',
  emit(call, build) {
    const axis = call.axis('dim', call.outputShape.length, 0)
    const parts = call.tensors('tensors').map((part) => build.unsqueeze(part, [axis]))
    return build.op('Concat', parts, { axis })
  },
})

function splitInto(build: Emitter, x: string, axis: number, sizes: readonly number[]): readonly string[] {
  if (sizes.length === 1) return [build.op('Identity', [x])]
  return build.several('Split', [x, build.ints(sizes)], sizes.length, { axis })
}

export const split = defineAten({
  target: ['split', 'split_with_sizes', 'chunk', 'unsafe_split', 'unsafe_chunk', 'tensor_split'],
  emit(call, build) {
    const x = call.tensor(input)
    const axis = call.axis('dim', build.rank(x), 0)
    const given = call.has('split_sizes')
      ? call.ints('split_sizes')
      : call.has('split_size')
        ? call.ints('split_size')
        : undefined
    if (given && (given.length > 1 || call.has('split_sizes'))) return splitInto(build, x, axis, given)
    const size = build.size(x, axis)
    if (call.op === 'tensor_split') {
      const sections = call.number('sections')
      return splitInto(
        build,
        x,
        axis,
        Array.from(
          { length: sections },
          (_, i) => Math.floor(size / sections) + (i < size % sections ? 1 : 0),
        ),
      )
    }
    const step = given?.[0] ?? Math.ceil(size / call.number('chunks'))
    const count = Math.max(1, Math.ceil(size / step))
    return splitInto(
      build,
      x,
      axis,
      Array.from({ length: count }, (_, i) => Math.min(step, size - i * step)),
    )
  },
})

export const unbind = defineAten({
  target: 'unbind',
  emit(call, build) {
    const x = call.tensor(input)
    const axis = call.axis('dim', build.rank(x), 0)
    return Array.from({ length: build.size(x, axis) }, (_, i) =>
      build.op('Gather', [x, build.int(i)], { axis }),
    )
  },
})

/** Sizes beyond this stand for "to the end". */
const end = 2 ** 62

const scalar = (build: Emitter, value: number | string) =>
  typeof value === 'number' ? build.ints([value]) : build.unsqueeze(value, [0])

export const slice = defineAten({
  target: 'slice',
  emit(call, build) {
    const from = call.has('start') ? call.operand('start') : 0
    const to = call.has('end') ? call.operand('end') : end
    const step = call.number('step', 1)
    const x = call.tensor(input)
    if (from === 0 && typeof to === 'number' && to >= end && step === 1) return x
    const axis = build.ints([call.number('dim', 0)])
    return build.op('Slice', [x, scalar(build, from), scalar(build, to), axis, build.ints([step])])
  },
})

/** Where along an axis a slice or an index of it lies; undefined for steps. Both ends have to be known. */
export function stretchOf(call: Call, build: Emitter): Stretch | undefined {
  const x = call.tensor(input)
  const axis = call.axis('dim', build.rank(x), 0)
  const size = build.size(x, axis)
  const place = (at: number) => Math.min(Math.max(at < 0 ? at + size : at, 0), size)
  if (call.number('step', 1) !== 1) return undefined
  const isIndex = call.has('index')
  const from = place(call.number(isIndex ? 'index' : 'start', 0))
  return { axis, size, from, to: isIndex ? from + 1 : place(call.number('end', size)), isIndex }
}

export interface Stretch {
  readonly axis: number
  readonly size: number
  readonly from: number
  readonly to: number
  /** The part lacks the axis. */
  readonly isIndex: boolean
}

/** The whole with `part` in place of a stretch of it. */
export function inserted(build: Emitter, whole: string, part: string, stretch: Stretch): string {
  const { axis, size, from, to, isIndex } = stretch
  const parts = [
    ...(from > 0 ? [build.slice(whole, axis, 0, from)] : []),
    isIndex ? build.unsqueeze(part, [axis]) : part,
    ...(to < size ? [build.slice(whole, axis, to, size)] : []),
  ]
  return parts.length === 1 ? parts[0]! : build.op('Concat', parts, { axis })
}

export const scatter = defineAten({
  target: ['slice_scatter', 'select_scatter'],
  emit(call, build) {
    const stretch = stretchOf(call, build)
    if (!stretch) throw new Untranslatable('it writes in steps')
    return inserted(build, call.tensor(input), call.tensor('src'), stretch)
  },
})

export const narrow = defineAten({
  target: 'narrow',
  emit(call, build) {
    const start = call.number('start')
    const axis = call.axis('dim', build.rank(call.tensor(input)))
    return build.slice(call.tensor(input), axis, start, start + call.number('length'))
  },
})

export const select = defineAten({
  target: ['select', 'select_copy'],
  emit(call, build) {
    const index = call.operand('index')
    return build.op('Gather', [call.tensor(input), typeof index === 'number' ? build.int(index) : index], {
      axis: call.number('dim'),
    })
  },
})

export const indexSelect = defineAten({
  target: 'index_select',
  emit: (call, build) =>
    build.op('Gather', [call.tensor(input), call.tensor('index')], { axis: call.number('dim') }),
})

export const gather = defineAten({
  target: 'gather',
  emit: (call, build) =>
    build.op('GatherElements', [call.tensor(input), call.tensor('index')], { axis: call.number('dim') }),
})

/** x[i], x[:, i], x[i, j], x[:, i, j]: positions along one axis, or along several together. */
export const index = defineAten({
  target: ['index', '_unsafe_index'],
  emit(call, build) {
    const x = call.tensor(input)
    const given = call.optionalTensors('indices').flatMap((value, axis) => (value ? [{ value, axis }] : []))
    if (given.some(({ value }) => build.dataType(value) === 'bool'))
      throw new Untranslatable('it indexes by a mask')
    if (given.length === 1) return build.op('Gather', [x, given[0]!.value], { axis: given[0]!.axis })
    const axes = given.map(({ axis }) => axis)
    const positions = given.map(({ value }) => build.cast(value, 'int64'))
    const rank = Math.max(...given.map(({ value }) => build.rank(value)))
    const together = build.op('Shape', [positions.reduce((sum, value) => build.add(sum, value))])
    const parts = positions.map((value) => build.unsqueeze(build.op('Expand', [value, together]), [rank]))
    const others = Array.from({ length: build.rank(x) }, (_, axis) => axis).filter(
      (axis) => !axes.includes(axis),
    )
    const found = build.op('GatherND', [
      build.transpose(x, [...axes, ...others]),
      build.op('Concat', parts, { axis: rank }),
    ])
    // Axes that lie side by side keep their place; others come first.
    const isTogether = axes.every((axis, i) => axis === axes[0]! + i)
    const front = isTogether ? axes[0]! : 0
    const perm = [
      ...Array.from({ length: front }, (_, i) => rank + i),
      ...Array.from({ length: rank }, (_, i) => i),
      ...others.slice(front).map((_, i) => rank + front + i),
    ]
    return build.transpose(found, perm)
  },
})

export const roll = defineAten({
  target: 'roll',
  emit(call, build) {
    const x = call.tensor(input)
    const rank = build.rank(x)
    const shifts = call.ints('shifts')
    const dims = call.has('dims') ? call.axes('dims', rank) : []
    if (dims.length !== shifts.length) throw new Untranslatable('it rolls over all axes together')
    return dims.reduce((y, axis, i) => {
      const shift = shifts[i]!
      if (shift === 0) return y
      return build.op('Concat', [build.slice(y, axis, -shift, end), build.slice(y, axis, 0, -shift)], {
        axis,
      })
    }, x)
  },
})

export const flip = defineAten({
  target: 'flip',
  emit: (call, build) =>
    call
      .axes('dims', build.rank(call.tensor(input)))
      .reduce(
        (y, axis) =>
          build.op('Slice', [y, build.ints([-1]), build.ints([-end]), build.ints([axis]), build.ints([-1])]),
        call.tensor(input),
      ),
})

/** Values that stay what they are. */
export const same = defineAten({
  target: [
    'contiguous',
    'clone',
    'detach',
    'alias',
    'lift_fresh_copy',
    'lift_fresh',
    'positive',
    'resolve_conj',
    'resolve_neg',
    'dropout_backward',
  ],
  emit: (call) => call.tensor(input),
})

export const convert = defineAten({
  target: ['to', '_to_copy', 'type_as', 'float', 'half', 'double', 'long', 'int', 'bool'],
  emit: (call, build) => build.cast(call.tensor(input), call.outputType),
})

const modes: Readonly<Record<string, string>> = {
  constant: 'constant',
  reflect: 'reflect',
  replicate: 'edge',
  circular: 'wrap',
}

/** PyTorch names the pads of the last axis first: begin and end of each. */
function emitPad(build: Emitter, x: string, pads: readonly number[], mode: string, value: number): string {
  const rank = build.rank(x)
  const begins = Array.from({ length: rank }, () => 0)
  const ends = [...begins]
  for (let i = 0; i < pads.length / 2; i++) {
    begins[rank - 1 - i] = pads[2 * i]!
    ends[rank - 1 - i] = pads[2 * i + 1]!
  }
  const known = modes[mode]
  if (!known || known === 'wrap') throw new Untranslatable(`it pads in the mode '${mode}'`)
  const inputs = [x, build.ints([...begins, ...ends])]
  if (known === 'constant') inputs.push(build.scalar(value, build.dataType(x)))
  return build.op('Pad', inputs, { mode: known })
}

export const pad = defineAten({
  target: [
    'pad',
    'constant_pad_nd',
    'reflection_pad1d',
    'reflection_pad2d',
    'reflection_pad3d',
    'replication_pad1d',
    'replication_pad2d',
    'replication_pad3d',
  ],
  emit(call, build) {
    const named = /^(reflect|replicat)/.exec(call.op)?.[0]
    const mode = named ? (named === 'reflect' ? 'reflect' : 'replicate') : call.string('mode', 'constant')
    const pads = call.ints(call.has('pad') ? 'pad' : 'padding')
    return emitPad(build, call.tensor(input), pads, mode, call.number('value', 0))
  },
})

export const pixelShuffle = defineAten({
  target: ['pixel_shuffle', 'pixel_unshuffle'],
  emit(call, build) {
    const x = call.tensor(input)
    if (call.op === 'pixel_shuffle')
      return build.op('DepthToSpace', [x], { blocksize: call.number('upscale_factor'), mode: 'CRD' })
    // SpaceToDepth orders the blocks first; PyTorch the channels.
    const [r, c, h, w] = [
      call.number('downscale_factor'),
      build.size(x, 1),
      build.size(x, 2),
      build.size(x, 3),
    ]
    const blocks = build.reshape(x, [0, c, h / r, r, w / r, r])
    return build.reshape(build.transpose(blocks, [0, 1, 3, 5, 2, 4]), [0, c * r * r, h / r, w / r])
  },
})

export const channelShuffle = defineAten({
  target: ['channel_shuffle', 'native_channel_shuffle'],
  emit(call, build) {
    const x = call.tensor(input)
    const groups = call.number('groups')
    const shape = build.op('Shape', [x])
    const grouped = build.reshape(x, [0, groups, build.size(x, 1) / groups, -1])
    return build.op('Reshape', [build.transpose(grouped, [0, 2, 1, 3]), shape])
  },
})

export const tril = defineAten({
  target: ['tril', 'triu'],
  emit: (call, build) =>
    build.op('Trilu', [call.tensor(input), build.int(call.number('diagonal', 0))], {
      upper: call.op === 'triu' ? 1 : 0,
    }),
})
