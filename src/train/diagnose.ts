import { knownValues } from '../analysis/infer-types.ts'
import { GraphBuilder } from '../ir/builder.ts'
import { labelOf, type Model } from '../ir/model.ts'
import type { Tensor } from '../ir/tensor.ts'
import { createSession, type SessionOptions } from '../runtime/session.ts'

/**
 * Runs the forward pass of a step again and says where the first number that is not finite comes from, in words;
 * undefined if all values of the forward pass are finite.
 */
export async function firstNonFinite(
  forward: Model,
  feeds: ReadonlyMap<string, Tensor>,
  options: SessionOptions,
): Promise<string | undefined> {
  const known = knownValues(forward)
  const build = new GraphBuilder(forward)
  for (const node of forward.graph.nodes) build.keep(node)
  const watched = forward.graph.nodes.flatMap((node) =>
    node.outputs
      .filter((output) => known.get(output)?.dataType === 'float32')
      .map((output) => {
        // Zero times anything finite is zero.
        const zero = build.op('ReduceSum', [build.mul(output, build.scalar(0))], { keepdims: 0 })
        return { node, output, zero }
      }),
  )
  // Parameters, which are initializers here, are fed.
  const fed = [...feeds].filter(
    ([name]) => build.initializers.has(name) || forward.graph.inputs.some((input) => input.name === name),
  )
  const model: Model = {
    ...forward,
    irVersion: Math.max(8, forward.irVersion),
    graph: {
      ...forward.graph,
      nodes: build.nodes,
      initializers: new Map([...build.initializers].filter(([name]) => !feeds.has(name))),
      inputs: fed.map(([name, { dataType, dims }]) => ({ name, type: { dataType, shape: dims } })),
      outputs: watched.map(({ zero }) => ({ name: zero })),
      types: new Map(),
    },
  }
  const session = await createSession(model, { ...options, name: 'the failed step' })
  try {
    const fetched = await session.run(new Map(fed.filter(([name]) => session.inputs.includes(name))))
    const first = watched.find(({ zero }) => !Number.isFinite(fetched.get(zero)?.toNumbers()[0]))
    return first && `the output of '${labelOf(first.node)}' (${first.node.opType})`
  } finally {
    await session.release()
  }
}
