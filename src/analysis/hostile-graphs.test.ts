import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Attribute, Model, Node, TensorType } from '../ir/model.ts'
import { Tensor } from '../ir/tensor.ts'
import { parseModel } from '../ir/text.ts'
import { ops } from '../ops/index.ts'
import { factsOf } from './index.ts'
import { outlineOf } from './outline.ts'
import { weightsInFront } from './weights.ts'

/** Everything that analysis says of the model, paths walked to their ends. */
function everything(model: Model): number {
  const facts = factsOf(model)
  const { nested, types, noises, norms, paths, predictions } = facts
  const steps = paths.reduce((sum, path) => sum + path.steps.length, 0)
  const weights = norms.filter((norm) => weightsInFront(model, norm))
  const { nodes } = outlineOf(model, facts)
  return (
    nested.norms.length +
    types.size +
    noises.length +
    steps +
    predictions.size +
    weights.length +
    nodes.length
  )
}

const samples = ops.flatMap((op) => op.samples)

test('every sample of every operator is analysed', () => {
  for (const sample of samples) expect(everything(parseModel(sample))).toBeGreaterThan(0)
})

const anyAttribute: fc.Arbitrary<Attribute> = fc.oneof(
  fc.record({ type: fc.constant('int' as const), value: fc.integer({ min: -5, max: 9 }) }),
  fc.record({
    type: fc.constant('ints' as const),
    value: fc.array(fc.integer({ min: -3, max: 5 }), { maxLength: 5 }),
  }),
  fc.record({ type: fc.constant('float' as const), value: fc.double() }),
  fc.record({
    type: fc.constant('string' as const),
    value: fc.constantFrom('SAME_UPPER', 'nearest', '', 'ij,jk'),
  }),
)

/** A chain of samples of operators between a norm, a noise and a norm, with inputs, attributes and types damaged. */
const damaged = fc
  .record({
    picks: fc.array(fc.nat({ max: samples.length - 1 }), { minLength: 1, maxLength: 4 }),
    swaps: fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { maxLength: 6 }),
    attributes: fc.array(fc.tuple(fc.nat(), fc.nat(), anyAttribute), { maxLength: 6 }),
    shapes: fc.array(fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 5 }), { maxLength: 6 }),
  })
  .map(({ picks, swaps, attributes, shapes }): Model => {
    const frame = parseModel(`<opset_import: ["": 17, "com.microsoft": 1]> net (float32[N, 4, 8, 8] x) => (y)
      <float32[4] one = fill(1), float32 r = {0.5}, bool t = {1}> {
        a = BatchNormalization(x, one, one, one, one) n = Dropout(a, r, t) }`)
    const nodes: Node[] = [...frame.graph.nodes]
    const initializers = new Map(frame.graph.initializers)
    let last = 'n'
    for (const [i, pick] of picks.entries()) {
      const { graph } = parseModel(samples[pick]!)
      const named = (value: string) =>
        value === '' ? '' : value === graph.inputs[0]?.name ? last : `${value}_${i}`
      for (const [name, tensor] of graph.initializers) initializers.set(named(name), tensor)
      for (const node of graph.nodes)
        nodes.push({ ...node, inputs: node.inputs.map(named), outputs: node.outputs.map(named) })
      last = nodes.at(-1)!.outputs[0]!
    }
    nodes.push({ ...nodes[0]!, inputs: [last, 'one', 'one', 'one', 'one'], outputs: ['y'] })
    const values = nodes.flatMap((node) => node.outputs)
    for (const [at, input, value] of swaps) {
      const i = at % nodes.length
      const node = nodes[i]!
      const earlier = nodes.slice(0, i).flatMap((before) => before.outputs)
      if (node.inputs.length === 0 || earlier.length === 0) continue
      const inputs = node.inputs.with(input % node.inputs.length, earlier[value % earlier.length]!)
      nodes[i] = { ...node, inputs }
    }
    for (const [at, which, attribute] of attributes) {
      const i = at % nodes.length
      const names = [
        ...nodes[i]!.attributes.keys(),
        'axis',
        'axes',
        'perm',
        'kernel_shape',
        'pads',
        'group',
        'keepdims',
      ]
      nodes[i] = {
        ...nodes[i]!,
        attributes: new Map(nodes[i]!.attributes).set(names[which % names.length]!, attribute),
      }
    }
    const names = [...initializers.keys()]
    const types = new Map<string, TensorType>()
    for (const [i, shape] of shapes.entries()) {
      types.set(values[i % values.length]!, { dataType: 'float32', shape })
      const size = shape.reduce((n, d) => n * d, 1)
      initializers.set(names[i % names.length]!, Tensor.float32(shape, new Float64Array(size).fill(2)))
    }
    return { ...frame, graph: { ...frame.graph, nodes, initializers, types } }
  })

test('graphs that contradict themselves are analysed as far as they go', () => {
  fc.assert(
    fc.property(damaged, (model) => {
      everything(model)
    }),
    { numRuns: 400, seed: 7 },
  )
})
