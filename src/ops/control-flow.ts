import type { Graph } from '../ir/model.ts'
import { defineOp, type Known, type TypeContext } from './define-op.ts'
import type { Shape } from './shapes.ts'

const graphOf = ({ node }: TypeContext, name: string): Graph | undefined => {
  const attribute = node.attributes.get(name)
  return attribute?.type === 'graph' ? attribute.value : undefined
}

/** What two values have in common. */
function common(a: Known | undefined, b: Known | undefined): Known {
  const shape: Shape | undefined =
    a?.shape && b?.shape && a.shape.length === b.shape.length
      ? a.shape.map((dim, axis) => (dim === b.shape![axis] ? dim : undefined))
      : undefined
  return { dataType: a?.dataType === b?.dataType ? a?.dataType : undefined, shape }
}

/** One of two graphs, as a truth value decides. */
export const branch = defineOp({
  opType: 'If',
  inputs: ['condition'],
  flow: { condition: 'nonlinear' },
  inferTypes: (context) => {
    const [yes, no] = [graphOf(context, 'then_branch'), graphOf(context, 'else_branch')]
    if (!yes || !no) return []
    const chosen = context.inputs[0]?.contents?.[0]
    if (typeof chosen === 'number') return context.inferGraph(chosen !== 0 ? yes : no, [])
    const otherwise = context.inferGraph(no, [])
    return context.inferGraph(yes, []).map((known, i) => common(known, otherwise[i]))
  },
  gradient: null,
  samples: [
    `g (bool c, float32[2, 3] x) => () { y = If <then_branch = a () => (t) { t = Relu(x) }, else_branch = b () => (e) { e = Neg(x) }> (c) }`,
  ],
})

/** A graph run again and again: values that it carries round, and results that it stacks. */
export const loop = defineOp({
  opType: 'Loop',
  inputs: ['count', 'condition', '...carried'],
  flow: { count: 'nonlinear', condition: 'nonlinear', '...carried': 'nonlinear' },
  inferTypes: (context) => {
    const body = graphOf(context, 'body')
    if (!body) return []
    const carried = context.inputs.slice(2)
    // Carried values may change their shape from turn to turn, so only what one turn preserves is told.
    const scalar: Known = { shape: [] }
    const loose = carried.map(({ dataType }) => ({ dataType }))
    const first = context.inferGraph(body, [
      { ...scalar, dataType: 'int64' },
      { ...scalar, dataType: 'bool' },
      ...loose,
    ])
    const count = context.inputs[0]?.contents?.[0]
    const endless = context.node.inputs[1] === ''
    return first.slice(1).map((known, i) =>
      i < carried.length
        ? common(known, carried[i])
        : {
            dataType: known.dataType,
            shape: known.shape && [endless && typeof count === 'number' ? count : undefined, ...known.shape],
          },
    )
  },
  gradient: null,
  samples: [
    `g (float32[2, 3] x) => () <int64 n = {3}, bool go = {1}> { y, ys = Loop <body = b (int64 i, bool c, float32[2, 3] s) => (d, t, u) { d = Identity(c) t = Relu(s) u = Neg(s) }> (n, go, x) }`,
  ],
})
