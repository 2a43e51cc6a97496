"""Converts a trained Keras model to a verified `.tflite` for Larq Compute Engine."""

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
from larq_groupnet.deploy.unshared import check_one_in_one_out
from larq_groupnet.deploy.verify import verify
from larq_groupnet.files import check_output, replacing

DEFAULT_SAMPLES = 4


class ConversionWarning(UserWarning):
    """The file is correct but slow: it uses float operations instead of binary ones."""


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
        model: A built functional model with one input and one output. It is not changed. A model
            from `quantize` is passed to `convert_int8`.
        path: Where to write the file. Nothing is written unless verification succeeds.
        input_shape: `(height, width, channels)` of the file; needed if the model's own is not
            fixed, because a binary convolution of unknown size does not convert.
        batch_size: Number of images that the file reads at once.
        data: Real samples `(n, height, width, channels)` to verify the file with, in the model's
            input format: preprocessed float32, or uint8. By default a few images of seeded noise.
        description: Names and plain values to store in the file, as `saved.describe_run` returns
            them; see `deploy.description`.

    Returns:
        The path.

    Raises:
        ConversionError: If the input size is not fixed, an argument is invalid, or the file would
            be wrong: says which layer, why, and what to change.
        OutputError: If `path` cannot be written.
        VerificationError: If the file does not compute what the model computes.

    Warns:
        ConversionWarning: If some layers do not run as binary kernels.
    """
    fixed = with_input_shape(model, input_shape, batch_size)
    data = _noise(fixed) if data is None else data
    if is_int8(fixed):
        if batch_size != 1:
            raise ConversionError(
                "convert: expected one image at a time for an int8 file. "
                f"Received: batch_size={batch_size}"
            )
        return convert_int8(fixed, path, data=data, description=description)
    path = check_output(path)
    description = check_description(description, fixed.output_shape[-1])
    kind = np.uint8 if fixed.inputs[0].dtype == tf.uint8 else np.float32
    data = check_samples(data, fixed.input_shape[1:], kind, "data")
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
        batch_size: Number of images per call.

    Returns:
        The model itself if its sizes fit, else a model with copies of the weights.

    Raises:
        ConversionError: If a size is open or does not fit the model.
    """
    check_one_in_one_out(model, "convert")
    own = model.input_shape
    if input_shape is None and None in own[1:]:
        raise ConversionError(
            "convert: expected a fixed input size, because a binary convolution of unknown size "
            f"does not convert. Received: input_shape={own}. Name one: "
            "convert(model, path, input_shape=(height, width, channels)), or --input_size."
        )
    given = own[1:] if input_shape is None else input_shape
    sizes = (batch_size, *given) if np.iterable(given) else ()
    if len(sizes) != len(own) or not all(
        isinstance(size, int | np.integer) and size > 0 and known in (None, size)
        for size, known in zip(sizes, own, strict=True)
    ):
        raise ConversionError(
            "convert: expected input_shape=(height, width, channels) and batch_size as integers "
            f"that fit the model's {own}. Received: input_shape={given!r}, "
            f"batch_size={batch_size!r}. For other sizes, build the model with them, or with None."
        )
    shape = tuple(given)
    if own[1:] == shape and batch_size in (1, own[0]):
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
    except ConversionError as error:
        raise ConversionError(_listed(f"{error}. Findings of audit", audit(model))) from error


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
