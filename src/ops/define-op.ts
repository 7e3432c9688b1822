import type { Dim, Graph, Node, TensorType } from '../ir/model.ts'
import type { Tensor } from '../ir/tensor.ts'
import type { InputGradient } from './gradient.ts'
import type { Assume, Spread, Stored } from './moments/spread.ts'
import type { Budget } from './moments/sums.ts'

/**
 * How what enters by one input leaves, everything else held still:
 *
 * - `layout`       elements only move;
 * - `scaling`      every element is multiplied by something: linear, and any noise stays a factor of its element;
 * - `linear`       sums of elements: convolution, addition, average pooling;
 * - `homogeneous`  element by element, f(m x) = m f(x) for m >= 0 (Relu): a factor of an element stays one;
 * - `pooling`      the same, but only for a factor that all positions of a channel share (MaxPool);
 * - `nonlinear`    anything else;
 * - `none`         only a shape, an index or a setting is read.
 */
export type Flow = 'layout' | 'scaling' | 'linear' | 'homogeneous' | 'pooling' | 'nonlinear' | 'none'

/** What is known of a value before anything runs. */
export interface Known extends TensorType {
  /** Elements, row-major, of a small tensor (a shape, axes, scales): each a number, the name of a dimension, or unknown. */
  readonly contents?: readonly Dim[] | undefined
  /** The tensor itself if the file stores it. */
  readonly tensor?: Tensor | undefined
}

export interface TypeContext {
  readonly node: Node
  /** Version of the operator set that the node belongs to. */
  readonly opset: number
  /** One entry for each input of the node; empty for absent inputs. */
  readonly inputs: readonly Known[]
  /** What is known of the outputs of a graph that the node holds, fed with `inputs`. */
  inferGraph(graph: Graph, inputs: readonly Known[]): readonly Known[]
}

export interface FlowContext {
  readonly node: Node
  readonly opset: number
  /** Which inputs carry what is being followed. */
  readonly moving: readonly boolean[]
}

export interface MomentsContext extends TypeContext {
  /** One entry for each input; undefined for constants, absent inputs and where nothing is known. */
  readonly spreads: readonly (Spread | undefined)[]
  readonly outputs: readonly Known[]
  /** Train moments of the first output, where a BatchNormalization stored them. */
  readonly stored?: Stored | undefined
  readonly budget: Budget
  /** Records what the result takes for granted, in words. */
  readonly assume: Assume
}

/** What part an operator plays in a network, for those who draw or describe it. */
export type Role = 'weight' | 'activation' | 'pool' | 'merge' | 'norm'

/** What each input's gradient is; null where nothing flows back: an index, a shape, a setting, a step function. */
export type GradientOf<Inputs extends readonly string[]> = {
  readonly [Name in Inputs[number]]: InputGradient | null
}

type FlowOf<Inputs extends readonly string[]> = { readonly [Name in Inputs[number]]: Flow }

export interface OpDefinition<Inputs extends readonly string[]> {
  /** Operators of one family may share a unit. */
  readonly opType: string | readonly string[]
  /** '' (the default) is ONNX's own operator set. */
  readonly domain?: string
  /** Names of the inputs in order; a last one that starts with `...` stands for any number. */
  readonly inputs: Inputs
  readonly role?: Role
  readonly flow: FlowOf<Inputs> | ((context: FlowContext) => FlowOf<Inputs>)
  /** What is known of the outputs, in order; empty entries where nothing can be told. Never wrong. */
  readonly inferTypes: (context: TypeContext) => readonly Known[]
  /** Mean and variance of the outputs, per channel; absent where they cannot be told. */
  readonly moments?: (context: MomentsContext) => readonly (Spread | undefined)[]
  /** Moments of the first input from those of the output, where they determine each other (taking it as normal). */
  readonly momentsBefore?: (node: Node, stored: Stored) => Stored | undefined
  /** An entry for every input, or null for an operator that cannot be trained through. */
  readonly gradient: GradientOf<Inputs> | null | ((node: Node) => GradientOf<Inputs> | null)
  /** Models in the text form that show its use; conformance runs each and compares types. */
  readonly samples: readonly string[]
  /** Models whose gradients conformance compares with central differences; the samples unless given. */
  readonly gradientSamples?: readonly string[]
}

/** What an operator means. */
export interface Op {
  readonly opTypes: readonly string[]
  readonly domain: string
  readonly inputs: readonly string[]
  readonly role: Role | undefined
  /** One entry for each input of the node. */
  flow(context: FlowContext): readonly Flow[]
  inferTypes(context: TypeContext): readonly Known[]
  moments(context: MomentsContext): readonly (Spread | undefined)[]
  momentsBefore(node: Node, stored: Stored): Stored | undefined
  /** What the gradient of input `i` is: null where nothing flows back, undefined for an operator that has none. */
  gradient(node: Node, i: number): InputGradient | null | undefined
  readonly samples: readonly string[]
  readonly gradientSamples: readonly string[]
}

export function defineOp<const Inputs extends readonly string[]>(definition: OpDefinition<Inputs>): Op {
  const {
    opType,
    domain = '',
    inputs,
    role,
    flow,
    inferTypes,
    moments,
    momentsBefore,
    gradient,
    samples,
    gradientSamples = samples,
  } = definition
  const last = inputs.at(-1)
  const variadic = last?.startsWith('...') ?? false
  const nameOf = (i: number) => (i < inputs.length ? inputs[i] : variadic ? last : undefined)
  return {
    opTypes: typeof opType === 'string' ? [opType] : opType,
    domain,
    inputs,
    role,
    flow: (context) => {
      const flows: Readonly<Record<string, Flow>> = typeof flow === 'function' ? flow(context) : flow
      return context.node.inputs.map((_, i) => flows[nameOf(i) ?? ''] ?? 'nonlinear')
    },
    inferTypes,
    moments: moments ?? (() => []),
    momentsBefore: momentsBefore ?? (() => undefined),
    gradient: (node, i) => {
      const entries: Readonly<Record<string, InputGradient | null>> | null =
        typeof gradient === 'function' ? gradient(node) : gradient
      return entries === null ? undefined : (entries[nameOf(i) ?? ''] ?? null)
    },
    samples,
    gradientSamples,
  }
}
