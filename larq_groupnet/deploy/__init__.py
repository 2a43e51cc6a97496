"""Converts a trained Keras model to a `.tflite` for Larq Compute Engine, and runs the file."""

from larq_groupnet.deploy.advice import advise
from larq_groupnet.deploy.audit import Finding, audit
from larq_groupnet.deploy.convert import ConversionWarning, convert, with_input_shape
from larq_groupnet.deploy.flatbuffer import ConversionError, count_ops, load_interpreter
from larq_groupnet.deploy.fold import fold
from larq_groupnet.deploy.int8 import convert_int8, predict_int8, quantize
from larq_groupnet.deploy.verify import Verification, VerificationError, verify

__all__ = [
    "ConversionError",
    "ConversionWarning",
    "Finding",
    "Verification",
    "VerificationError",
    "advise",
    "audit",
    "convert",
    "convert_int8",
    "count_ops",
    "fold",
    "load_interpreter",
    "predict_int8",
    "quantize",
    "verify",
    "with_input_shape",
]
