import { storedTensor } from '../ir/edit.ts'
import {
  floatAttribute,
  type Graph,
  intAttribute,
  isOnnxDomain,
  keyOf,
  labelOf,
  type Model,
  type Node,
} from '../ir/model.ts'
import { usesOf } from '../ir/uses.ts'
import type { Norm } from './facts.ts'

/** ONNX's default, where the file states none. */
const defaultEpsilon = 1e-5

/** True for a BatchNormalization, ONNX's own or the one that ONNX Runtime's training graphs hold. */
export const isNorm = (node: Node): boolean =>
  (isOnnxDomain(node.domain) && node.opType === 'BatchNormalization') ||
  (node.domain === 'com.microsoft' && node.opType === 'BatchNormInternal')

/** The BatchNormalizations of one graph, in its order. */
export function normsIn(graph: Graph): Norm[] {
  return graph.nodes.filter(isNorm).map((node) => normOf(graph, node))
}

/** The BatchNormalizations of the model's main graph, in its order. */
export const normsOf = (model: Model): Norm[] => normsIn(model.graph)

function normOf(graph: Graph, node: Node): Norm {
  const vector = (index: number) => storedVector(graph, node.inputs[index])
  return {
    node,
    key: keyOf(node),
    label: labelOf(node),
    scale: vector(1),
    shift: vector(2),
    mean: vector(3),
    variance: vector(4),
    epsilon: floatAttribute(node, 'epsilon') ?? defaultEpsilon,
    batchStatistics: usesBatchStatistics(node),
  }
}

/**
 * Whether the node as it stands normalises by the batch: `training_mode` since opset 14; before that the number of
 * outputs told (five in training, one in inference), before opset 7 `is_test` (default 0).
 */
function usesBatchStatistics(node: Node): boolean {
  const mode = intAttribute(node, 'training_mode')
  if (mode !== undefined) return mode === 1
  if (node.opType === 'BatchNormInternal') return true
  if (intAttribute(node, 'is_test') === 1) return false
  return node.outputs.filter((output) => output !== '').length > 1
}

/** Operators that leave the elements of a vector in their order. */
const keepingOrder = new Set(['Identity', 'Unsqueeze', 'Squeeze', 'Reshape', 'Flatten', 'Cast'])

/** The vector behind `value`: an initializer or constant, also behind a few nodes that only reshape it. */
function storedVector(graph: Graph, value: string | undefined, hops = 8): Float64Array | undefined {
  if (!value || hops === 0) return undefined
  const tensor = storedTensor(graph, value)
  if (tensor) return tensor.toNumbers()
  const producer = usesOf(graph).producer(value)
  if (!producer || !isOnnxDomain(producer.domain) || !keepingOrder.has(producer.opType)) return undefined
  return storedVector(graph, producer.inputs[0], hops - 1)
}
