import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { expectedOf, pathOf, recordedNetworks } from '../../test/conformance/oracle.ts'
import { readModel } from '../formats/onnx/read.ts'
import { parseModel } from '../ir/text.ts'
import { factsOf } from './index.ts'
import { weightsInFront } from './weights.ts'

test('d cos^2 agrees with PyTorch', () => {
  for (const network of recordedNetworks) {
    const { model } = readModel(readFileSync(pathOf(network, 'model.onnx')))
    const { norms } = factsOf(model)
    for (const [i, { module, dCos2 }] of expectedOf(network).norms.entries()) {
      const found = weightsInFront(model, norms[i]!)
      // The recording also looks through activations; varshift wants the layer directly in front.
      if (found && dCos2 !== null)
        expect({ network, module, close: Math.abs(found.dCos2 / dCos2 - 1) < 1e-4 }).toEqual({
          network,
          module,
          close: true,
        })
    }
  }
})

test('through a bias, a noise that is spelled out, and reshapes, but not through an activation', () => {
  const inFront = (nodes: string) => {
    const model = parseModel(`net (float32[N, 2] x) => (y)
      <float32[2, 2] w = {1, 2, 3, 4}, float32[2] one = fill(1), float32[2] zero = fill(0), float32 half = {0.5}, int64[1] axes = {2}>
      { [layer] h = MatMul(x, w) ${nodes} [bn] y = BatchNormalization(z, one, zero, zero, one) }`)
    return weightsInFront(model, factsOf(model).norms[0]!)
  }
  expect(
    inFront(
      'b = Add(h, one) u = RandomNormalLike <mean = 1.0, scale = 0.5> (b) d = Mul(b, u) z = Unsqueeze(d, axes)',
    ),
  ).toMatchObject({ label: 'layer', dCos2: (16 / 10 + 36 / 20) / 2 })
  expect(inFront('z = Relu(h)')).toBeUndefined()
  expect(inFront('z = Add(h, x)')).toBeUndefined()
})
