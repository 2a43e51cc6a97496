"""From a Keras model to the bytes of a `.tflite`, by LCE's converter."""

from __future__ import annotations

import tempfile

import larq_compute_engine as lce
import tensorflow as tf


def to_tflite(model: tf.keras.Model) -> bytes:
    """Converts a model as it stands: nothing is folded, audited or verified.

    The same bytes as those of `lce.convert_keras_model`, which first has Keras trace every layer
    several times over for its own SavedModel: with 200 layers that takes four times as long as all
    of this. Here the model is traced once, as the one function that the converter reads.

    Args:
        model: A built model with one input of fixed size and one output, in float32.

    Returns:
        The flatbuffer, for one image at a time if the model's batch size is not fixed.

    Raises:
        Exception: Whatever TensorFlow or LCE raise, some of it bare, if the model does not convert.
    """
    batch, *shape = model.input_shape
    spec = tf.TensorSpec((batch or 1, *shape), model.inputs[0].dtype, model.input_names[0])
    holder = tf.Module()  # A SavedModel needs an object that holds the variables.
    holder.weights = model.weights
    serve = tf.function(lambda image: {model.output_names[0]: model(image, training=False)}, [spec])
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(holder, folder, signatures=serve)
        content: bytes = lce.convert_saved_model(folder)
    return content
