import { normal, uniform } from '../ir/random.ts'
import { elementCount } from '../ir/tensor.ts'

/** Initial values of a parameter of shape `dims`, from a seed of its own. */
export type Initializer = (dims: readonly number[], seed: number) => ArrayLike<number>

export const constantly =
  (value: number): Initializer =>
  (dims) =>
    new Float64Array(elementCount(dims)).fill(value)

export const normally =
  (deviation: number): Initializer =>
  (dims, seed) =>
    normal(elementCount(dims), 0, deviation, seed)

/**
 * Normal with variance 2 / (outputs x positions of the kernel), for weights K x C x k1 x k2 in front of ReLU.
 * Source: He et al., arXiv:1502.01852, in the direction of the gradient ("fan out").
 */
export const heNormal: Initializer = (dims, seed) =>
  normally(Math.sqrt(2 / elementCount([dims[0]!, ...dims.slice(2)])))(dims, seed)

/** Uniform within 1 / sqrt(inputs of a unit): what PyTorch's Linear and Conv start with, weights and biases. */
export const uniformBy =
  (inputs: number): Initializer =>
  (dims, seed) => {
    const bound = 1 / Math.sqrt(inputs)
    return uniform(elementCount(dims), -bound, bound, seed)
  }
