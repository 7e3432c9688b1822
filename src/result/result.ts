import { z } from 'zod'

/**
 * The result JSON: everything that a command found, and all that reports are made from.
 * Numbers that are not finite are written as null. Version 1 only grows: fields are added, never renamed.
 */

const numbers = z.array(z.number().nullable())
const interval = z.tuple([z.number(), z.number()]).describe('95 % confidence interval: low, high')

const place = z.object({
  label: z.string().describe('the layer as the user knows it'),
  key: z.string().describe('name of the first output of the node'),
  opType: z.string(),
  byteOffset: z.number().optional().describe('where the record of the node starts in the file'),
})

export const severities = ['error', 'warning', 'info'] as const

const finding = z.object({
  rule: z.string(),
  severity: z.enum(severities),
  message: z.string(),
  at: place.optional().describe('absent for findings about the file as a whole'),
  path: z.array(place).optional().describe('from the noise to the norm, both included'),
  data: z.record(
    z.string(),
    z.union([
      z.string(),
      z.number(),
      z.boolean(),
      z.null(),
      z.array(z.number().nullable()),
      z.array(z.string()),
    ]),
  ),
  fingerprint: z.string().describe('stable identity for baselines: rule and place, not figures'),
})

const modelInfo = z.object({
  path: z.string(),
  format: z.string(),
  sizeBytes: z.number(),
  sha256: z.string().optional().describe('of the file as it lies on disk'),
  opset: z.number(),
  irVersion: z.number(),
  producer: z.string(),
  nodes: z.number(),
  norms: z.number().describe('BatchNormalizations with running statistics'),
  noises: z.number(),
  notes: z.array(z.string()).optional().describe('what the file says and the model does not carry, by layer'),
})

const outline = z
  .object({
    nodes: z.array(
      place.extend({
        kind: z.enum(['input', 'noise', 'norm', 'weight', 'merge', 'activation', 'pool', 'other', 'output']),
        rank: z.number().describe('length of the longest way from an input'),
      }),
    ),
    edges: z.array(z.tuple([z.number(), z.number()])).describe('positions in nodes: from, to'),
  })
  .describe('the graph without the nodes that only move elements')

const noiseInfo = z.object({
  label: z.string(),
  key: z.string(),
  kind: z.string(),
  parameter: z.string(),
  value: z.number().nullable(),
  relativeVariance: z.number().nullable(),
  sharing: z.enum(['element', 'channel', 'sample', 'batch']),
})

const exposure = z.object({
  noise: z.string().describe('key of the noise'),
  through: z.enum(['direct', 'linear', 'nonlinear']),
})

const prediction = z.object({
  layerRatio: z.number().describe('predicted eval variance / stored variance, channel means'),
  interval: z
    .tuple([z.number(), z.number()])
    .optional()
    .describe('of layerRatio; present where it is estimated: nine of ten layers are measured within'),
  channelRatio: numbers,
  assumptions: z.array(z.string()),
})

const normInfo = z.object({
  ...place.shape,
  index: z.number().describe('position among the norms, in graph order'),
  channels: z.number(),
  epsilon: z.number(),
  exposures: z.array(exposure),
  prediction: prediction.optional(),
  unpredicted: z.string().optional().describe('why there is no prediction although noise reaches the norm'),
})

const quantiles = z.object({
  min: z.number(),
  q10: z.number(),
  median: z.number(),
  q90: z.number(),
  max: z.number(),
})

const layer = z.object({
  label: z.string(),
  key: z.string(),
  index: z.number(),
  channels: z.number(),
  epsilon: z.number(),
  samples: z.number(),
  count: z.number().describe('values per channel: samples times positions'),
  storedMean: numbers,
  storedVariance: numbers,
  realMean: numbers.describe('of the input of the norm in eval mode'),
  realVariance: numbers.describe('the same, biased (divided by count)'),
  shiftRatio: z.number().describe('max(stored / real, real / stored) of the channel means of the variance'),
  shiftRatioInterval: interval,
  realOverStored: z
    .number()
    .describe('channel mean of the real variance / channel mean of the stored variance'),
  channelRatio: quantiles.describe('real / stored variance over channels'),
  meanShift: quantiles.describe('(real mean - stored mean) / sqrt(stored variance + epsilon) over channels'),
  dCos2: z.number().nullable().describe('mean over filters of (sum w)^2 / sum w^2 of the weights in front'),
  weights: z.string().nullable().describe('label of the layer that holds those weights'),
  enoughSamples: z.boolean().describe('the interval tells whether the layer shifts'),
  samplesNeeded: z.number().nullable().describe('estimated number of samples that would settle it'),
})

const score = z.object({
  samples: z.number(),
  accuracy: z.number().optional().describe('share of right answers, 0 to 1'),
  accuracyInterval: interval.optional(),
  loss: z.number().optional().describe('mean cross entropy, nats'),
  lossInterval: interval.optional(),
})

const agreement = z.object({
  a: z.string(),
  b: z.string(),
  samples: z.number(),
  top1: z.number().nullable().describe('share of samples with the same most likely class'),
  top1Interval: interval.nullable(),
  divergence: z.number().nullable().describe('mean KL(a || b) of the class probabilities, nats'),
  meanAbsoluteDifference: z.number(),
})

const measurement = z.object({
  data: z.object({
    name: z.string(),
    samples: z.number(),
    available: z.number().optional(),
    batchSize: z.number(),
    labelled: z.boolean(),
    notes: z.array(z.string()),
  }),
  partial: z.boolean().describe('true if it was stopped before all samples were seen'),
  layers: z.array(layer),
  unmeasured: z.array(z.object({ label: z.string(), reason: z.string() })),
  modes: z.object({
    train: score.optional().describe('noise on, batch statistics'),
    eval: score.describe('noise off, running statistics'),
    sample: score.optional().describe('noise on, running statistics'),
    agreements: z.array(agreement),
  }),
  notes: z.array(z.string()).describe('what a reader has to know, such as too few samples'),
})

const figures = z.object({
  loss: z.number().nullable().describe('mean over the samples'),
  accuracy: z
    .number()
    .nullable()
    .describe('share of right answers, 0 to 1; null where there is no right and wrong'),
})

const curve = z.array(
  z.object({
    epoch: z.number(),
    step: z.number().describe('steps taken at its end'),
    learningRate: z.number().describe('in its last step'),
    train: figures.describe('over its steps, as the parameters changed'),
    validation: figures.nullable().describe('in eval mode, after it'),
    gradientNorm: z.number().nullable(),
    durationMs: z.number(),
  }),
)

const repair = z.object({
  id: z.string(),
  outcome: z.enum(['kept', 'nothing-to-repair', 'rejected', 'forced', 'refused']),
  reason: z.string(),
  samples: z.number(),
  passes: z.number(),
  largestRatioByPass: z
    .array(z.number())
    .describe('largest layer shift ratio before the first pass and after each'),
  changes: z.array(
    z.object({
      label: z.string(),
      key: z.string(),
      meanChange: z
        .number()
        .describe('largest |new - old| of the running mean in stored standard deviations'),
      varianceRatio: quantiles.describe('new / old running variance over channels'),
    }),
  ),
  noises: z
    .array(
      z.object({
        label: z.string(),
        from: z.string().nullable().describe('kind and parameter of the noise that was there, if any'),
        to: z.string().nullable().describe('the same of the noise that is there now, if any'),
      }),
    )
    .optional()
    .describe('noises that the repair replaced, removed or put in'),
  distillation: z
    .object({
      inputs: z.number().describe('distilled inputs, all restarts together'),
      steps: z.number(),
      losses: z
        .array(z.number())
        .describe('reached by each restart; 0 is a perfect match of what was stored'),
      matchedShare: z
        .number()
        .describe('channels on which the inputs match what was stored; the others keep it'),
      spread: z.number().describe('largest ratio over layers between the variances that restarts give'),
    })
    .optional()
    .describe('of a repair without data'),
  training: z
    .object({
      start: z.enum(['file', 'fresh']).describe('weights of the file, or new ones'),
      parameters: z.number().describe('numbers that were trained'),
      epochs: z.number().describe('asked for'),
      steps: z.number().describe('taken'),
      samples: z.number().describe('trained on; samples held out are not among them'),
      heldOut: z.number().describe('samples that before and after were measured on'),
      recipe: z.record(z.string(), z.unknown()).describe('every setting, the seed among them'),
      curve,
      durationMs: z.number(),
    })
    .optional()
    .describe('of a repair that trains the model on'),
  tried: z
    .array(
      z.object({
        id: z.string().describe('of a repair, or `nothing` for the model as it is'),
        largestRatio: z.number().nullable().describe('largest layer shift ratio'),
        accuracy: z.number().nullable(),
        loss: z.number().nullable(),
        durationMs: z.number(),
        why: z.string().describe('it was kept, or was not'),
      }),
    )
    .optional()
    .describe('repairs in the order in which `--repair auto` tried them'),
  preserves: z.enum(['both', 'inference', 'training', 'neither']),
  output: z.string().nullable().describe('file written, if any'),
})

const comparison = z.object({
  agreement: agreement,
})

const training = z.object({
  network: z.string().describe('name of a network, or the file that was trained on'),
  parameters: z.number().describe('numbers that were trained'),
  epochs: z.number().describe('asked for'),
  steps: z.number().describe('taken'),
  stepsPerEpoch: z.number(),
  ended: z.enum(['finished', 'early-stopping', 'interrupted']),
  bestEpoch: z.number().optional().describe('whose parameters were taken, with early stopping'),
  device: z.string(),
  recipe: z.record(z.string(), z.unknown()).describe('every setting, the seed among them'),
  curve,
  samplesPerSecond: z.number().nullable(),
  notes: z.array(z.string()),
  versions: z.record(z.string(), z.string()),
  output: z.string().nullable().describe('file written, if any'),
})

export const resultSchema = z.object({
  version: z.string().describe('of this schema'),
  command: z.enum(['check', 'measure', 'fix', 'compare', 'train']),
  tool: z.object({ name: z.literal('varshift'), version: z.string() }),
  seed: z.number().optional(),
  model: modelInfo,
  other: modelInfo.optional().describe('compare: the second model; fix: the repaired one'),
  noises: z.array(noiseInfo),
  norms: z.array(normInfo),
  outline: outline.optional(),
  findings: z.array(finding),
  suppressed: z.number().describe('findings hidden by the baseline'),
  measurement: measurement.optional(),
  after: measurement.optional().describe('the repaired model, or the second one of a comparison'),
  comparison: comparison.optional(),
  repair: repair.optional(),
  training: training.optional(),
  statistics: z
    .array(
      z.object({
        key: z.string(),
        label: z.string(),
        mean: z.array(z.number()),
        variance: z.array(z.number()),
      }),
    )
    .optional()
    .describe('what each norm would store once repaired; enough to repair the file without the data'),
})

export type Result = z.infer<typeof resultSchema>
export type Finding = z.infer<typeof finding>
export type Severity = (typeof severities)[number]
export type Place = z.infer<typeof place>
export type ModelInfo = z.infer<typeof modelInfo>
export type NoiseInfo = z.infer<typeof noiseInfo>
export type NormInfo = z.infer<typeof normInfo>
export type Outline = z.infer<typeof outline>
export type Measurement = z.infer<typeof measurement>
export type Layer = z.infer<typeof layer>
export type Score = z.infer<typeof score>
export type Agreement = z.infer<typeof agreement>
export type TrainingInfo = z.infer<typeof training>
export type RepairInfo = z.infer<typeof repair>
export type Quantiles = z.infer<typeof quantiles>
export type Interval = z.infer<typeof interval>
