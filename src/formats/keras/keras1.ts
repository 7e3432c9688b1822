import type { Json, JsonObject } from './config.ts'

/**
 * Spells the class and the settings of a Keras 1 layer as Keras 2 does; what is spelled so already stays.
 * Source: Keras 2.0 release notes and its own conversion of legacy arguments.
 */
export function fromKeras1(className: string, stated: JsonObject): { className: string; config: JsonObject } {
  const config: Record<string, Json> = { ...stated }
  const rename = (old: string, now: string) => {
    if (config[old] === undefined) return
    config[now] ??= config[old]!
    delete config[old]
  }
  /** One list out of several numbers. */
  const gather = (names: readonly string[], now: string) => {
    if (!names.every((name) => typeof config[name] === 'number')) return
    config[now] ??= names.map((name) => config[name]!)
    for (const name of names) delete config[name]
  }
  rename('border_mode', 'padding')
  rename('bias', 'use_bias')
  if (className !== 'Embedding') rename('output_dim', 'units')
  rename('nb_filter', 'filters')
  rename('filter_length', 'kernel_size')
  gather(['nb_row', 'nb_col'], 'kernel_size')
  gather(['kernel_dim1', 'kernel_dim2', 'kernel_dim3'], 'kernel_size')
  rename('subsample_length', 'strides')
  rename('subsample', 'strides')
  rename('atrous_rate', 'dilation_rate')
  rename('pool_length', 'pool_size')
  rename('stride', 'strides')
  rename('inner_activation', 'recurrent_activation')
  rename('inner_init', 'recurrent_initializer')
  if (noises.has(className) && config.rate === undefined) rename('p', 'rate')
  if (className === 'GaussianNoise') rename('sigma', 'stddev')
  if (className === 'UpSampling1D') rename('length', 'size')
  if (className === 'BatchNormalization' && typeof config.mode === 'number') config.momentum ??= 0.99
  if (className === 'ELU' || className === 'LeakyReLU') rename('negative_slope', 'alpha')
  if (config.dim_ordering !== undefined) {
    const order = config.dim_ordering
    delete config.dim_ordering
    if (order === 'th') config.data_format ??= 'channels_first'
    if (order === 'tf') config.data_format ??= 'channels_last'
  }
  const now = classNames[className] ?? className
  if (className in recurrentDropouts) {
    rename('dropout_W', 'dropout')
    rename('dropout_U', 'recurrent_dropout')
  }
  return { className: now, config }
}

const noises = new Set([
  'Dropout',
  'SpatialDropout1D',
  'SpatialDropout2D',
  'SpatialDropout3D',
  'GaussianDropout',
])
const recurrentDropouts = { SimpleRNN: true, LSTM: true, GRU: true }

const classNames: Readonly<Record<string, string>> = {
  Convolution1D: 'Conv1D',
  Convolution2D: 'Conv2D',
  Convolution3D: 'Conv3D',
  AtrousConvolution1D: 'Conv1D',
  AtrousConvolution2D: 'Conv2D',
  AtrousConv2D: 'Conv2D',
  Deconvolution2D: 'Conv2DTranspose',
  SeparableConvolution2D: 'SeparableConv2D',
  BatchNormalizationV1: 'BatchNormalization',
  BatchNormalizationV2: 'BatchNormalization',
  SyncBatchNormalization: 'BatchNormalization',
  CuDNNLSTM: 'CuDNNLSTM',
}
