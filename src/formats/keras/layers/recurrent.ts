import { attributesOf, floats } from '../../../ir/builder.ts'
import type { Attribute, Dim, Graph } from '../../../ir/model.ts'
import { dataTypes, Tensor } from '../../../ir/tensor.ts'
import { Config, isObject } from '../config.ts'
import type { LayerBuilder, LayerValue } from '../layer-builder.ts'
import { innerLayer, type Layer } from '../topology.ts'
import type { StoredWeight, WeightSpec } from '../weights.ts'
import { activated, activationName } from './activation.ts'
import { defineLayer, expectDims, type LayerCall, type LayerDefinition } from './define-layer.ts'
import { maskedOut } from './noise.ts'

/**
 * Recurrent layers: over N x T x F, with states of N x H. Without noise between the steps they are ONNX's operators;
 * with recurrent dropout, or an activation that those do not have, a Scan spells out the steps.
 *
 * A mask is honoured by bringing the steps that count to the front, each sample by itself, and back behind.
 */

/** How a class computes one step. */
interface Cell {
  readonly opType: 'RNN' | 'LSTM' | 'GRU'
  /** Blocks of H columns in kernels. */
  readonly gates: number
  /** For each of ONNX's gates, which of Keras' it is. */
  readonly order: readonly number[]
  readonly states: number
}

const cells: Readonly<Record<string, Cell>> = {
  SimpleRNN: { opType: 'RNN', gates: 1, order: [0], states: 1 },
  // Keras: input, forget, cell, output. ONNX: input, output, forget, cell.
  LSTM: { opType: 'LSTM', gates: 4, order: [0, 3, 1, 2], states: 2 },
  // Both: update, reset, hidden.
  GRU: { opType: 'GRU', gates: 3, order: [0, 1, 2], states: 1 },
}

const recurrentWeights = (config: Config): WeightSpec[] =>
  ['kernel', 'recurrent_kernel', ...(config.flag('use_bias', true) ? ['bias'] : [])].map((name) => ({ name }))

/** One run of a cell over a sequence. */
interface Run {
  readonly call: LayerCall
  readonly cell: Cell
  readonly config: Config
  readonly units: number
  /** N x T x F, float32. */
  readonly x: string
  readonly steps: Dim
  readonly features: Dim
  /** Boolean N x T. */
  readonly mask: string | undefined
  /** N x H each; empty for zeros. */
  readonly states: readonly string[]
  weight(name: string): StoredWeight
}

interface RunResult {
  /** N x T x H. */
  readonly sequence: string
  /** After the last step that counts, N x H each; the first is the output. */
  readonly states: readonly string[]
}

const cellLayers = Object.entries(cells).map(([className, cell]) =>
  defineLayer({
    classNames: [className],
    weights: recurrentWeights,
    emit: (call) => {
      const states = call.keywordInputs.get('initial_state') ?? call.inputs.slice(1)
      return emitRecurrent(call, cell, call.config, call.inputs[0]!, states, call.weight, false)
    },
  }),
)

function emitRecurrent(
  call: LayerCall,
  cell: Cell,
  config: Config,
  input: LayerValue,
  initial: readonly LayerValue[],
  weight: (name: string) => StoredWeight,
  zeroesMasked: boolean,
): readonly LayerValue[] {
  const { build } = call
  const units = config.integer('units')
  const sequences = config.flag('return_sequences', false)
  const [samples, steps, features] = input.shape
  const shape = sequences ? [samples, steps, units] : [samples, units]
  const states = config.flag('return_state', false) ? cell.states : 0
  const result = (name: string, dims: readonly Dim[]): LayerValue => ({
    name,
    shape: dims,
    dataType: 'float32',
    channelsSecond: false,
  })
  const unsupported =
    (config.flag('stateful', false) && 'it is stateful: what it computes depends on what ran before') ||
    (config.flag('time_major', false) && 'it takes time before samples (time_major)') ||
    (input.shape.length !== 3 && `it takes values of 3 axes, got ${input.shape.length}`)
  if (unsupported) {
    const opaque = call.opaque(unsupported, shape)
    return [opaque, ...Array.from({ length: states }, () => ({ ...opaque, shape: [samples, units] }))]
  }
  const backwards = config.flag('go_backwards', false)
  const reversed = (value: string) => (backwards ? reverseSteps(build, value) : value)
  let x = reversed(asFloat(build, build.inKerasOrder(input), input))
  const stated = input.mask ?? call.keywordInputs.get('mask')?.[0]?.name
  const mask = stated === undefined ? undefined : reversed(stated)
  const rate = config.number('dropout', 0)
  // One draw a sample and feature holds for all steps.
  if (rate > 0 && rate < 1) x = maskedOut(build, x, rate, [1])
  const run: Run = {
    call,
    cell,
    config,
    units,
    x,
    steps,
    features,
    mask,
    states: initial.map((state) => asFloat(build, state.name, state)),
    weight,
  }
  const { sequence, states: last } = run.mask === undefined ? runCell(run) : runMasked(run, mask!)
  let output = sequences ? sequence : last[0]!
  if (sequences && mask !== undefined && (zeroesMasked || config.flag('zero_output_for_mask', false)))
    output = build.op('Mul', [output, asNumbers(build, mask, [2])])
  return [
    { ...result(output, shape), mask: sequences ? mask : undefined },
    ...last.slice(0, states).map((state) => result(state, [samples, units])),
  ]
}

const asFloat = (build: LayerBuilder, name: string, { dataType }: LayerValue) =>
  dataType === 'float32' ? name : build.op('Cast', [name], { to: dataTypes.float32.onnx })

/** A boolean value as 0 and 1, with further axes of size 1. */
function asNumbers(build: LayerBuilder, mask: string, axes: readonly number[]): string {
  const numbers = build.op('Cast', [mask], { to: dataTypes.float32.onnx })
  return axes.length === 0 ? numbers : build.op('Unsqueeze', [numbers, build.integers(axes)])
}

/** Axis 1 in reverse order. */
const reverseSteps = (build: LayerBuilder, value: string) =>
  build.op('Slice', [
    value,
    build.integers([-1]),
    build.integers([-(2 ** 31)]),
    build.integers([1]),
    build.integers([-1]),
  ])

/** Runs the steps that count alone: a masked step changes no state, and repeats the output before it. */
function runMasked(run: Run, mask: string): RunResult {
  const { call, cell, x, units } = run
  const { build } = call
  const counted = build.op('Cast', [mask], { to: dataTypes.int64.onnx })
  /** How many steps count up to each one. */
  const rank = build.op('CumSum', [counted, build.constant(int64Scalar(1), 'axis')])
  const total = build.op('ReduceSum', [counted, build.integers([1])], { keepdims: 1 })
  // Steps that count come first, each kind in its order: sorted by position, the others a whole length later.
  const ones = build.op('Add', [build.op('Mul', [counted, int64(build, 0)]), int64(build, 1)])
  const position = build.op('CumSum', [ones, build.constant(int64Scalar(1), 'axis')])
  const length = build.op('ReduceSum', [ones, build.integers([1])], { keepdims: 1 })
  const late = build.op('Mul', [build.op('Sub', [int64(build, 1), counted]), length])
  const size = build.op('Slice', [build.op('Shape', [x]), build.integers([1]), build.integers([2])])
  const [, order = ''] = build.node(
    'TopK',
    [build.op('Add', [position, late]), size],
    attributesOf({ axis: 1, largest: 0, sorted: 1 }),
    { outputs: 2 },
  )
  const moved = gatherSteps(build, x, order)
  const some = build.op('Max', [total, int64(build, 1)])
  const lengths = build.op('Squeeze', [some, build.integers([1])])
  const { sequence, states } = runCell({ ...run, x: moved }, lengths)
  const before = build.op('Max', [build.op('Sub', [rank, int64(build, 1)]), int64(build, 0)])
  const begun = build.op('Greater', [rank, int64(build, 0)])
  const initial = (i: number, like: string) => run.states[i] ?? build.op('Mul', [like, build.scalar(0)])
  const first = initial(0, states[0]!)
  const carried = build.op('Where', [
    build.op('Unsqueeze', [begun, build.integers([2])]),
    gatherSteps(build, sequence, before, units),
    build.op('Unsqueeze', [first, build.integers([1])]),
  ])
  const any = build.op('Greater', [total, int64(build, 0)])
  return {
    sequence: carried,
    states: Array.from({ length: cell.states }, (_, i) =>
      build.op('Where', [any, states[i]!, initial(i, states[i]!)]),
    ),
  }
}

const int64 = (build: LayerBuilder, value: number) => build.scalar(value, 'int64')
const int64Scalar = (value: number) => Tensor.int64([], [value])

/** The steps of N x T x F that the N x T indices name. */
function gatherSteps(build: LayerBuilder, x: string, indices: string, features?: number): string {
  const wide = build.op('Unsqueeze', [indices, build.integers([2])])
  const size =
    features === undefined
      ? build.op('Slice', [build.op('Shape', [x]), build.integers([2]), build.integers([3])])
      : build.integers([features])
  const dims = build.op('Concat', [build.integers([1, 1]), size], { axis: 0 })
  return build.op('GatherElements', [x, build.op('Expand', [wide, dims])], { axis: 1 })
}

/** `lengths` (int64, N) tells how many steps of each sample to run; all if absent. */
function runCell(run: Run, lengths?: string): RunResult {
  const activations = activationsOf(run)
  const noise = run.config.number('recurrent_dropout', 0)
  const isPlain = noise <= 0 || noise >= 1
  return isPlain && activations ? runOperator(run, activations, lengths) : runScan(run, noise, lengths)
}

/** Keras' activations as ONNX's recurrent operators name them, with what they take as alpha and beta. */
function activationsOf({ cell, config, call }: Run): Map<string, Attribute> | undefined {
  const slope = call.build.kerasMajor >= 3 ? 1 / 6 : 0.2
  const known: Readonly<Record<string, { name: string; alpha?: number; beta?: number }>> = {
    tanh: { name: 'Tanh' },
    sigmoid: { name: 'Sigmoid' },
    relu: { name: 'Relu' },
    softsign: { name: 'Softsign' },
    softplus: { name: 'Softplus' },
    hard_sigmoid: { name: 'HardSigmoid', alpha: slope, beta: 0.5 },
    linear: { name: 'Affine', alpha: 1, beta: 0 },
    elu: { name: 'Elu', alpha: 1 },
    leaky_relu: { name: 'LeakyRelu', alpha: 0.2 },
  }
  const main = activationName(config.raw('activation') ?? 'tanh')
  const gate = activationName(config.raw('recurrent_activation') ?? 'sigmoid')
  const names = { RNN: [main], GRU: [gate, main], LSTM: [gate, main, main] }[cell.opType]
  const found = names.map((name) => (Object.hasOwn(known, name) ? known[name] : undefined))
  if (!found.every((activation) => activation !== undefined)) return undefined
  const numbers = (key: 'alpha' | 'beta') => found.flatMap((f) => f[key] ?? [])
  const alphas = numbers('alpha')
  return new Map<string, Attribute>([
    ['activations', { type: 'strings', value: found.map(({ name }) => name) }],
    ...(alphas.length > 0 ? [['activation_alpha', floats(alphas)] as const] : []),
    ...(numbers('beta').length > 0 ? [['activation_beta', floats(numbers('beta'))] as const] : []),
  ])
}

/** Kernels and biases, checked: F x gH, H x gH, and one bias for the input and perhaps one for the state, gH each. */
function arraysOf({ call, cell, config, units, features, weight }: Run) {
  const width = cell.gates * units
  const kernel = expectDims(call, weight('kernel'), [features, width])
  const recurrent = expectDims(call, weight('recurrent_kernel'), [units, width])
  const bias = config.flag('use_bias', true) ? weight('bias') : undefined
  const both = bias?.dims.length === 2
  if (bias) expectDims(call, bias, both ? [2, width] : [width])
  const { build } = call
  const stored = bias && build.weight(bias)
  const row = (i: number) =>
    build.op('Squeeze', [
      build.op('Slice', [stored!, build.integers([i]), build.integers([i + 1])]),
      build.integers([0]),
    ])
  return {
    kernel: build.weight(kernel),
    recurrent: build.weight(recurrent),
    inputBias: stored === undefined ? undefined : both ? row(0) : stored,
    stateBias: both ? row(1) : undefined,
    resetAfter: cell.opType === 'GRU' && config.flag('reset_after', both),
    width,
  }
}

function runOperator(
  run: Run,
  activations: ReadonlyMap<string, Attribute>,
  lengths: string | undefined,
): RunResult {
  const { call, cell, units, x, states } = run
  const { build } = call
  const { kernel, recurrent, inputBias, stateBias, resetAfter, width } = arraysOf(run)
  const columns = cell.order.flatMap((gate) => Array.from({ length: units }, (_, i) => gate * units + i))
  const inOrder = (value: string) =>
    cell.order.every((gate, i) => gate === i)
      ? value
      : build.op('Gather', [value, build.integers(columns, 'gates')], { axis: 0 })
  const weights = (value: string) =>
    build.op('Unsqueeze', [inOrder(build.op('Transpose', [value], { perm: [1, 0] })), build.integers([0])])
  let bias = ''
  if (inputBias !== undefined) {
    const zeros = () => build.constant(Tensor.float32([width], new Float32Array(width)), 'zeros')
    const state = stateBias === undefined ? zeros() : inOrder(stateBias)
    bias = build.op('Unsqueeze', [
      build.op('Concat', [inOrder(inputBias), state], { axis: 0 }),
      build.integers([0]),
    ])
  }
  const sequenceLengths =
    lengths === undefined ? '' : build.op('Cast', [lengths], { to: dataTypes.int32.onnx })
  const initial = states.map((state) => build.op('Unsqueeze', [state, build.integers([0])]))
  const inputs = [
    build.op('Transpose', [x], { perm: [1, 0, 2] }),
    weights(kernel),
    weights(recurrent),
    bias,
    sequenceLengths,
    ...initial,
  ]
  while (inputs.at(-1) === '') inputs.pop()
  const attributes = new Map<string, Attribute>([
    ...attributesOf({ hidden_size: units, ...(resetAfter ? { linear_before_reset: 1 } : {}) }),
    ...activations,
  ])
  const [all = '', ...last] = build.node(cell.opType, inputs, attributes, { outputs: cell.states + 1 })
  const sequence = build.op('Transpose', [build.op('Squeeze', [all, build.integers([1])])], {
    perm: [1, 0, 2],
  })
  return {
    sequence,
    states: last.map((state) => build.op('Squeeze', [state, build.integers([0])])),
  }
}

/** Each step written out: x W + b for all of them at once, the rest in the body of a Scan. */
function runScan(run: Run, noise: number, lengths: string | undefined): RunResult {
  const { call, cell, units, x, config } = run
  const { build } = call
  const { kernel, recurrent, inputBias, stateBias, resetAfter } = arraysOf(run)
  const product = build.op('MatMul', [x, kernel])
  const projected = inputBias === undefined ? product : build.op('Add', [product, inputBias])
  const zeros = zeroState(build, projected, units)
  const initial = Array.from({ length: cell.states }, (_, i) => run.states[i] ?? zeros)
  const isNoisy = noise > 0 && noise < 1
  // One draw a sample and unit holds for all steps: noise on a value of ones, by which the state is multiplied.
  const factor = isNoisy ? maskedOut(build, build.op('Add', [zeros, build.scalar(1)]), noise, []) : undefined
  const carried = [...initial, ...(factor === undefined ? [] : [factor])]

  const start = build.nodes.length
  const names = carried.map((_, i) => build.unique(`${build.path}/state_${i}`))
  const step = build.unique(`${build.path}/step`)
  const [h = '', c = ''] = names
  const cellValue = (name: string, key: string, missing: string) =>
    activated(
      call,
      { name, shape: ['N', units], dataType: 'float32', channelsSecond: false },
      config.raw(key) ?? missing,
    ).name
  const activation = (name: string) => cellValue(name, 'activation', 'tanh')
  const gate = (name: string) => cellValue(name, 'recurrent_activation', 'sigmoid')
  const mul = (a: string, b: string) => build.op('Mul', [a, b])
  const add = (a: string, b: string) => build.op('Add', [a, b])
  const columns = (value: string, from: number, to: number) =>
    build.op('Slice', [
      value,
      build.integers([from * units]),
      build.integers([to * units]),
      build.integers([1]),
    ])
  const before = factor === undefined ? h : mul(h, names.at(-1)!)
  let next: string[]
  if (cell.opType === 'RNN') next = [activation(add(step, build.op('MatMul', [before, recurrent])))]
  else if (cell.opType === 'LSTM') {
    const z = add(step, build.op('MatMul', [before, recurrent]))
    const [i, f, g, o] = [0, 1, 2, 3].map((k) => columns(z, k, k + 1)) as [string, string, string, string]
    const state = add(mul(gate(f), c), mul(gate(i), activation(g)))
    next = [mul(gate(o), activation(state)), state]
  } else {
    let update: string
    let hidden: string
    if (resetAfter) {
      const inner = build.op('MatMul', [before, recurrent])
      const z = stateBias === undefined ? inner : add(inner, stateBias)
      const part = (k: number) => add(columns(step, k, k + 1), columns(z, k, k + 1))
      update = gate(part(0))
      hidden = add(columns(step, 2, 3), mul(gate(part(1)), columns(z, 2, 3)))
    } else {
      const gates = add(columns(step, 0, 2), build.op('MatMul', [before, columns(recurrent, 0, 2)]))
      update = gate(columns(gates, 0, 1))
      const reset = mul(gate(columns(gates, 1, 2)), before)
      hidden = add(columns(step, 2, 3), build.op('MatMul', [reset, columns(recurrent, 2, 3)]))
    }
    const kept = build.op('Sub', [build.scalar(1), update])
    next = [add(mul(update, h), mul(kept, activation(hidden)))]
  }
  const results = [...next, ...(factor === undefined ? [] : [names.at(-1)!])]
  // Every result of a body is a value of its own: those that are carried and those that are stacked.
  const outputs = [...results, ...next].map((value) => build.op('Identity', [value]))
  const body: Graph = {
    name: `${build.path}/step`,
    nodes: build.nodes.splice(start),
    inputs: [...names, step].map((name) => ({ name, type: { dataType: 'float32' } })),
    outputs: outputs.map((name) => ({ name, type: { dataType: 'float32' } })),
    initializers: new Map(),
    types: new Map(),
  }
  const scanned = build.node(
    'Scan',
    [...carried, projected],
    new Map<string, Attribute>([
      ['body', { type: 'graph', value: body }],
      ...attributesOf({
        num_scan_inputs: 1,
        scan_input_axes: [1],
        scan_output_axes: next.map(() => 1),
      }),
    ]),
    { outputs: results.length + next.length },
  )
  const sequences = scanned.slice(results.length)
  const last =
    lengths === undefined
      ? scanned.slice(0, cell.states)
      : sequences.map((sequence) => stepOf(build, sequence, lengths, units))
  return { sequence: sequences[0]!, states: last }
}

/** N x H zeros, for as many samples as `value` has; computed from it, so that they pass for no constant. */
function zeroState(build: LayerBuilder, value: string, units: number): string {
  const list = (number: number) => build.integers([number])
  const first = build.op('Slice', [value, list(0), list(1), list(1)])
  const columns = build.op('Slice', [
    build.op('Squeeze', [first, build.integers([1])]),
    build.integers([0]),
    build.integers([units]),
    build.integers([1]),
  ])
  // Not a product with zero, which infinities would survive.
  return build.op('Cast', [build.op('Less', [columns, columns])], { to: dataTypes.float32.onnx })
}

/** Step `lengths` - 1 of each sample of N x T x H. */
function stepOf(build: LayerBuilder, sequence: string, lengths: string, units: number): string {
  const index = build.op('Unsqueeze', [build.op('Sub', [lengths, int64(build, 1)]), build.integers([1])])
  return build.op('Squeeze', [gatherSteps(build, sequence, index, units), build.integers([1])])
}

/** The layer that an RNN around one cell is: its settings are those of both. */
function wrapped(layer: Layer): { className: string; config: Config } | undefined {
  const cell = layer.config.raw('cell')
  if (!isObject(cell) || typeof cell.class_name !== 'string' || !isObject(cell.config)) return undefined
  const className = cell.class_name.replace(/Cell$/, '')
  if (!Object.hasOwn(cells, className)) return undefined
  return { className, config: new Config({ ...cell.config, ...layer.config.values }, layer.path) }
}

const rnn = defineLayer({
  classNames: ['RNN'],
  weights(_config, layer) {
    const inner = wrapped(layer)
    return inner ? recurrentWeights(inner.config) : []
  },
  emit(call) {
    const inner = wrapped(call.layer)
    if (!inner) return call.opaque('it runs a cell that is not known')
    const states = call.keywordInputs.get('initial_state') ?? call.inputs.slice(1)
    const cell = cells[inner.className]!
    return emitRecurrent(call, cell, inner.config, call.inputs[0]!, states, call.weight, false)
  },
})

/** The two layers of a Bidirectional, and the arrays of each. */
function directionsOf(layer: Layer) {
  const forward = innerLayer(layer)
  const stated = isObject(layer.config.raw('backward_layer'))
    ? innerLayer(layer, 'backward_layer')
    : undefined
  const config =
    stated?.config ??
    new Config(
      { ...forward.config.values, go_backwards: !forward.config.flag('go_backwards', false) },
      forward.config.owner,
    )
  return { forward, backward: { ...(stated ?? forward), config } }
}

const bidirectional = defineLayer({
  classNames: ['Bidirectional'],
  weights(_config, layer, specsOf) {
    const { forward, backward } = directionsOf(layer)
    return [
      ...specsOf(forward).map((spec) => ({ ...spec, name: `forward/${spec.name}` })),
      ...specsOf(backward).map((spec) => ({ ...spec, name: `backward/${spec.name}` })),
    ]
  },
  emit(call) {
    const { build, config, layer, inputs, keywordInputs } = call
    const { forward, backward } = directionsOf(layer)
    const cell = Object.hasOwn(cells, forward.className) ? cells[forward.className] : undefined
    if (!cell || backward.className !== forward.className)
      return call.opaque(`it runs a ${forward.className} in both directions, which is not supported`)
    const x = inputs[0]!
    const states = keywordInputs.get('initial_state') ?? inputs.slice(1)
    const half = states.length / 2
    const sequences = forward.config.flag('return_sequences', false)
    const direction = (inner: Layer, name: string, initial: readonly LayerValue[]) =>
      emitRecurrent(
        call,
        cell,
        inner.config,
        x,
        initial,
        (array) => call.weight(`${name}/${array}`),
        // Keras does so in both directions; TensorFlow.js, which follows earlier versions, does not.
        sequences && build.framework === 'keras',
      )
    const [ahead, ...aheadStates] = direction(forward, 'forward', states.slice(0, half))
    const [back, ...backStates] = direction(backward, 'backward', states.slice(half))
    const name = sequences ? reverseSteps(build, back!.name) : back!.name
    const behind: LayerValue = { ...back!, name, mask: undefined }
    const mode = config.raw('merge_mode') === undefined ? null : config.text('merge_mode')
    const mask = sequences ? x.mask : undefined
    const rest = [...aheadStates, ...backStates]
    if (mode === null) return [{ ...ahead!, mask }, { ...behind, mask }, ...rest]
    const operation = { sum: 'Add', ave: 'Add', mul: 'Mul', concat: 'Concat' }[mode]
    if (!operation) throw config.wrong('merge_mode', "'sum', 'mul', 'concat', 'ave' or null")
    const both = [ahead!.name, behind.name]
    let merged = build.op(operation, both, mode === 'concat' ? { axis: -1 } : {})
    if (mode === 'ave') merged = build.op('Mul', [merged, build.scalar(0.5)])
    const width = (ahead!.shape.at(-1) as number) + (behind.shape.at(-1) as number)
    const shape = mode === 'concat' ? [...ahead!.shape.slice(0, -1), width] : ahead!.shape
    return [{ ...ahead!, name: merged, shape, mask }, ...rest]
  },
})

/** A layer applied to each step by itself: samples and steps become one axis. */
const timeDistributed = defineLayer({
  classNames: ['TimeDistributed'],
  keepsMask: true,
  weights: (_config, layer, specsOf) => specsOf(innerLayer(layer)),
  emit(call) {
    const { build, layer, inputs, apply } = call
    const x = inputs[0]!
    const inner = innerLayer(layer)
    if (x.shape.length < 3) build.refuse(`it takes values of at least 3 axes, got ${x.shape.length}`)
    const value = build.inKerasOrder(x)
    const rest = x.shape.slice(2)
    const sizes = build.op('Shape', [value])
    const tail = (list: string, from: number) =>
      build.op('Slice', [list, build.integers([from]), build.integers([2 ** 31 - 1])])
    const folded = isKnown(rest)
      ? build.integers([-1, ...rest])
      : build.op('Concat', [build.integers([-1]), tail(sizes, 2)], { axis: 0 })
    const step: LayerValue = {
      ...x,
      name: build.op('Reshape', [value, folded]),
      shape: [undefined, ...rest],
      channelsSecond: false,
      mask: undefined,
    }
    const outputs = apply(inner, [step], call.weight)
    return outputs.map((output): LayerValue => {
      const plain = build.inKerasOrder(output)
      const own = output.shape.slice(1)
      const leading = build.op('Slice', [sizes, build.integers([0]), build.integers([2])])
      const end = isKnown(own) ? build.integers(own) : tail(build.op('Shape', [plain]), 1)
      const steps = x.shape[1]
      const unfolded =
        typeof steps === 'number' && isKnown(own)
          ? build.integers([-1, steps, ...own])
          : build.op('Concat', [leading, end], { axis: 0 })
      return {
        ...output,
        name: build.op('Reshape', [plain, unfolded]),
        shape: [x.shape[0], steps, ...own],
        channelsSecond: false,
      }
    })
  },
})

const isKnown = (dims: readonly Dim[]): dims is readonly number[] =>
  dims.every((dim) => typeof dim === 'number')

export const recurrentLayers: readonly LayerDefinition[] = [
  ...cellLayers,
  rnn,
  bidirectional,
  timeDistributed,
]
