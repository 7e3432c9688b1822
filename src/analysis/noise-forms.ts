import { floatAttribute, type Graph, isOnnxDomain, type Node } from '../ir/model.ts'
import { opOf } from '../ops/index.ts'
import { noiseUnit } from '../ops/noises/index.ts'
import type { Scalars } from './scalars.ts'

/**
 * Recognises noises that a few nodes spell out. Every random value is read as `a R + b` of a draw R (uniform on 0..1,
 * standard normal, or 0 and 1), and every value that it perturbs as `(a R + b) x + (c R + d)`, until that is one of
 * the noises known.
 */

type Draw =
  | { readonly kind: 'uniform'; readonly id: object }
  | { readonly kind: 'normal'; readonly id: object }
  | { readonly kind: 'bernoulli'; readonly id: object; readonly p: number }

/** scale R + shift. */
interface Affine {
  readonly scale: number
  readonly shift: number
}

type Activity = 'always' | 'never' | 'dynamic'

interface Common {
  readonly draw: Draw
  readonly nodes: ReadonlySet<Node>
  readonly active: Activity
}

/** A value that depends on the draw alone. */
interface Random extends Common {
  readonly type: 'random'
  readonly value: Affine
  readonly name: string
}

/** A value that depends on the draw and, linearly, on another value. */
interface Applied extends Common {
  readonly type: 'applied'
  readonly x: string
  readonly factor: Affine
  readonly term: Affine
  /** The random value that met x: its shape tells what shares a draw. */
  readonly mask: string
}

type Form = Random | Applied

interface Match {
  readonly kind: string
  readonly value: number
}

export interface Recognised {
  readonly match: Match
  readonly input: string
  readonly output: string
  readonly mask: string
  readonly nodes: ReadonlySet<Node>
  readonly active: Activity
}

export interface Surroundings {
  readonly scalars: Scalars
  producer(value: string): Node | undefined
  isReadOnce(value: string): boolean
  isRead(value: string): boolean
  /** What a Dropout node does. */
  dropout(node: Node): { readonly ratio: number | undefined; readonly active: Activity }
}

const only = (...nodes: readonly Node[]): ReadonlySet<Node> => new Set(nodes)
const joined = (a: ReadonlySet<Node>, b: ReadonlySet<Node>): ReadonlySet<Node> => new Set([...a, ...b])
const constant = (shift: number): Affine => ({ scale: 0, shift })
const plus = (a: Affine, b: Affine): Affine => ({ scale: a.scale + b.scale, shift: a.shift + b.shift })
const times = (a: Affine, k: number): Affine => ({ scale: a.scale * k, shift: a.shift * k })

export function recognised(graph: Graph, around: Surroundings): Recognised[] {
  const forms = new Map<string, Form>()
  const found: Recognised[] = []
  for (const node of graph.nodes) {
    if (!isOnnxDomain(node.domain) || !node.outputs[0]) continue
    const mask = maskOf(node, around)
    if (mask) {
      forms.set(mask.name, mask)
      continue
    }
    const form = formOf(node, forms, around)
    if (!form) continue
    const output = node.outputs[0]
    const done = form.type === 'applied' ? finished(form, output, around) : undefined
    if (done) found.push(done)
    else forms.set(output, form)
  }
  return found
}

function formOf(node: Node, forms: ReadonlyMap<string, Form>, around: Surroundings): Form | undefined {
  const source = sourceOf(node, around)
  if (source) return source
  const inputs = node.inputs.map((input) => forms.get(input))
  if (!inputs.some((form) => form)) return undefined
  const { scalars } = around
  const [a, b] = inputs
  const [x = '', y = ''] = node.inputs
  switch (node.opType) {
    case 'Add':
      return sumOf(node, [x, y], [a, b], 1, around)
    case 'Sub':
      return sumOf(node, [x, y], [a, b], -1, around)
    case 'Mul':
      return productOf(node, [x, y], [a, b], around)
    case 'Div': {
      const divisor = scalars(y)
      return a && divisor !== undefined && divisor !== 0 ? scaled(a, 1 / divisor, node) : undefined
    }
    case 'Neg':
      return a && scaled(a, -1, node)
    case 'Floor':
    case 'Ceil':
    case 'Round':
      return a?.type === 'random' ? steps(a, node) : undefined
    case 'Less':
    case 'LessOrEqual':
      return comparison(node, [x, y], [a, b], around)
    case 'Greater':
    case 'GreaterOrEqual':
      return comparison(node, [y, x], [b, a], around)
    case 'Not':
      return a?.type === 'random' && a.draw.kind === 'bernoulli'
        ? {
            ...a,
            value: plus(times(a.value, -1), constant(1)),
            nodes: joined(a.nodes, only(node)),
            name: node.outputs[0]!,
          }
        : undefined
    case 'Where':
      return choice(node, around, forms)
    default:
      // Nodes that only move elements of the draw, or change their type.
      return a && passes(node, a) ? renamed(a, node) : undefined
  }
}

function passes(node: Node, form: Form): boolean {
  if (form.type === 'applied') return node.opType === 'Identity' || node.opType === 'Cast'
  const moving = node.inputs.map((_, i) => i === 0)
  return opOf(node).flow({ node, opset: 0, moving })[0] === 'layout' && node.opType !== 'Concat'
}

const renamed = (form: Form, node: Node): Form => {
  const nodes = joined(form.nodes, only(node))
  return form.type === 'random' ? { ...form, nodes, name: node.outputs[0]! } : { ...form, nodes }
}

function sourceOf(node: Node, { scalars, dropout }: Surroundings): Random | undefined {
  const name = node.outputs[0]!
  const random = (draw: Draw, value: Affine, active: Activity = 'always'): Random => ({
    type: 'random',
    draw,
    value,
    active,
    nodes: only(node),
    name,
  })
  const id = {}
  switch (node.opType) {
    case 'RandomUniform':
    case 'RandomUniformLike': {
      const low = floatAttribute(node, 'low') ?? 0
      const high = floatAttribute(node, 'high') ?? 1
      return random({ kind: 'uniform', id }, { scale: high - low, shift: low })
    }
    case 'RandomNormal':
    case 'RandomNormalLike':
      return random(
        { kind: 'normal', id },
        { scale: floatAttribute(node, 'scale') ?? 1, shift: floatAttribute(node, 'mean') ?? 0 },
      )
    case 'Bernoulli': {
      const p = node.inputs[0] === undefined ? undefined : scalars(node.inputs[0])
      return p === undefined ? undefined : random({ kind: 'bernoulli', id, p }, { scale: 1, shift: 0 })
    }
    case 'Dropout': {
      // A Dropout of ones makes a mask for something else.
      const fill = node.inputs[0] === undefined ? undefined : scalars(node.inputs[0])
      const { ratio, active } = dropout(node)
      if (fill === undefined || fill === 0 || ratio === undefined || ratio >= 1) return undefined
      return random({ kind: 'bernoulli', id, p: 1 - ratio }, { scale: fill / (1 - ratio), shift: 0 }, active)
    }
    default:
      return undefined
  }
}

/** What a Dropout kept, where that alone is read of it. */
function maskOf(node: Node, { isRead, dropout }: Surroundings): Random | undefined {
  const [result = '', name = ''] = node.outputs
  if (node.opType !== 'Dropout' || !isRead(name) || isRead(result)) return undefined
  const { ratio, active } = dropout(node)
  if (ratio === undefined) return undefined
  const draw = { kind: 'bernoulli', id: {}, p: 1 - ratio } as const
  return { type: 'random', draw, value: { scale: 1, shift: 0 }, active, nodes: only(node), name }
}

function scaled(form: Form, k: number, node: Node): Form {
  const nodes = joined(form.nodes, only(node))
  return form.type === 'random'
    ? { ...form, value: times(form.value, k), nodes, name: node.outputs[0]! }
    : { ...form, factor: times(form.factor, k), term: times(form.term, k), nodes }
}

function sumOf(
  node: Node,
  [x, y]: readonly [string, string],
  [a, b]: readonly (Form | undefined)[],
  sign: 1 | -1,
  { scalars }: Surroundings,
): Form | undefined {
  const name = node.outputs[0]!
  if (a && b) {
    if (a.draw.id !== b.draw.id) return undefined
    const nodes = joined(joined(a.nodes, b.nodes), only(node))
    if (a.type === 'random' && b.type === 'random')
      return { ...a, value: plus(a.value, times(b.value, sign)), nodes, name }
    const [applied, other] = a.type === 'applied' ? [a, b] : [b as Applied, a]
    const [k, l] = applied === a ? [1, sign] : [sign, 1]
    if (other.type === 'random')
      return {
        ...applied,
        factor: times(applied.factor, k),
        term: plus(times(applied.term, k), times(other.value, l)),
        nodes,
      }
    if (other.x !== applied.x) return undefined
    return {
      ...applied,
      factor: plus(times(applied.factor, k), times(other.factor, l)),
      term: plus(times(applied.term, k), times(other.term, l)),
      nodes,
    }
  }
  const form = (a ?? b)!
  const [own, other] = a ? [1, sign] : [sign, 1]
  const value = a ? y : x
  const nodes = joined(form.nodes, only(node))
  const k = scalars(value)
  if (k !== undefined) {
    const added = constant(k * other)
    return form.type === 'random'
      ? { ...form, value: plus(times(form.value, own), added), nodes, name }
      : { ...form, factor: times(form.factor, own), term: plus(times(form.term, own), added), nodes }
  }
  if (form.type === 'applied')
    return form.x === value
      ? {
          ...form,
          factor: plus(times(form.factor, own), constant(other)),
          term: times(form.term, own),
          nodes,
        }
      : undefined
  return {
    type: 'applied',
    x: value,
    draw: form.draw,
    active: form.active,
    factor: constant(other),
    term: times(form.value, own),
    mask: form.name,
    nodes,
  }
}

function productOf(
  node: Node,
  [x, y]: readonly [string, string],
  [a, b]: readonly (Form | undefined)[],
  { scalars }: Surroundings,
): Form | undefined {
  if (a && b) return undefined
  const form = (a ?? b)!
  const value = a ? y : x
  const k = scalars(value)
  if (k !== undefined) return scaled(form, k, node)
  if (form.type === 'applied') return undefined
  return {
    type: 'applied',
    x: value,
    draw: form.draw,
    active: form.active,
    factor: form.value,
    term: constant(0),
    mask: form.name,
    nodes: joined(form.nodes, only(node)),
  }
}

/** A uniform variable rounded to whole numbers, where it can take two of them. */
function steps(form: Random, node: Node): Random | undefined {
  if (form.draw.kind !== 'uniform' || form.value.scale === 0) return undefined
  const low = Math.min(form.value.shift, form.value.shift + form.value.scale)
  const high = Math.max(form.value.shift, form.value.shift + form.value.scale)
  const offset = { Floor: 0, Ceil: 1, Round: 0.5 }[node.opType] ?? 0
  // Floor steps at whole numbers, Round half way between them; Ceil is Floor plus one.
  const shiftToFloor = node.opType === 'Round' ? 0.5 : 0
  const lower = Math.floor(low + shiftToFloor)
  const border = lower + 1 - shiftToFloor
  if (high > border + 1 + 1e-6) return undefined
  const p = Math.min(1, Math.max(0, (high - border) / (high - low)))
  const base = lower + (offset === 1 ? 1 : 0)
  return {
    ...form,
    draw: { kind: 'bernoulli', id: {}, p },
    value: { scale: 1, shift: base },
    nodes: joined(form.nodes, only(node)),
    name: node.outputs[0]!,
  }
}

/** Whether the smaller side is below the larger one, one of them random and the other a number. */
function comparison(
  node: Node,
  [small, large]: readonly [string, string],
  [a, b]: readonly (Form | undefined)[],
  { scalars }: Surroundings,
): Random | undefined {
  const form = a ?? b
  const threshold = scalars(a ? large : small)
  if ((a && b) || form?.type !== 'random' || form.draw.kind !== 'uniform' || threshold === undefined)
    return undefined
  const { scale, shift } = form.value
  if (scale === 0) return undefined
  const below = (threshold - shift) / scale
  const share = Math.min(1, Math.max(0, scale > 0 ? below : 1 - below))
  return {
    ...form,
    draw: { kind: 'bernoulli', id: {}, p: a ? share : 1 - share },
    value: { scale: 1, shift: 0 },
    nodes: joined(form.nodes, only(node)),
    name: node.outputs[0]!,
  }
}

/** Where(mask, x, k), Where(mask, k, x) or Where(mask, k, l). */
function choice(node: Node, { scalars }: Surroundings, forms: ReadonlyMap<string, Form>): Form | undefined {
  const [condition = '', yes = '', no = ''] = node.inputs
  const mask = forms.get(condition)
  if (mask?.type !== 'random' || mask.draw.kind !== 'bernoulli' || forms.has(yes) || forms.has(no))
    return undefined
  const [k, l] = [scalars(yes), scalars(no)]
  const nodes = joined(mask.nodes, only(node))
  const opposite = plus(times(mask.value, -1), constant(1))
  if (k !== undefined && l !== undefined)
    return { ...mask, value: plus(times(mask.value, k), times(opposite, l)), nodes, name: node.outputs[0]! }
  if (k === undefined && l === undefined) return undefined
  const kept = k === undefined
  return {
    type: 'applied',
    x: kept ? yes : no,
    draw: mask.draw,
    active: mask.active,
    factor: kept ? mask.value : opposite,
    term: kept ? times(opposite, l!) : times(mask.value, k!),
    mask: mask.name,
    nodes,
  }
}

/** Float32 constants of a file agree with what they stand for to this relative accuracy. */
const tolerance = 1e-4

const near = (a: number, b: number) => Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(a), Math.abs(b))

/** A noise, if that is what the form has become; constants that scaled x beforehand may be part of it. */
function finished(form: Applied, output: string, around: Surroundings): Recognised | undefined {
  const common = { output, mask: form.mask, active: form.active }
  const match = matchOf(form)
  if (match) return { ...common, match, input: form.x, nodes: form.nodes }
  const before = around.producer(form.x)
  if (!before || !isOnnxDomain(before.domain) || !around.isReadOnce(form.x)) return undefined
  const k = scaleOf(before, around)
  if (!k) return undefined
  const scaledMatch = matchOf({ ...form, factor: times(form.factor, k.scale) })
  if (!scaledMatch) return undefined
  return { ...common, match: scaledMatch, input: k.x, nodes: joined(form.nodes, only(before)) }
}

function scaleOf(node: Node, { scalars }: Surroundings): { x: string; scale: number } | undefined {
  const [x = '', y = ''] = node.inputs
  const [a, b] = [scalars(x), scalars(y)]
  if (node.opType === 'Div' && b) return { x, scale: 1 / b }
  if (node.opType === 'Mul' && b !== undefined) return { x, scale: b }
  if (node.opType === 'Mul' && a !== undefined) return { x: y, scale: a }
  return undefined
}

function matchOf({ draw, factor, term }: Applied): Match | undefined {
  const pure = near(term.scale, 0) && near(term.shift, 0)
  switch (draw.kind) {
    case 'bernoulli': {
      if (draw.p <= 0 || draw.p > 1) return undefined
      // Kept with probability p, or, if the mask says what to drop, with 1 - p.
      const keptByOne = near(factor.shift, 0)
      const keep = keptByOne ? draw.p : 1 - draw.p
      const kept = factor.shift + (keptByOne ? factor.scale : 0)
      const dropped = keptByOne ? factor.shift : factor.shift + factor.scale
      if (!near(dropped, 0) || keep <= 0) return undefined
      if (pure) return near(kept * keep, 1) ? { kind: 'dropout', value: 1 - keep } : undefined
      const [keptShift, droppedShift] = keptByOne
        ? [term.shift + term.scale, term.shift]
        : [term.shift, term.shift + term.scale]
      const [whenDropped, whenKept] = [...noiseUnit('alpha-dropout').outcomes(1 - keep)].sort(
        (a, b) => a.scale - b.scale,
      )
      const isAlpha =
        near(kept, whenKept!.scale) &&
        near(keptShift, whenKept!.shift) &&
        near(droppedShift, whenDropped!.shift)
      return isAlpha ? { kind: 'alpha-dropout', value: 1 - keep } : undefined
    }
    case 'normal':
      if (pure && near(factor.shift, 1)) return { kind: 'gaussian', value: Math.abs(factor.scale) }
      if (near(factor.scale, 0) && near(factor.shift, 1) && near(term.shift, 0) && term.scale !== 0)
        return { kind: 'additive-gaussian', value: Math.abs(term.scale) }
      return undefined
    case 'uniform': {
      const middle = factor.shift + factor.scale / 2
      if (pure && near(middle, 1) && factor.scale !== 0)
        return { kind: 'uout', value: Math.abs(factor.scale) / 2 }
      return undefined
    }
  }
}
