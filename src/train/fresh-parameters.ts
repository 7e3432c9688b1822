import { factsOf } from '../analysis/index.ts'
import type { Edit } from '../ir/edit.ts'
import { intAttribute, type Model, type Node } from '../ir/model.ts'
import { normal, seedOf } from '../ir/random.ts'
import { elementCount, Tensor } from '../ir/tensor.ts'
import { type Parameter, parametersOf } from './parameters.ts'

/** What PyTorch's and Keras' PReLU start with, and PyTorch's alone; He et al., arXiv:1502.01852. */
const initialSlope = 0.25

/**
 * The edits that undo training: every parameter as before its first step, and running statistics of mean 0 and
 * variance 1.
 *
 *   weights      normal, variance 2 / (inputs of a unit)
 *   embeddings   normal, with the deviation that the trained one has
 *   biases and shifts 0, scales 1, slopes 1/4
 *
 * Source: He et al., arXiv:1502.01852, equation 10.
 */
export function freshParameters(model: Model, seed: number): Edit[] {
  const { norms, types } = factsOf(model)
  const edits: Edit[] = parametersOf(model).map((parameter) => {
    const { value, tensor, reader } = parameter
    const shape = types.get(reader.node.inputs[reader.inputIndex]!)?.shape ?? tensor.dims
    const draw = (deviation: number) => normal(tensor.size, 0, deviation, seedOf(seed, value))
    return {
      kind: 'set-tensor',
      value,
      tensor: Tensor.float32(tensor.dims, freshValues(parameter, shape as readonly number[], draw)),
    }
  })
  for (const { key, mean } of norms)
    if (mean)
      edits.push({
        kind: 'set-running-statistics',
        node: key,
        mean: new Float64Array(mean.length),
        variance: new Float64Array(mean.length).fill(1),
      })
  return edits
}

function freshValues(
  { kind, tensor, reader }: Parameter,
  shape: readonly number[],
  draw: (deviation: number) => Float64Array,
): Float64Array {
  const { node, inputIndex } = reader
  switch (kind) {
    case 'weight':
      return draw(Math.sqrt(2 / inputsOfUnit(node, inputIndex, shape)))
    case 'embedding':
      return draw(Math.sqrt(tensor.toNumbers().reduce((sum, v) => sum + v * v, 0) / tensor.size))
    case 'norm':
      return new Float64Array(tensor.size).fill(inputIndex === 1 ? 1 : 0)
    case 'slope':
      return new Float64Array(tensor.size).fill(initialSlope)
    case 'bias':
      return new Float64Array(tensor.size)
  }
}

/** How many numbers a unit of the layer sums up. */
function inputsOfUnit(node: Node, inputIndex: number, shape: readonly number[]): number {
  const flag = (name: string) => intAttribute(node, name) ?? 0
  switch (node.opType) {
    case 'Conv':
      return elementCount(shape.slice(1))
    case 'ConvTranspose':
      return (shape[0]! / (intAttribute(node, 'group') ?? 1)) * elementCount(shape.slice(2))
    case 'Gemm':
      return shape[flag('transB') === 1 ? 1 : 0]!
    default:
      return inputIndex === 0 ? shape.at(-1)! : shape.at(-2)!
  }
}
