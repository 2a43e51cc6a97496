"""From a trained Keras model to a `.tflite` for Larq Compute Engine, and back to predictions."""

from larq_groupnet.deploy.convert import ConversionError, convert, count_ops, load_interpreter

__all__ = ["ConversionError", "convert", "count_ops", "load_interpreter"]
