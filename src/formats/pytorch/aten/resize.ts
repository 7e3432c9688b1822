import { float } from '../../../ir/builder.ts'
import { Tensor } from '../../../ir/tensor.ts'
import { defineAten, Untranslatable } from './define-aten.ts'

const kinds: Readonly<Record<string, { mode: string; nearest?: boolean }>> = {
  upsample_nearest: { mode: 'nearest', nearest: true },
  _upsample_nearest_exact: { mode: 'nearest' },
  upsample_linear: { mode: 'linear' },
  upsample_bilinear: { mode: 'linear' },
  upsample_trilinear: { mode: 'linear' },
  upsample_bicubic: { mode: 'cubic' },
}

const targets = Object.keys(kinds).flatMap((kind) => ['1d', '2d', '3d'].map((rank) => `${kind}${rank}`))

/** Where an output element is read in the input depends on the kind and on `align_corners`, as in PyTorch's kernels. */
export const upsample = defineAten({
  target: targets,
  emit(call, build) {
    const x = call.tensor('input')
    const rank = build.rank(x)
    const kind = kinds[call.op.slice(0, -2)]!
    const attributes = {
      mode: kind.mode,
      coordinate_transformation_mode: kind.nearest
        ? 'asymmetric'
        : call.bool('align_corners', false)
          ? 'align_corners'
          : 'half_pixel',
      ...(kind.mode === 'nearest' ? { nearest_mode: kind.nearest ? 'floor' : 'round_prefer_ceil' } : {}),
      ...(kind.mode === 'cubic' ? { cubic_coeff_a: float(-0.75) } : {}),
    }
    const factors = scalesOf()
    if (factors) {
      const scales = build.constant(Tensor.float32([rank], [1, 1, ...factors]), 'scales')
      return build.op('Resize', [x, '', scales], attributes)
    }
    if (!call.has('output_size')) throw new Untranslatable('neither its size nor its factors are stated')
    const front = build.slice(build.op('Shape', [x]), 0, 0, 2)
    const sizes = build.op('Concat', [front, build.sizes(call.sizes('output_size'))], { axis: 0 })
    return build.op('Resize', [x, '', '', sizes], attributes)

    /** Factors that are given as numbers rule where elements are read, even beside sizes. */
    function scalesOf(): readonly number[] | undefined {
      if (call.has('scale_factors')) return call.floats('scale_factors')
      const named = ['scales_d', 'scales_h', 'scales_w', 'scales'].filter((name) => call.has(name))
      return named.length === rank - 2 ? named.map((name) => call.number(name)) : undefined
    }
  },
})
