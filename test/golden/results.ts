import type {
  Finding,
  Layer,
  Measurement,
  ModelInfo,
  NormInfo,
  Outline,
  Place,
  Result,
} from '../../src/result/result.ts'
import { resultVersion } from '../../src/result/version.ts'

/**
 * Synthetic but realistic results: pre-activation residual networks with Dropout 0.5 before the last
 * BatchNormalization of every block. Every number comes from a seeded generator and is rounded, so that the
 * reports made from them are the same on every machine.
 */

/** mulberry32: a small seeded generator of numbers in [0, 1). */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** Roughly normal, mean 0, standard deviation 1: additions only, so that all machines agree. */
function normal(next: () => number): number {
  let sum = -6
  for (let i = 0; i < 12; i++) sum += next()
  return sum
}

const round = (value: number, digits = 5): number => Number(value.toPrecision(digits))

function quantilesOf(values: readonly number[]) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (q: number) => round(sorted[Math.round(q * (sorted.length - 1))] as number)
  return { min: at(0), q10: at(0.1), median: at(0.5), q90: at(0.9), max: at(1) }
}

interface NetOptions {
  readonly blocks: readonly number[]
  readonly widths: readonly number[]
  /** BatchNormalizations in a block: 2 (basic) or 3 (bottleneck). */
  readonly depth: 2 | 3
  /** Of the last stage: put the Dropout before the convolution instead, so that the path is linear. */
  readonly linearTail?: boolean
}

interface Net {
  readonly outline: Outline
  readonly norms: NormInfo[]
  readonly noises: Result['noises']
  readonly paths: { norm: NormInfo; path: Place[]; through: 'direct' | 'linear' }[]
  /** True ratio of real to stored variance of each norm. */
  readonly truth: number[]
}

function preResNet({ blocks, widths, depth, linearTail }: NetOptions, seed: number): Net {
  const next = generator(seed)
  const nodes: Outline['nodes'] = []
  const edges: Outline['edges'] = []
  let bytes = 412
  const add = (
    label: string,
    opType: string,
    kind: Outline['nodes'][number]['kind'],
    from: number[],
  ): number => {
    const rank = from.length === 0 ? 0 : Math.max(...from.map((i) => nodes[i]!.rank)) + 1
    const key =
      kind === 'input' || kind === 'output' ? label : `/${label.replaceAll('.', '/')}/${opType}_output_0`
    bytes += 96 + Math.floor(next() * 40)
    const at = kind === 'input' || kind === 'output' ? {} : { byteOffset: bytes }
    nodes.push({ label, key, opType, kind, rank, ...at })
    for (const i of from) edges.push([i, nodes.length - 1])
    return nodes.length - 1
  }
  const norms: NormInfo[] = []
  const truth: number[] = []
  const noises: Result['noises'] = []
  const paths: Net['paths'] = []
  const placeOf = (i: number): Place => {
    const { label, key, opType, byteOffset } = nodes[i]!
    return byteOffset === undefined ? { label, key, opType } : { label, key, opType, byteOffset }
  }
  const addNorm = (label: string, from: number, channels: number, ratio: number): NormInfo => {
    const i = add(label, 'BatchNormalization', 'norm', [from])
    const norm: NormInfo = {
      ...placeOf(i),
      index: norms.length,
      channels,
      epsilon: 1e-5,
      exposures: noises.map(({ key }) => ({ noise: key, through: 'nonlinear' as const })),
    }
    norms.push(norm)
    truth.push(round(ratio))
    return norm
  }
  const expose = (norm: NormInfo, path: number[], through: 'direct' | 'linear', ratio: number) => {
    const noise = noises.at(-1)!.key
    norm.exposures = norm.exposures.filter((exposure) => exposure.noise !== noise)
    norm.exposures.unshift({ noise, through })
    norm.prediction = {
      layerRatio: round(ratio, 4),
      channelRatio: Array.from({ length: norm.channels }, () => round(ratio * (1 + 0.08 * normal(next)), 4)),
      assumptions: through === 'direct' ? [] : ['inputs of one filter are uncorrelated'],
    }
    paths.push({ norm, path: path.map(placeOf), through })
  }

  let trunk = add('images', '', 'input', [])
  trunk = add('conv1', 'Conv', 'weight', [trunk])
  let waiting: number[] | undefined
  blocks.forEach((count, stage) => {
    const width = widths[stage]!
    for (let b = 0; b < count; b++) {
      const name = `stage${stage + 1}.${b}`
      const shortcut = trunk
      let at = trunk
      let skip = shortcut
      const tail = Boolean(linearTail) && stage === blocks.length - 1
      for (let d = 1; d <= depth; d++) {
        const last = d === depth
        const channels = depth === 3 && (d === 1 || last) ? width * (d === 1 ? 4 : 1) : width
        const depthSoFar = norms.length / 24
        if (last && !tail) {
          at = add(`${name}.drop`, 'Dropout', 'noise', [at])
          noises.push({
            label: `${name}.drop`,
            key: nodes[at]!.key,
            kind: 'dropout',
            parameter: 'ratio',
            value: 0.5,
            relativeVariance: 1,
            sharing: 'element',
          })
          const drop = at
          const ratio = 0.455 + 0.03 * normal(next)
          const norm = addNorm(`${name}.bn${d}`, at, channels, ratio)
          at = nodes.length - 1
          expose(norm, [drop, at], 'direct', ratio * (1 + 0.03 * normal(next)))
        } else {
          const behind =
            noises.length === 0
              ? 1 + 0.002 * normal(next)
              : 1.6 + Math.min(0.9, depthSoFar) + 0.35 * normal(next)
          const norm = addNorm(
            `${name}.bn${d}`,
            at,
            channels,
            waiting ? 0.83 + 0.03 * normal(next) : Math.max(1.05 * Number(noises.length > 0), behind),
          )
          at = nodes.length - 1
          if (waiting) {
            expose(norm, [...waiting, at], 'linear', truth[norm.index]! * 1.02)
            waiting = undefined
          }
        }
        at = add(`${name}.relu${d}`, 'Relu', 'activation', [at])
        if (d === 1 && b === 0) skip = add(`${name}.downsample`, 'Conv', 'weight', [at])
        let drop: number | undefined
        if (last && tail) {
          at = add(`${name}.drop`, 'Dropout', 'noise', [at])
          drop = at
          noises.push({
            label: `${name}.drop`,
            key: nodes[at]!.key,
            kind: 'dropout',
            parameter: 'ratio',
            value: 0.5,
            relativeVariance: 1,
            sharing: 'element',
          })
        }
        at = add(`${name}.conv${d}`, 'Conv', 'weight', [at])
        if (drop !== undefined) waiting = [drop, at]
      }
      trunk = add(`${name}.add`, 'Add', 'merge', [at, skip])
      if (waiting) waiting.push(trunk)
    }
  })
  const norm = addNorm('bn', trunk, widths.at(-1)! * (depth === 3 ? 4 : 1), waiting ? 0.86 : 2.06)
  trunk = nodes.length - 1
  if (waiting) expose(norm, [...waiting, trunk], 'linear', 0.87)
  trunk = add('relu', 'Relu', 'activation', [trunk])
  trunk = add('pool', 'GlobalAveragePool', 'pool', [trunk])
  trunk = add('fc', 'Gemm', 'weight', [trunk])
  add('logits', '', 'output', [trunk])
  return { outline: { nodes, edges }, norms, noises, paths, truth }
}

/** What a layer would measure if real over stored variance were `ratio` in the mean. */
function layerOf(norm: NormInfo, ratio: number, samples: number, next: () => number, spread: number): Layer {
  const channels = Array.from({ length: norm.channels }, () =>
    Math.max(0.02, ratio * (1 + spread * normal(next))),
  )
  const mean = channels.reduce((a, b) => a + b, 0) / channels.length
  const stored = channels.map(() => 0.4 + 1.2 * next())
  const storedVariance = stored.map((v) => round(v))
  const realVariance = stored.map((v, c) => round((v * channels[c]! * ratio) / mean))
  const storedMean = stored.map(() => round(0.4 * normal(next), 4))
  const shift = stored.map(() => 0.9 * spread * Math.abs(ratio - 1) * normal(next))
  const realMean = storedMean.map((m, c) => round(m + shift[c]! * Math.sqrt(stored[c]!), 4))
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0)
  const realOverStored = sum(realVariance) / sum(storedVariance)
  const shiftRatio = Math.max(realOverStored, 1 / realOverStored)
  const half = 1.4 / Math.sqrt(samples)
  return {
    label: norm.label,
    key: norm.key,
    index: norm.index,
    channels: norm.channels,
    epsilon: norm.epsilon,
    samples,
    count: samples * 64,
    storedMean,
    storedVariance,
    realMean,
    realVariance,
    shiftRatio: round(shiftRatio),
    shiftRatioInterval: [round(Math.max(1, shiftRatio * (1 - half))), round(shiftRatio * (1 + half))],
    realOverStored: round(realOverStored),
    channelRatio: quantilesOf(realVariance.map((v, c) => v / storedVariance[c]!)),
    meanShift: quantilesOf(shift),
    dCos2: round(2.9 + 0.5 * normal(next), 4),
    weights: norm.label.replace('bn', 'conv'),
    enoughSamples: shiftRatio * (1 - half) > 1.02 || shiftRatio * (1 + half) < 1.05,
    samplesNeeded: 256,
  }
}

function measurementOf(
  net: Net,
  options: {
    readonly seed: number
    readonly ratios?: (truth: number, index: number) => number
    readonly samples?: number
    readonly accuracy: [train: number, eval_: number, sample: number]
    readonly loss: [train: number, eval_: number, sample: number]
    readonly top1: [trainEval: number, sampleEval: number]
    readonly labelled?: boolean
    readonly notes?: string[]
    readonly data?: string
  },
): Measurement {
  const next = generator(options.seed)
  const samples = options.samples ?? 4000
  const labelled = options.labelled ?? true
  const layers = net.norms.map((norm, i) => {
    const truth = options.ratios?.(net.truth[i]!, i) ?? net.truth[i]!
    return layerOf(norm, truth, samples, next, Math.abs(truth - 1) < 0.05 ? 0.02 : 0.16)
  })
  const score = (accuracy: number, loss: number) => {
    const half = round(1.96 * Math.sqrt((accuracy * (1 - accuracy)) / samples), 3)
    return labelled
      ? {
          samples,
          accuracy,
          accuracyInterval: [round(accuracy - half), round(accuracy + half)] as [number, number],
          loss,
          lossInterval: [round(loss * 0.97), round(loss * 1.03)] as [number, number],
        }
      : { samples }
  }
  const [trainAccuracy, evalAccuracy, sampleAccuracy] = options.accuracy
  const [trainLoss, evalLoss, sampleLoss] = options.loss
  const agreement = (a: string, b: string, top1: number) => ({
    a,
    b,
    samples,
    top1,
    top1Interval: [round(top1 - 0.012), round(top1 + 0.012)] as [number, number],
    divergence: round((1 - top1) * 1.7, 3),
    meanAbsoluteDifference: round((1 - top1) * 4.1, 3),
  })
  return {
    data: {
      name: options.data ?? 'shapes:test',
      samples,
      available: 4000,
      batchSize: 100,
      labelled,
      notes: labelled ? [] : ['no labels: accuracy and loss are unknown'],
    },
    partial: false,
    layers,
    unmeasured: [],
    modes: {
      train: score(trainAccuracy, trainLoss),
      eval: score(evalAccuracy, evalLoss),
      sample: score(sampleAccuracy, sampleLoss),
      agreements: [agreement('train', 'eval', options.top1[0]), agreement('sample', 'eval', options.top1[1])],
    },
    notes: options.notes ?? [],
  }
}

function findingsOf(net: Net): Finding[] {
  return net.paths.map(({ norm, path, through }): Finding => {
    const ratio = norm.prediction!.layerRatio
    return {
      rule: 'dropout-before-batch-norm',
      severity: 'warning',
      message: `${norm.label} will see ${ratio.toFixed(2)}x the variance at inference that it stored in training: ${path[0]!.label} reaches it ${through === 'direct' ? 'directly' : 'through linear nodes only'}.`,
      at: {
        label: norm.label,
        key: norm.key,
        opType: norm.opType,
        ...(norm.byteOffset === undefined ? {} : { byteOffset: norm.byteOffset }),
      },
      path,
      data: { norm: norm.label, noise: path[0]!.label, ratio, through },
      fingerprint: `dropout-before-batch-norm:${norm.key}`,
    }
  })
}

function upstreamFinding(net: Net): Finding {
  const reached = net.norms.filter(
    ({ exposures }) => exposures.length > 0 && exposures.every(({ through }) => through === 'nonlinear'),
  )
  return {
    rule: 'dropout-upstream-of-batch-norm',
    severity: 'info',
    message: `${reached.length} further BatchNormalizations lie behind a noise and a non-linear node: their statistics were learned under noise too, by an amount that only measuring can tell.`,
    data: { norms: reached.map(({ label }) => label) },
    fingerprint: 'dropout-upstream-of-batch-norm:file',
  }
}

const small = preResNet({ blocks: [2, 2, 3], widths: [16, 32, 64], depth: 2, linearTail: true }, 7)

function modelInfo(path: string, net: Net, sha256: string): ModelInfo {
  return {
    path,
    format: 'onnx',
    sizeBytes: 421_884,
    sha256,
    opset: 17,
    irVersion: 8,
    producer: 'pytorch 2.1.0',
    nodes: net.outline.nodes.length,
    norms: net.norms.length,
    noises: net.noises.length,
  }
}

const trainedHash = '9f2c41d07be35a6c8811f0a7d3e4b59266c0de1f2a7788934b5aa01c6de9e1f4'
const repairedHash = '0b77aa513c9e2d4f86c1b2903f5e7d68a4110c2be99f3d75e08146bb7cfd2a90'

const common = {
  version: resultVersion,
  tool: { name: 'varshift' as const, version: '0.1.0' },
  suppressed: 0,
}

function base(net: Net, path: string) {
  return {
    ...common,
    model: modelInfo(path, net, trainedHash),
    noises: net.noises,
    norms: net.norms,
    outline: net.outline,
    findings: [...findingsOf(net), upstreamFinding(net)],
  }
}

function before(net: Net): Measurement {
  return measurementOf(net, {
    seed: 11,
    accuracy: [0.763, 0.721, 0.742],
    loss: [0.702, 0.874, 0.781],
    top1: [0.792, 0.861],
    notes: [
      'Accuracy in train mode depends on the batch size (100): batch statistics come from each batch alone.',
    ],
  })
}

function after(net: Net): Measurement {
  return measurementOf(net, {
    seed: 12,
    ratios: (_, index) => 1 + (((index * 7) % 5) - 2) * 0.006,
    accuracy: [0.763, 0.777, 0.731],
    loss: [0.702, 0.661, 0.803],
    top1: [0.868, 0.842],
  })
}

function checkOf(net: Net, path: string): Result {
  const { findings, ...rest } = base(net, path)
  return {
    ...rest,
    command: 'check',
    suppressed: 2,
    findings: [
      {
        rule: 'degenerate-batch-norm',
        severity: 'error',
        message:
          'The running variance of 3 of 16 channels is below epsilon (smallest 2.1e-9): eval mode multiplies them by up to 316.',
        at: placeOfNorm(net.norms[0]!),
        data: { channels: ['3', '9', '14'], smallest: 2.1e-9 },
        fingerprint: `degenerate-batch-norm:${net.norms[0]!.key}`,
      },
      ...findings,
    ],
  }
}

function placeOfNorm({ label, key, opType, byteOffset }: NormInfo): Place {
  return { label, key, opType, ...(byteOffset === undefined ? {} : { byteOffset }) }
}

function measureOf(net: Net, path: string): Result {
  return { ...base(net, path), command: 'measure', seed: 1, measurement: before(net) }
}

function fixOf(net: Net, path: string): Result {
  const measurement = before(net)
  const repaired = after(net)
  const left = Math.max(...repaired.layers.map(({ shiftRatio }) => shiftRatio))
  const largest = Math.max(...measurement.layers.map(({ shiftRatio }) => shiftRatio))
  return {
    ...base(net, path),
    command: 'fix',
    seed: 1,
    other: modelInfo('demo-fixed.onnx', net, repairedHash),
    measurement,
    after: repaired,
    repair: {
      id: 'recalibrate',
      outcome: 'kept',
      reason: `the largest layer ratio fell from ${largest.toFixed(2)} to ${left.toFixed(2)} and accuracy rose by 5.6 points`,
      samples: 4000,
      passes: 2,
      largestRatioByPass: [largest, 1.064, left],
      changes: measurement.layers.map((layer, i) => ({
        label: layer.label,
        key: layer.key,
        meanChange: round(Math.max(Math.abs(layer.meanShift.min), Math.abs(layer.meanShift.max)), 3),
        varianceRatio:
          i === 0 ? { min: 0.996, q10: 0.998, median: 1, q90: 1.002, max: 1.004 } : layer.channelRatio,
      })),
      preserves: 'training',
      output: 'demo-fixed.onnx',
    },
  }
}

function compareOf(net: Net): Result {
  const { seed: _, repair: __, ...fix } = fixOf(net, 'demo.onnx')
  return {
    ...fix,
    command: 'compare',
    findings: [],
    comparison: {
      agreement: {
        a: 'demo.onnx',
        b: 'demo-fixed.onnx',
        samples: 4000,
        top1: 0.846,
        top1Interval: [0.835, 0.857],
        divergence: 0.184,
        meanAbsoluteDifference: 0.63,
      },
    },
  }
}

/**
 * A file that means harm or is merely broken: markup, escape sequences, bidirectional overrides and very long or empty
 * names; numbers that are not finite; almost nothing else.
 */
function hostile(): Result {
  const evil = '<script>alert(1)</script>'
  const names = [
    evil,
    '"><img src=x onerror=alert(1)>',
    '\u001b[2J\u001b]0;owned\u0007bn',
    '\u202egnp.exe',
    '',
    'n'.repeat(300),
    '层标准化/批',
    "a'b`c${d}&amp;",
  ]
  const nodes: Outline['nodes'] = names.map((label, i) => ({
    label,
    key: `${label}#${i}`,
    opType: i === 0 ? 'Dropout' : 'BatchNormalization',
    kind: i === 0 ? 'noise' : 'norm',
    rank: i,
  }))
  const place = (i: number): Place => ({
    label: nodes[i]!.label,
    key: nodes[i]!.key,
    opType: nodes[i]!.opType,
  })
  const nan = Number.NaN
  const quantiles = { min: nan, q10: nan, median: nan, q90: nan, max: nan }
  const layer = (i: number): Layer => ({
    label: nodes[i]!.label,
    key: nodes[i]!.key,
    index: i - 1,
    channels: 4,
    epsilon: 1e-5,
    samples: 8,
    count: 8,
    storedMean: [0, null, 0, 0],
    storedVariance: [1, null, null, 0],
    realMean: [0, 0, null, 0],
    realVariance: [1, 2, null, 3],
    shiftRatio: i === 1 ? nan : 1.3,
    shiftRatioInterval: i === 1 ? [nan, nan] : [1, 2.4],
    realOverStored: nan,
    channelRatio: quantiles,
    meanShift: quantiles,
    dCos2: null,
    weights: null,
    enoughSamples: false,
    samplesNeeded: null,
  })
  return {
    ...common,
    command: 'measure',
    model: {
      path: 'mo dels/<b>ä%20.onnx',
      format: 'onnx',
      sizeBytes: 3,
      opset: 7,
      irVersion: 3,
      producer: evil,
      nodes: 8,
      norms: 7,
      noises: 1,
    },
    noises: [
      {
        label: evil,
        key: nodes[0]!.key,
        kind: evil,
        parameter: 'ratio',
        value: null,
        relativeVariance: null,
        sharing: 'element',
      },
    ],
    norms: nodes
      .slice(1)
      .map((_, i) => ({
        ...place(i + 1),
        index: i,
        channels: 4,
        epsilon: 1e-5,
        exposures: [{ noise: nodes[0]!.key, through: 'linear' as const }],
        unpredicted: evil,
      })),
    outline: { nodes, edges: names.slice(1).map((_, i) => [i, i + 1]) },
    findings: [
      {
        rule: 'dropout-before-batch-norm',
        severity: 'error',
        message: `${evil} {0} [link](https://example.invalid) \u001b[31m`,
        at: place(1),
        path: names.map((_, i) => place(i)),
        data: { evil, nothing: null },
        fingerprint: evil,
      },
      {
        rule: 'folded-or-stripped',
        severity: 'info',
        message: '</script><!-- ]]>',
        data: {},
        fingerprint: 'x',
      },
    ],
    measurement: {
      data: { name: evil, samples: 8, batchSize: 4, labelled: false, notes: [evil] },
      partial: true,
      layers: nodes.slice(1).map((_, i) => layer(i + 1)),
      unmeasured: [{ label: evil, reason: 'inside a subgraph' }],
      modes: {
        eval: { samples: 8 },
        agreements: [
          {
            a: 'sample',
            b: 'eval',
            samples: 8,
            top1: null,
            top1Interval: null,
            divergence: null,
            meanAbsoluteDifference: nan,
          },
        ],
      },
      notes: [evil],
    },
  }
}

export const results = {
  check: checkOf(small, 'demo.onnx'),
  measure: measureOf(small, 'demo.onnx'),
  fix: fixOf(small, 'demo.onnx'),
  compare: compareOf(small),
  hostile: hostile(),
} satisfies Record<string, Result>

/** The size of the paper's PreResNet-110: 163 BatchNormalizations, 54 Dropouts. Not golden, but looked at. */
export function longResult(command: 'check' | 'measure' | 'fix'): Result {
  const net = preResNet({ blocks: [18, 18, 18], widths: [16, 32, 64], depth: 3 }, 3)
  const path = 'preresnet110.onnx'
  return command === 'check'
    ? checkOf(net, path)
    : command === 'measure'
      ? measureOf(net, path)
      : fixOf(net, path)
}

/** Rule descriptions as the rules room will hand them over. */
export const rules = [
  {
    id: 'dropout-before-batch-norm',
    severity: 'warning' as const,
    summary: 'A Dropout whose output reaches a BatchNormalization through linear nodes only.',
    help: {
      text: 'The running variance is learned under noise and used without it, so the layer scales its input wrongly at inference. Ignore it if the statistics were re-estimated with the noise off.',
      markdown:
        'The running variance is learned under noise and used without it, so the layer scales its input wrongly at inference.\n\n**When to ignore it:** the statistics were re-estimated with the noise off.\n\nSource: Li et al., [arXiv:1801.05134](https://arxiv.org/abs/1801.05134).',
    },
  },
  {
    id: 'dropout-upstream-of-batch-norm',
    severity: 'info' as const,
    summary: 'A BatchNormalization that noise reaches through non-linear nodes or other normalizations.',
    help: {
      text: 'Noise decorrelates channels, so layers behind the exposed one shift too, often the other way. Measure to see by how much.',
    },
  },
  {
    id: 'degenerate-batch-norm',
    severity: 'error' as const,
    summary: 'A running variance that is not finite, negative, or tiny against epsilon.',
    help: {
      text: 'Such a channel is multiplied by a very large number in eval mode; small changes of its input swamp the layers behind.',
    },
  },
  {
    id: 'max-pool-after-dropout',
    severity: 'warning' as const,
    summary: 'A max pool between a Dropout and a BatchNormalization.',
    help: { text: 'E[max(m x)] > max(E[m x]): the mean shifts as well as the variance.' },
  },
]
