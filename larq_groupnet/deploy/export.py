"""Converts a Keras model to the bytes of a `.tflite` with LCE's converter."""

from __future__ import annotations

import tempfile

import tensorflow as tf

from larq_groupnet.deploy.dilation import directly_dilated
from larq_groupnet.deploy.engine import convert_saved_model
from larq_groupnet.errors import ConversionError, UserError
from larq_groupnet.files import full_disk_as_os_error


def to_tflite(model: tf.keras.Model) -> bytes:
    """Converts a model as it is, without folding, auditing or verifying it.

    Dilated convolutions are rewritten, see `dilation`. Without any, the file equals the output of
    `lce.convert_keras_model`. That function has Keras save the model, which traces every layer
    several times and takes four times as long as this one for 200 layers. Here the model is traced
    once, as the only function that the converter reads.

    Args:
        model: A built model with one input of fixed size and one output, in float32.

    Returns:
        The flatbuffer, with batch size 1 if the model's is not fixed.

    Raises:
        OSError: If the temporary folder is full.
        ConversionError: If TensorFlow or LCE cannot convert the model.
    """
    batch, *shape = model.input_shape
    spec = tf.TensorSpec((batch or 1, *shape), model.inputs[0].dtype, model.input_names[0])
    holder = tf.Module()  # A SavedModel needs an object that holds the variables.
    holder.weights = model.weights
    serve = tf.function(lambda image: {model.output_names[0]: model(image, training=False)}, [spec])
    with tempfile.TemporaryDirectory() as folder, directly_dilated(model):
        # Inference needs no gradients, and tracing every sign's takes a quarter of the time.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        try:
            with full_disk_as_os_error():
                tf.saved_model.save(holder, folder, signatures=serve, options=options)
            content: bytes = convert_saved_model(folder)
        except (UserError, OSError):
            raise
        except Exception as error:  # LCE raises bare exceptions.
            raise ConversionError(f"LCE cannot convert the model: {error}") from error
    return content
