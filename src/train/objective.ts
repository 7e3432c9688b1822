import { knownValues } from '../analysis/infer-types.ts'
import type { GraphBuilder } from '../ir/builder.ts'
import { UserError } from '../ir/errors.ts'
import { type Dim, intAttribute, labelOf, type Model, type Node, opsetOf } from '../ir/model.ts'
import { isFloat } from '../ir/tensor.ts'
import { usesOf } from '../ir/uses.ts'
import type { LossContext, LossUnit, Term } from './define-loss.ts'
import { losses } from './losses/index.ts'
import { type Choice, chosen, type SettingValue } from './settings.ts'

/** Names of the inputs that labels and targets are fed by. */
export interface Answers {
  readonly labels: string
  readonly target: string
}

/** A loss, or several that add up, on the outputs of one model. */
export interface Objective {
  /** The output that the loss is taken of, and its sizes; the first is the batch. */
  readonly output: string
  readonly shape: readonly Dim[]
  /** What has to be given beside the inputs of the model. */
  readonly takes: 'classes' | 'values'
  readonly classes: number | undefined
  readonly parts: readonly Part[]
}

interface Part {
  readonly unit: LossUnit
  readonly settings: Readonly<Record<string, SettingValue>>
  /** Value of the model that it is computed of. */
  readonly of: string
  readonly shape: readonly Dim[]
}

/** What the objective writes into a graph. */
export interface Emitted {
  /** One for each part of the loss. */
  readonly terms: readonly Term[]
  /** Their sum: a scalar. */
  readonly loss: string
  /** Number of samples that were told right; undefined where there is no right and wrong. */
  readonly right: string | undefined
}

/**
 * What is to be minimised: one loss on an output of the model, and penalties on values inside. `shapes` of `model` are
 * to be known but for the batch. Throws a UserError if the loss does not fit the output.
 */
export function objectiveOf(
  model: Model,
  choice: string | Choice | readonly (string | Choice)[] | undefined,
): Objective {
  const known = knownValues(model)
  const { name: output, shape } = outputOf(model)
  const choices = choice === undefined ? [defaultLoss(shape)] : Array.isArray(choice) ? choice : [choice]
  const all = (choices as readonly (string | Choice)[]).map((one) => chosen(one, losses, 'loss'))
  const main = all.filter(({ unit }) => unit.takes !== 'nothing')
  if (main.length !== 1)
    throw new UserError(
      `a loss on the output is needed, and one only, got ${main.length}: ${losses
        .filter(({ takes }) => takes !== 'nothing')
        .map(({ id }) => id)
        .join(', ')}`,
    )
  const { unit } = main[0]!
  const takes = unit.takes as 'classes' | 'values'
  const classes = takes === 'classes' ? shape[1] : undefined
  if (takes === 'classes' && (shape.length !== 2 || typeof classes !== 'number' || classes < 2))
    throw new UserError(
      `the loss ${unit.id} takes an output of N x classes, but '${output}' has shape [${shapeText(shape)}]; choose another loss, such as ${shape.at(-1) === 1 ? 'binary-cross-entropy' : 'mse'}`,
    )
  if (shape.slice(1).some((size) => typeof size !== 'number'))
    throw new UserError(
      `the output '${output}' has shape [${shapeText(shape)}]; its sizes have to be known before it can be trained: export the model with fixed sizes`,
    )
  const parts = all.map(({ unit, settings }): Part => {
    if (unit.takes !== 'nothing')
      return { unit, settings, of: unit.absorbs ? before(model, output, unit.absorbs) : output, shape }
    const node = penalised(model, unit.id, settings.at)
    const of = node.outputs[0]!
    const inner = known.get(of)?.shape
    if (!inner || inner.length < 2 || typeof inner[1] !== 'number')
      throw new UserError(
        `${unit.id}: the shape of '${labelOf(node)}' is not known; export the model with fixed sizes`,
      )
    return { unit, settings, of, shape: inner }
  })
  return { output, shape, takes, classes: classes as number | undefined, parts }
}

const shapeText = (shape: readonly Dim[]) => shape.map((size) => size ?? '?').join(', ')

const defaultLoss = (shape: readonly Dim[]): string =>
  shape.length === 2 && typeof shape[1] === 'number' && shape[1] > 1 ? 'cross-entropy' : 'mse'

/** The first floating-point output with an axis besides the batch, else the first floating-point one. */
function outputOf(model: Model): { name: string; shape: readonly Dim[] } {
  const known = knownValues(model)
  const outputs = model.graph.outputs.flatMap(({ name }) => {
    const { dataType, shape } = known.get(name) ?? {}
    return shape && shape.length > 0 && dataType && isFloat(dataType) ? [{ name, shape }] : []
  })
  const output = outputs.find(({ shape }) => shape.length > 1) ?? outputs[0]
  if (output) return output
  throw new UserError(
    `no output of the model is a floating-point tensor of known shape (${model.graph.outputs.map(({ name }) => `'${name}'`).join(', ')}); export the model again`,
  )
}

/** The value before the last activation, where the model ends in the one that the loss has in itself. */
function before(model: Model, output: string, activation: string): string {
  const uses = usesOf(model.graph)
  let value = output
  for (;;) {
    const node = uses.producer(value)
    if (!node) return output
    if (node.opType === 'Identity') value = node.inputs[0]!
    else if (node.opType === activation && overClasses(node, opsetOf(model))) return node.inputs[0]!
    else return output
  }
}

/** Of N x C values: a Softmax along C. */
function overClasses(node: Node, opset: number): boolean {
  if (node.opType !== 'Softmax') return true
  const axis = intAttribute(node, 'axis') ?? (opset < 13 ? 1 : -1)
  return axis === 1 || axis === -1
}

function penalised(model: Model, id: string, at: SettingValue): Node {
  const sigmoids = model.graph.nodes.filter(({ opType }) => opType === 'Sigmoid')
  const found = model.graph.nodes.find((node) => labelOf(node) === at || node.outputs[0] === at)
  const names = sigmoids.map((node) => `'${labelOf(node)}'`).join(', ') || 'none'
  if (at === undefined) {
    if (sigmoids.length === 1) return sigmoids[0]!
    throw new UserError(`${id}: which layer? give at=LAYER, one of the Sigmoids of the model: ${names}`)
  }
  if (!found) throw new UserError(`${id}: the model has no layer '${at}'; its Sigmoids are ${names}`)
  if (found.opType !== 'Sigmoid')
    throw new UserError(
      `${id}: '${at}' is a ${found.opType}, expected activations between 0 and 1, which a Sigmoid gives; its Sigmoids are ${names}`,
    )
  return found
}

/** Writes the objective behind the nodes of its model. */
export function emitObjective(build: GraphBuilder, { parts }: Objective, answers: Answers): Emitted {
  let right: string | undefined
  const terms = parts.map(({ unit, settings, of, shape }) => {
    const context: LossContext = { build, output: of, shape, ...answers }
    right ??= unit.right?.(context)
    return unit.emit(context, settings)
  })
  const means = terms.map(({ sum, weight }) => build.div(sum, weight))
  return { terms, right, loss: means.length === 1 ? means[0]! : build.op('Sum', means) }
}
