import { type Kind, kinds, type Level, type Size } from './kinds.ts'

/** Everything that can be set by flag, by environment variable and in a configuration file alike. */
export interface Settings {
  readonly format: 'terminal' | 'json' | 'sarif' | 'html'
  readonly select: readonly string[]
  readonly ignore: readonly string[]
  readonly severity: Readonly<Record<string, Level>>
  readonly failOn: 'error' | 'warning' | 'info' | 'never'
  readonly maxWarnings: number
  readonly baseline: string
  readonly data: string
  readonly labels: string
  readonly samples: number
  readonly batchSize: number
  readonly scale: number
  readonly mean: readonly number[]
  readonly std: readonly number[]
  readonly layout: 'NCHW' | 'NHWC'
  readonly imageSize: Size
  readonly channels: '1' | '3'
  readonly repeatGrey: boolean
  readonly modeSamples: number
  readonly seed: number
  readonly threads: number
  readonly repair: string
  readonly passes: number
  readonly tolerance: number
  readonly epochs: number
  readonly lr: number
  readonly optimizer: string
  readonly momentum: number
  readonly weightDecay: number
  readonly decay: 'weights' | 'all'
  readonly schedule: string
  readonly clip: number
  readonly loss: string
  readonly target: string
  readonly augment: string
  readonly validation: string
  readonly earlyStopping: number
  readonly dropout: number
  readonly noise: string
  readonly placement: string
  readonly freeze: readonly string[]
  readonly norms: 'train' | 'keep'
  readonly device: 'cpu' | 'webgpu' | 'cuda'
}

export type SettingName = keyof Settings

export interface Setting<T> {
  readonly kind: Kind<T>
  /** The flag as help shows it. */
  readonly flag: string
  readonly about: string
  /** What holds if nobody sets it, in words; absent where nothing does. */
  readonly standard?: string
  /** Relative paths in a configuration file start at its folder; `data` may have a prefix that says what it is. */
  readonly names?: 'path' | 'data'
}

const { text, number, numbers, list, choice, severities, size, onOff } = kinds

export const settings: { readonly [Name in SettingName]: Setting<Settings[Name]> } = {
  format: {
    kind: choice('terminal', 'json', 'sarif', 'html'),
    flag: '--format <form>',
    about: 'what to print: terminal, json, sarif or html',
    standard: 'terminal',
  },
  select: { kind: list, flag: '--select <rules>', about: 'only these rules', standard: 'all' },
  ignore: { kind: list, flag: '--ignore <rules>', about: 'not these rules' },
  severity: {
    kind: severities,
    flag: '--severity <rule=level>',
    about: 'another severity for a rule: error, warning, info or off',
  },
  failOn: {
    kind: choice('error', 'warning', 'info', 'never'),
    flag: '--fail-on <severity>',
    about: 'exit with 1 from this severity on: error, warning, info or never',
    standard: 'warning, or error with --max-warnings',
  },
  maxWarnings: {
    kind: number({ whole: 0 }),
    flag: '--max-warnings <count>',
    about: 'exit with 1 if there are more warnings than this',
  },
  baseline: {
    kind: text,
    flag: '--baseline <file>',
    about: 'leave out findings that this file lists',
    names: 'path',
  },
  data: {
    kind: text,
    flag: '--data <spec>',
    about:
      'samples: .npz, .npy, IDX, CIFAR, a folder of pictures, or shapes:count=1000,seed=7 (made-up pictures)',
    names: 'data',
  },
  labels: {
    kind: text,
    flag: '--labels <file>',
    about: 'labels in a file of their own: .npy, .npz, IDX, or text with one number a line',
    names: 'path',
  },
  samples: {
    kind: number({ whole: 1 }),
    flag: '--samples <count>',
    about: 'use at most so many samples, taken evenly from all over the data',
    standard: 'all',
  },
  batchSize: {
    kind: number({ whole: 1 }),
    flag: '--batch-size <count>',
    about: 'samples a batch',
    standard: '64, or 8 for large samples',
  },
  scale: {
    kind: number({ above: 0 }),
    flag: '--scale <factor>',
    about: 'multiply values by this before anything else (1/255, 1)',
    standard: '1/255 for pictures of bytes, else 1',
  },
  mean: {
    kind: numbers,
    flag: '--mean <numbers>',
    about: 'subtract this after scaling: one number or one a channel',
  },
  std: { kind: numbers, flag: '--std <numbers>', about: 'divide by this after subtracting the mean' },
  layout: {
    kind: choice('NCHW', 'NHWC'),
    flag: '--layout <order>',
    about: 'how the model takes pictures where its shape does not tell: NCHW or NHWC',
    standard: 'NCHW',
  },
  imageSize: {
    kind: size,
    flag: '--image-size <size>',
    about: 'resize the pictures of a folder: 224, or height x width',
    standard: 'as they are',
  },
  channels: {
    kind: choice('1', '3'),
    flag: '--channels <count>',
    about: 'read the pictures of a folder as grey (1) or RGB (3)',
    standard: '3',
  },
  repeatGrey: {
    kind: onOff,
    flag: '--repeat-grey',
    about: 'repeat grey pictures for a model that takes three channels',
  },
  modeSamples: {
    kind: number({ whole: 0 }),
    flag: '--mode-samples <count>',
    about: 'run train and sample mode beside eval mode on so many samples; 0 for none',
    standard: '1000',
  },
  seed: {
    kind: number({ whole: 0, max: 2 ** 31 }),
    flag: '--seed <number>',
    about: 'seed of all noise',
    standard: '0',
  },
  threads: {
    kind: number({ whole: 1, max: 1024 }),
    flag: '--threads <count>',
    about: 'threads to compute with',
    standard: 'one a core',
  },
  repair: {
    kind: text,
    flag: '--repair <id>',
    about: 'what to do',
    standard: 'recalibrate with data, distill without',
  },
  passes: {
    kind: number({ whole: 1, max: 1000 }),
    flag: '--passes <count>',
    about: 'most passes over the data',
    standard: '5',
  },
  tolerance: {
    kind: number({ above: 1 }),
    flag: '--tolerance <ratio>',
    about: 'stop when no layer shifts by more than this ratio',
    standard: '1.01',
  },
  epochs: {
    kind: number({ whole: 1 }),
    flag: '--epochs <count>',
    about: 'passes over the data',
    standard: '1',
  },
  lr: {
    kind: number({ above: 0 }),
    flag: '--lr <rate>',
    about: 'largest learning rate',
    standard: '0.1 for sgd, 0.001 for adam and adamw',
  },
  optimizer: {
    kind: text,
    flag: '--optimizer <choice>',
    about: 'sgd, adam or adamw, with settings: sgd:momentum=0.9,nesterov=true',
    standard: 'sgd',
  },
  momentum: {
    kind: number({ least: 0, max: 1 }),
    flag: '--momentum <share>',
    about: 'momentum of sgd',
    standard: '0.9',
  },
  weightDecay: {
    kind: number({ least: 0 }),
    flag: '--weight-decay <factor>',
    about: 'weight decay, as PyTorch has it',
    standard: '0, or 0.01 for adamw',
  },
  decay: {
    kind: choice('weights', 'all'),
    flag: '--decay <what>',
    about: 'what decays: weights, or all (norms and biases too)',
    standard: 'weights',
  },
  schedule: {
    kind: text,
    flag: '--schedule <choice>',
    about: 'constant, step, cosine or one-cycle, with settings: cosine:warm-up=1, step:at=10/15,gamma=0.1',
    standard: 'constant',
  },
  clip: {
    kind: number({ above: 0 }),
    flag: '--clip <norm>',
    about: 'scale gradients of a larger norm down to this one',
  },
  loss: {
    kind: text,
    flag: '--loss <choice>',
    about:
      'cross-entropy, mse, l1, huber, binary-cross-entropy, with settings and penalties: cross-entropy:smoothing=0.1, mse+kl-sparsity:at=LAYER,target=0.05',
    standard: 'cross-entropy for classes, else mse',
  },
  target: {
    kind: text,
    flag: '--target <array>',
    about: 'what the output should be: an array of the data, labels, or input (autoencoders)',
    standard: 'the array called target',
  },
  augment: {
    kind: text,
    flag: '--augment <changes>',
    about: 'change pictures at random: crop=4 (pixels of padding), flip, or both with a comma',
  },
  validation: {
    kind: text,
    flag: '--validation <data>',
    about: 'evaluate on this after each epoch: data as for --data, or a share of it (0.1)',
    names: 'data',
  },
  earlyStopping: {
    kind: number({ whole: 1 }),
    flag: '--early-stopping <epochs>',
    about: 'stop when the validation loss has not fallen for so many epochs, and take the best',
  },
  dropout: {
    kind: number({ above: 0, max: 1 }),
    flag: '--dropout <ratio>',
    about: 'for a network by name: the same as --noise dropout=RATIO',
  },
  noise: {
    kind: text,
    flag: '--noise <kind=value>',
    about: 'for a network by name: its noise, such as gaussian=0.5 or uout=0.1',
  },
  placement: {
    kind: text,
    flag: '--placement <place>',
    about: 'where that noise is: before-norm, before-weight, head-before-pool or head-after-pool',
  },
  freeze: {
    kind: list,
    flag: '--freeze <names>',
    about: 'parameters or layers that stay as they are, with * for anything',
  },
  norms: {
    kind: choice('train', 'keep'),
    flag: '--norms <mode>',
    about: 'normalise by each batch and learn running statistics (train), or keep and use those of the file',
    standard: 'train',
  },
  device: {
    kind: choice('cpu', 'webgpu', 'cuda'),
    flag: '--device <device>',
    about: 'where to compute: cpu, webgpu or cuda',
    standard: 'cpu',
  },
}

export const settingNames = Object.keys(settings) as SettingName[]

/** `failOn` -> `VARSHIFT_FAIL_ON` */
export const environmentName = (name: SettingName): string =>
  `VARSHIFT_${name.replace(/[A-Z]/g, '_$&').toUpperCase()}`

export const ruleSettings = ['select', 'ignore', 'severity'] as const
export const dataSettings = [
  'data',
  'labels',
  'samples',
  'batchSize',
  'scale',
  'mean',
  'std',
  'layout',
  'imageSize',
  'channels',
  'repeatGrey',
] as const
export const trainSettings = [
  'epochs',
  'lr',
  'optimizer',
  'momentum',
  'weightDecay',
  'decay',
  'schedule',
  'clip',
  'loss',
  'target',
  'augment',
  'validation',
  'earlyStopping',
  'dropout',
  'noise',
  'placement',
  'freeze',
  'norms',
  'device',
] as const
export const runSettings = ['modeSamples', 'seed', 'threads'] as const
