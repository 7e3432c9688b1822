import {
  floatAttribute,
  type Graph,
  intAttribute,
  isOnnxDomain,
  keyOf,
  labelOf,
  type Model,
  type Node,
  opsetOf,
} from '../ir/model.ts'
import { usesOf } from '../ir/uses.ts'
import type { Known } from '../ops/define-op.ts'
import { noiseOfCall } from '../ops/noise-call.ts'
import { noiseUnit } from '../ops/noises/index.ts'
import type { Noise } from './facts.ts'
import { knownValues } from './infer-types.ts'
import { type Recognised, recognised } from './noise-forms.ts'
import { type Scalars, scalarsOf } from './scalars.ts'
import { sharingOf } from './sharing.ts'

const memo = new WeakMap<Model, readonly Noise[]>()

/** The noises of the model's main graph, in its order: those that one node stands for, and those that a few nodes spell out. */
export function noisesOf(model: Model): readonly Noise[] {
  const known = memo.get(model)
  if (known) return known
  const noises = noisesIn(model.graph, opsetOf(model), knownValues(model))
  memo.set(model, noises)
  return noises
}

/** The noises of one graph, of whose values `known` tells types. */
export function noisesIn(graph: Graph, opset: number, known: ReadonlyMap<string, Known>): Noise[] {
  const scalars = scalarsOf(graph, known)
  const applied = spelledOut(graph, opset, known)
  const insideOthers = new Set(applied.flatMap(({ nodes }) => [...nodes]))
  const found = applied.map((application) => noiseOf(application, graph, known))
  for (const node of graph.nodes) {
    const kind = noiseOfCall(node)
    if (kind === undefined || insideOthers.has(node)) continue
    const [input, output] = [node.inputs[0], node.outputs[0]]
    // Dropout of a constant that no mask comes of is no noise on anything.
    if (!input || !output || scalars(input) !== undefined) continue
    const unit = noiseUnit(kind)
    const value = tidy(parameterOf(node, opset, scalars))
    found.push({
      input,
      output,
      key: keyOf(node),
      label: labelOf(node),
      kind,
      nodes: [node],
      parameter: { name: unit.parameter.name, value },
      relativeVariance: value === undefined ? undefined : unit.relativeVariance(value),
      sharing: 'element',
      sharedAxes: [],
      active: activityOf(node, opset, scalars),
    })
  }
  const order = new Map(graph.nodes.map((node, i) => [keyOf(node), i]))
  return found.sort((a, b) => order.get(a.key)! - order.get(b.key)!)
}

function spelledOut(graph: Graph, opset: number, known: ReadonlyMap<string, Known>) {
  const scalars = scalarsOf(graph, known)
  const uses = usesOf(graph)
  const isRead = (value: string) => uses.isOutput(value) || uses.consumers(value).length > 0
  return recognised(graph, {
    scalars,
    producer: uses.producer,
    isReadOnce: (value) => !uses.isOutput(value) && uses.consumers(value).length === 1,
    isRead,
    dropout: (node) => ({
      ratio: parameterOf(node, opset, scalars),
      active: activityOf(node, opset, scalars),
    }),
  })
}

function noiseOf(application: Recognised, graph: Graph, known: ReadonlyMap<string, Known>): Noise {
  const { nodes, input, output, mask, match, active } = application
  const { sharing, sharedAxes } = sharingOf(known.get(mask)?.shape, known.get(input)?.shape)
  const kind = kindOf(match.kind, sharing)
  const unit = noiseUnit(kind)
  const value = tidy(match.value)
  const order = new Map(graph.nodes.map((node, i) => [node, i]))
  const inOrder = [...nodes].sort((a, b) => order.get(a)! - order.get(b)!)
  const last = inOrder.at(-1)!
  return {
    input,
    output,
    key: keyOf(last),
    label: labelOf(last),
    kind,
    nodes: inOrder,
    parameter: { name: unit.parameter.name, value },
    relativeVariance: unit.relativeVariance(value),
    sharing,
    sharedAxes,
    active,
  }
}

/** A Bernoulli mask goes by different names after what shares one draw. */
function kindOf(kind: string, sharing: Noise['sharing']): string {
  if (kind !== 'dropout') return kind
  return { element: 'dropout', channel: 'spatial-dropout', sample: 'drop-path', batch: 'drop-path' }[sharing]
}

/** A float32 that stands for 0.3 reads 0.3 and not 0.30000001192. */
function tidy<V extends number | undefined>(value: V): V {
  return (value === undefined ? value : Number(value.toPrecision(7))) as V
}

/** An input; Dropout's is optional (0.5), and an attribute before opset 12. */
function parameterOf(node: Node, opset: number, scalars: Scalars): number | undefined {
  if (opset < 12 && isOnnxDomain(node.domain)) return floatAttribute(node, 'ratio') ?? 0.5
  const value = node.inputs[1]
  return value ? scalars(value) : 0.5
}

/**
 * Before opset 7 `is_test` said when it acts (default: it does); from 7 to 11 a Dropout is the identity in every
 * runtime; since 12 an input says it (default: it does not).
 */
function activityOf(node: Node, opset: number, scalars: Scalars): Noise['active'] {
  if (isOnnxDomain(node.domain)) {
    if (opset < 7) return intAttribute(node, 'is_test') === 1 ? 'never' : 'always'
    if (opset < 12) return 'never'
  }
  const value = node.inputs[2]
  if (!value) return 'never'
  const mode = scalars(value)
  return mode === undefined ? 'dynamic' : mode !== 0 ? 'always' : 'never'
}
