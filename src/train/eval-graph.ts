import { factsOf } from '../analysis/index.ts'
import { GraphBuilder } from '../ir/builder.ts'
import { keyOf, type Model } from '../ir/model.ts'
import { toMode } from '../rewrite/modes/mode.ts'
import { removeDeadNodes } from '../rewrite/passes/remove-dead-nodes.ts'
import { type Answers, emitObjective, type Objective } from './objective.ts'
import { answerInputs, type Slot, type StepGraph } from './step-graph.ts'

/** A model in eval mode that is fed its parameters and statistics, and tells how well it does on a batch. */
export interface EvalGraph {
  readonly model: Model
  /** Slots of the step that it reads, each by the same name. */
  readonly slots: readonly Slot[]
  readonly terms: StepGraph['outputs']['terms']
  readonly right: string | undefined
}

/** For batches of any size, unless the model takes one size only. */
export function evalGraph(
  model: Model,
  objective: Objective,
  answers: Answers,
  slots: readonly Slot[],
): EvalGraph {
  const inMode = toMode(model, 'eval')
  const build = new GraphBuilder(inMode)
  const byId = new Map(slots.map((slot) => [slot.id, slot]))
  const keys = new Set(factsOf(model).norms.map(({ key }) => key))
  for (const node of inMode.graph.nodes) {
    const [mean, variance] = [byId.get(`mean/${keyOf(node)}`), byId.get(`variance/${keyOf(node)}`)]
    if (keys.has(keyOf(node)) && mean && variance)
      build.keep({ ...node, inputs: [...node.inputs.slice(0, 3), mean.input, variance.input] })
    else build.keep(node)
  }
  const { terms, right } = emitObjective(build, objective, answers)
  const outputs = [...terms.flatMap(({ sum, weight }) => [sum, weight]), right].filter(
    (name) => name !== undefined,
  )
  const fed = slots.map(({ input, initial }) => ({
    name: input,
    type: { dataType: initial.dataType, shape: initial.dims },
  }))
  const names = new Set(fed.map(({ name }) => name))
  const alone = removeDeadNodes({
    ...inMode,
    irVersion: Math.max(8, inMode.irVersion),
    graph: {
      ...inMode.graph,
      nodes: build.nodes,
      initializers: new Map([...build.initializers].filter(([name]) => !names.has(name))),
      inputs: [
        ...inMode.graph.inputs.filter(({ name }) => !names.has(name)),
        ...fed,
        ...answerInputs(objective, answers, objective.shape[0] ?? 'N'),
      ],
      outputs: outputs.map((name) => ({ name })),
      types: new Map(),
    },
  })
  const read = new Set(alone.graph.inputs.map(({ name }) => name))
  return { model: alone, terms, right, slots: slots.filter(({ input }) => read.has(input)) }
}
