/**
 * Layers for noises that neither Keras nor TensorFlow.js has built in, as text to paste into a program that loads a
 * model which holds them.
 */

const python = `"""Uout and moment-preserving dropout as Keras layers, for Keras 2 and 3.

Import this file before a model that holds them is loaded.
"""
import os

if os.environ.get("TF_USE_LEGACY_KERAS") == "1":
    import tf_keras as keras
else:
    import keras

if hasattr(keras, "ops"):  # Keras 3
    uniform, shape = keras.random.uniform, keras.ops.shape
    mean, sqrt, floor, fixed = keras.ops.mean, keras.ops.sqrt, keras.ops.floor, keras.ops.stop_gradient
else:
    import tensorflow as tf

    uniform, shape = tf.random.uniform, tf.shape
    mean, sqrt, floor, fixed = tf.reduce_mean, tf.sqrt, tf.floor, tf.stop_gradient


class _Noise(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.utils.register_keras_serializable(package="varshift")
class Uout(_Noise):
    """y = x + x r with r uniform on (-beta, beta) in training; y = x at inference (arXiv:1801.05134, section 5)."""

    def __init__(self, beta=0.1, **kwargs):
        super().__init__(**kwargs)
        self.beta = beta

    def call(self, inputs, training=False):
        if not training:
            return inputs
        return inputs * uniform(shape(inputs), 1 - self.beta, 1 + self.beta, dtype=inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}


@keras.utils.register_keras_serializable(package="varshift")
class MomentPreservingDropout(_Noise):
    """Dropout, then the affine map that restores mean and variance of every channel (axis) of the batch.

    y = c + sqrt(v / Var[m x]) (m x - c) in training, Var[m x] = v + rate / (1 - rate) (v + c^2); y = x at inference.
    """

    def __init__(self, rate, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.axis = axis

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        keep = 1 - self.rate
        axes = [i for i in range(len(inputs.shape)) if i != self.axis % len(inputs.shape)]
        c = fixed(mean(inputs, axes, keepdims=True))
        v = fixed(mean((inputs - c) ** 2, axes, keepdims=True))
        k = sqrt(v / (v + self.rate / keep * (v + c**2) + 2.0**-60))
        kept = floor(uniform(shape(inputs), keep, 1 + keep, dtype=inputs.dtype))
        return c + k * (inputs * kept / keep - c)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "axis": self.axis}
`

const javascript = `// Uout and moment-preserving dropout as TensorFlow.js layers: import this file before a model that holds them is loaded.
import * as tf from '@tensorflow/tfjs'

class Noise extends tf.layers.Layer {
  constructor(config) {
    super(config)
    this.supportsMasking = true
  }

  computeOutputShape(inputShape) {
    return inputShape
  }

  call(inputs, kwargs) {
    return tf.tidy(() => {
      const x = Array.isArray(inputs) ? inputs[0] : inputs
      return kwargs?.training ? this.perturb(x) : x
    })
  }
}

/** y = x + x r with r uniform on (-beta, beta) in training; y = x at inference (arXiv:1801.05134, section 5). */
export class Uout extends Noise {
  static className = 'Uout'

  constructor(config) {
    super(config)
    this.beta = config.beta ?? 0.1
  }

  perturb(x) {
    return x.mul(tf.randomUniform(x.shape, 1 - this.beta, 1 + this.beta))
  }

  getConfig() {
    return { ...super.getConfig(), beta: this.beta }
  }
}

/**
 * Dropout, then the affine map that restores mean and variance of every channel (axis) of the batch:
 * y = c + sqrt(v / Var[m x]) (m x - c) in training, Var[m x] = v + rate / (1 - rate) (v + c^2); y = x at inference.
 */
export class MomentPreservingDropout extends Noise {
  static className = 'MomentPreservingDropout'

  constructor(config) {
    super(config)
    this.rate = config.rate
    this.axis = config.axis ?? -1
  }

  perturb(x) {
    if (this.rate === 0) return x
    const keep = 1 - this.rate
    const channels = (this.axis + x.rank) % x.rank
    const axes = x.shape.map((_, i) => i).filter((i) => i !== channels)
    const moments = tf.moments(x, axes, true)
    // The moments are taken as constants: no gradient flows through them.
    const restored = tf.customGrad((input, save) => {
      const { mean: c, variance: v } = moments
      const k = v.div(v.add(v.add(c.square()).mul(this.rate / keep)).add(2 ** -60)).sqrt()
      const factor = tf.randomUniform(x.shape, keep, 1 + keep).floor().div(keep).mul(k)
      save([factor])
      return { value: input.mul(factor).add(c.sub(c.mul(k))), gradFunc: (dy, [saved]) => dy.mul(saved) }
    })
    return restored(x)
  }

  getConfig() {
    return { ...super.getConfig(), rate: this.rate, axis: this.axis }
  }
}

tf.serialization.registerClass(Uout)
tf.serialization.registerClass(MomentPreservingDropout)
`

/** By the framework that they are for. */
export const layerTexts: Readonly<Record<'keras' | 'tfjs', string>> = { keras: python, tfjs: javascript }
