"""From a trained Keras model to a `.tflite` for Larq Compute Engine that was seen to be right."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from larq_groupnet.deploy.audit import Finding, audit
from larq_groupnet.deploy.description import check_description, with_description
from larq_groupnet.deploy.export import to_tflite
from larq_groupnet.deploy.flatbuffer import ConversionError
from larq_groupnet.deploy.fold import fold
from larq_groupnet.deploy.int8 import convert_int8, is_int8
from larq_groupnet.deploy.samples import check_samples
from larq_groupnet.deploy.unshared import check_functional
from larq_groupnet.deploy.verify import verify
from larq_groupnet.errors import UserError
from larq_groupnet.files import check_output, replacing

DEFAULT_SAMPLES = 4


class ConversionWarning(UserWarning):
    """The file is right but slow: it uses float operations in place of binary ones."""


def convert(
    model: tf.keras.Model,
    path: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    batch_size: int = 1,
    data: NDArray[np.float32] | None = None,
    description: Mapping[str, Any] | None = None,
) -> Path:
    """Folds and converts a model, audits and verifies the file, then writes it.

    Args:
        model: A built functional model with one input and one output. It stays as it is. One of
            `quantize` goes to `convert_int8`.
        path: Where to write. The file appears there once it is verified, or not at all.
        input_shape: `(height, width, channels)` of the file; needed where the model's own is not
            fixed, because a binary convolution of unknown size does not convert.
        batch_size: Images that the file takes at once.
        data: Real samples `(n, height, width, channels)` to verify the file on, as the model reads
            them: float32, preprocessed, or uint8. By default a few images of seeded noise.
        description: Names and plain values that the file is to say of itself, as
            `saved.describe_run` gives them; `deploy.description` says where they stand.

    Returns:
        The path.

    Raises:
        ConversionError: If the input size is not fixed, if an argument is not as described, or if
            the file would be wrong: says which layer, why, and what to change.
        OutputError: If `path` cannot be written.
        VerificationError: If it computes something else than the model.

    Warns:
        ConversionWarning: Of layers that do not run as binary kernels.
    """
    fixed = with_input_shape(model, input_shape, batch_size)
    path = check_output(path)
    description = check_description(description, fixed.output_shape[-1])
    if is_int8(fixed) and batch_size != 1:
        raise ConversionError(
            "convert: expected one image at a time for a file of integers. "
            f"Received: batch_size={batch_size}"
        )
    kind = np.uint8 if fixed.inputs[0].dtype == tf.uint8 else np.float32
    given = _noise(fixed) if data is None else data
    data = check_samples(given, fixed.input_shape[1:], kind, "data")
    if is_int8(fixed):
        return convert_int8(fixed, path, data=data, description=description)
    with tqdm(total=4, unit="step", desc="Folding") as progress:
        folded = fold(fixed)
        _next(progress, "Converting")
        content = with_description(_convert(folded), description)
        _next(progress, "Auditing")
        findings = audit(folded, content)
        if any(finding.severity == "wrong" for finding in findings):
            raise ConversionError(_listed("the file would be wrong", findings))
        _next(progress, "Verifying")
        verify(fixed, content, data)
        progress.update()
    if findings:
        warnings.warn(_listed("parts of the file run as float", findings), ConversionWarning, 2)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def with_input_shape(
    model: tf.keras.Model, input_shape: Sequence[int] | None = None, batch_size: int = 1
) -> tf.keras.Model:
    """The same model with a fixed input size and batch size.

    Args:
        model: A functional model with one input.
        input_shape: `(height, width, channels)`, `None` for the model's own.
        batch_size: Images at once.

    Returns:
        A model with copies of the weights.

    Raises:
        ConversionError: If a size is left open or does not fit the model.
    """
    check_functional(model, "convert")
    own = model.input_shape
    given = () if input_shape is None else input_shape
    sizes = [batch_size, *given] if np.iterable(given) else [None]
    if not all(isinstance(size, int | np.integer) for size in sizes):
        raise ConversionError(
            "convert: expected input_shape=(height, width, channels) and batch_size as integers. "
            f"Received: input_shape={input_shape!r}, batch_size={batch_size!r}"
        )
    if not isinstance(own, tuple) or isinstance(model.output, list | tuple | dict):
        raise ConversionError(
            "convert: expected a model with one input and one output. "
            f"Received: input_shape={own}, output_shape={model.output_shape}"
        )
    shape = tuple(own[1:] if input_shape is None else input_shape)
    if None in shape:
        raise ConversionError(
            "convert: expected a fixed input size, because a binary convolution of unknown size "
            f"does not convert. Received: input_shape={own}. Name one: "
            "convert(model, path, input_shape=(height, width, channels)), or --input_size."
        )
    fits = len(shape) == len(own[1:]) and all(
        size > 0 and known in (None, size) for size, known in zip(shape, own[1:], strict=True)
    )
    if not fits or batch_size < 1 or own[0] not in (None, batch_size):
        raise ConversionError(
            f"convert: expected an input shape and a batch size that fit the model's {own}; build "
            "it with other ones, or with None, for others. "
            f"Received: input_shape={shape}, batch_size={batch_size}"
        )
    if own == (batch_size, *shape) or (own == (None, *shape) and batch_size == 1):
        return model
    inputs = tf.keras.Input(
        shape, batch_size=batch_size, name=model.input_names[0], dtype=model.inputs[0].dtype
    )
    fixed = tf.keras.models.clone_model(model, inputs)
    fixed.set_weights(model.get_weights())
    return fixed


def _convert(model: tf.keras.Model) -> bytes:
    try:
        return to_tflite(model)
    except (UserError, OSError):
        raise
    except Exception as error:  # LCE raises bare ones.
        raise ConversionError(
            _listed(f"LCE cannot convert the model: {error}. What audit says", audit(model))
        ) from error


def _noise(model: tf.keras.Model) -> NDArray[Any]:
    rng = np.random.RandomState(0)
    shape = (DEFAULT_SAMPLES, *model.input_shape[1:])
    if model.inputs[0].dtype == tf.uint8:
        return rng.randint(0, 256, shape).astype(np.uint8)
    return rng.standard_normal(shape).astype(np.float32)


def _listed(text: str, findings: Sequence[Finding]) -> str:
    return "\n  ".join([f"convert: {text}:", *map(str, findings)])


def _next(progress: tqdm, step: str) -> None:
    progress.update()
    progress.set_description(step)
