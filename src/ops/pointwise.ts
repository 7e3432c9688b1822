import type { Node } from '../ir/model.ts'
import { defineOp, type Flow, type Op } from './define-op.ts'
import type { InputGradient } from './gradient.ts'
import { applied } from './moments/functions.ts'
import type { Stored } from './moments/spread.ts'
import { sameAsInput } from './shapes.ts'

/** Functions of one variable: what each operator computes from an element and its attributes. */
export type Functions = Readonly<Record<string, (node: Node) => (x: number) => number>>

/** What every moment behind an activation takes for granted. */
export const normalInputs = 'what enters activations is taken as normally distributed'

/** The gradient of each function; null for step functions. */
type GradientsOf<F extends Functions> = { readonly [Name in keyof F]: InputGradient | null }

/** A family of operators that apply one function to every element; shape and element type stay. */
export function definePointwise<const F extends Functions>(
  functions: F,
  {
    flow = 'nonlinear',
    domain = '',
    momentsBefore,
    gradient,
    samples,
    gradientSamples,
  }: {
    flow?: Flow
    domain?: string
    momentsBefore?: (node: Node, stored: Stored) => Stored | undefined
    gradient: GradientsOf<F>
    samples: readonly string[]
    gradientSamples?: readonly string[]
  },
): Op {
  return defineOp({
    opType: Object.keys(functions),
    domain,
    inputs: ['x'],
    role: 'activation',
    flow: { x: flow },
    inferTypes: sameAsInput,
    moments: ({ node, spreads: [x], assume }) => {
      assume(normalInputs)
      return [x && applied(x, functions[node.opType]!(node), assume)]
    },
    ...(momentsBefore ? { momentsBefore } : {}),
    gradient: ({ opType }) => ({ x: gradient[opType as keyof F] }),
    samples,
    ...(gradientSamples ? { gradientSamples } : {}),
  })
}
