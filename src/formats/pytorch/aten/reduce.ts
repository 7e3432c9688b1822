import { type Call, defineAten, type Emitter, Untranslatable } from './define-aten.ts'

const all = (rank: number) => Array.from({ length: rank }, (_, axis) => axis)

/** The axes that a reduction names; none or an empty list means all. */
function axesOf(call: Call, build: Emitter, x: string): readonly number[] {
  const rank = build.rank(x)
  const axes = call.has('dim') ? call.axes('dim', rank) : []
  return axes.length === 0 ? all(rank) : axes
}

const keepdim = (call: Call) => call.bool('keepdim', false)

const reductions: Readonly<Record<string, `Reduce${string}`>> = {
  mean: 'ReduceMean',
  sum: 'ReduceSum',
  amax: 'ReduceMax',
  amin: 'ReduceMin',
  prod: 'ReduceProd',
  logsumexp: 'ReduceLogSumExp',
}

export const reduce = defineAten({
  target: Object.keys(reductions),
  emit(call, build) {
    const x = call.tensor('self')
    const y = build.cast(x, call.outputType)
    return build.reduce(reductions[call.op]!, y, axesOf(call, build, x), keepdim(call))
  },
})

/** `max.dim` also gives positions; without an axis the largest of all. */
export const extremes = defineAten({
  target: ['max', 'min'],
  emit(call, build) {
    const x = call.tensor('self')
    const opType = call.op === 'max' ? 'Max' : 'Min'
    if (call.overload === 'other') return build.op(opType, [x, call.tensor('other')])
    const axes = axesOf(call, build, x)
    const values = build.reduce(`Reduce${opType}`, x, axes, keepdim(call))
    if (call.overload !== 'dim') return [values]
    return [values, build.op(`Arg${opType}`, [x], { axis: axes[0]!, keepdims: keepdim(call) ? 1 : 0 })]
  },
})

export const argmax = defineAten({
  target: ['argmax', 'argmin'],
  emit(call, build) {
    const opType = call.op === 'argmax' ? 'ArgMax' : 'ArgMin'
    if (!call.has('dim'))
      return build.op(opType, [build.reshape(call.tensor('self'), [-1])], { axis: 0, keepdims: 0 })
    return build.op(opType, [call.tensor('self')], {
      axis: call.number('dim'),
      keepdims: keepdim(call) ? 1 : 0,
    })
  },
})

/** Variance and mean; `correction` is taken off the count. */
function varianceOf(call: Call, build: Emitter): { variance: string; mean: string } {
  const x = call.tensor('self')
  const axes = axesOf(call, build, x)
  const type = build.dataType(x)
  const correction = call.has('correction') ? call.number('correction') : call.bool('unbiased', true) ? 1 : 0
  const mean = build.reduceMean(x, axes)
  const deviation = build.sub(x, mean)
  let variance = build.reduceMean(build.mul(deviation, deviation), axes, keepdim(call))
  if (correction !== 0) {
    const sizes = axes.map((axis) => build.shape(x)[axis])
    const count = sizes.every((size) => typeof size === 'number')
      ? build.scalar(
          (sizes as number[]).reduce((n, d) => n * d, 1),
          type,
        )
      : build.cast(
          build.reduce(
            'ReduceProd',
            build.op('Gather', [build.op('Shape', [x]), build.ints(axes)]),
            [0],
            false,
          ),
          type,
          'int64',
        )
    variance = build.mul(variance, build.div(count, build.sub(count, build.scalar(correction, type))))
  }
  const flatMean = keepdim(call) ? mean : build.op('Squeeze', [mean, build.ints(axes)])
  return { variance, mean: flatMean }
}

export const variance = defineAten({
  target: ['var', 'std', 'var_mean', 'std_mean'],
  emit(call, build) {
    const { variance: square, mean } = varianceOf(call, build)
    const spread = call.op.startsWith('std') ? build.op('Sqrt', [square]) : square
    return call.op.endsWith('mean') ? [spread, mean] : spread
  },
})

export const vectorNorm = defineAten({
  target: ['linalg_vector_norm', 'norm'],
  emit(call, build) {
    const x = build.cast(call.tensor('self'), call.outputType)
    const order = call.has('ord') ? call.number('ord') : call.has('p') ? call.number('p') : 2
    if (order !== 1 && order !== 2) throw new Untranslatable(`it is a norm of order ${order}`)
    return build.reduce(
      order === 1 ? 'ReduceL1' : 'ReduceL2',
      x,
      axesOf(call, build, call.tensor('self')),
      keepdim(call),
    )
  },
})

export const cumsum = defineAten({
  target: 'cumsum',
  emit: (call, build) =>
    build.op('CumSum', [build.cast(call.tensor('self'), call.outputType), build.int(call.number('dim'))]),
})

export const anyAll = defineAten({
  target: ['any', 'all'],
  emit(call, build) {
    const x = call.tensor('self')
    const numbers = build.cast(build.cast(x, 'bool'), 'int32', 'bool')
    const result = build.reduce(
      call.op === 'any' ? 'ReduceMax' : 'ReduceMin',
      numbers,
      axesOf(call, build, x),
      keepdim(call),
    )
    return build.cast(result, 'bool', 'int32')
  },
})

export const topk = defineAten({
  target: ['topk', 'sort'],
  emit(call, build) {
    const x = call.tensor('self')
    const axis = call.axis('dim', build.rank(x), -1)
    const count = call.op === 'topk' ? call.number('k') : build.size(x, axis)
    const largest = call.op === 'topk' ? call.bool('largest', true) : call.bool('descending', false)
    return build.several('TopK', [x, build.ints([count])], 2, { axis, largest: largest ? 1 : 0 })
  },
})
