"""The release format: one safetensors file per network, binary kernels at one bit per weight.

A file (see `container`) holds one tensor per weight of the model, under the weight's Keras name
(`stage2_block1_base3_conv1/kernel:0`). Its description has the fields of `Metadata`, and under
`packed` the shape of every packed kernel. A packed kernel is a uint8 vector: bit 1 is +1, bit 0 is
-1, in C order, the highest bit first. It is restored as a latent kernel of +1 and -1, whose sign is
the same. All other weights are written as float32; float16 is read, too.

A kernel is packed only if its quantizer gives nothing but +1 and -1. A ternary kernel, or one
scaled by its mean magnitude (which rounding would change), is stored as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from larq_groupnet.files import path_of
from larq_groupnet.network.complexity import complexity
from larq_groupnet.network.config import GroupNetConfig
from larq_groupnet.weights import container
from larq_groupnet.weights.by_name import (
    MismatchError,
    assign,
    has_other_head,
    shapes_of,
    warn_left_out,
)
from larq_groupnet.weights.container import FormatError
from larq_groupnet.weights.metadata import Metadata

if TYPE_CHECKING:
    import tensorflow as tf

MAX_VALUES = 2**30
"""Maximum weights of a network: five times as many as in ResNet-50 with K=8."""


def save(model: tf.keras.Model, metadata: Metadata, path: str | Path) -> Path:
    """Writes a release file, or nothing if that fails.

    Args:
        model: A trained model made by `larq_groupnet.build(metadata.config)`.
        metadata: The description of the weights.
        path: Where to write.

    Returns:
        The path.

    Raises:
        MismatchError: If `metadata.config` does not describe `model`.
        FormatError: If a weight is not finite or not float32.
    """
    _check_config(model, metadata.config)
    signs = _signs(model)
    tensors = {
        weight.name: np.packbits(signs[weight.name] > 0)
        if weight.name in signs
        else _stored(weight)
        for weight in model.weights
    }
    shapes = {name: value.shape for name, value in signs.items()}
    path = path_of(path)
    container.write(path, {**metadata.to_dict(), "packed": shapes}, tensors)
    return path


def read(path: str | Path) -> tuple[Metadata, dict[str, NDArray[np.float32]]]:
    """Reads a release file.

    Returns:
        The description, and weight name -> float32 value.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is not a release file, is damaged, or has a newer format.
    """
    metadata, stored, shapes = _open(path_of(path))
    return metadata, {name: _restored(stored[name], shapes[name]) for name in stored}


def read_metadata(path: str | Path) -> Metadata:
    """Only the description. Raises the same errors as `read`."""
    return _open(path_of(path))[0]


def load(model: tf.keras.Model, path: str | Path, config: GroupNetConfig) -> None:
    """Loads a release file into a model. The model stays unchanged if that fails.

    Args:
        model: A model made by `larq_groupnet.build`.
        path: The file.
        config: The model's configuration, compared with the file's option by option. If the head
            or the number of classes differs, weights of the head that do not fit are left out with
            a warning.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is not a release file, is damaged, or has a newer format.
        MismatchError: If the weights belong to another network. Lists the differences.
    """
    path = path_of(path)
    metadata, stored, shapes = _open(path)
    other_head = has_other_head(path, metadata.config, config)

    def value(name: str) -> NDArray[np.float32]:
        return _restored(stored[name], shapes[name])

    warn_left_out(path, assign(model, shapes, value, str(path), other_head))


def _check_config(model: tf.keras.Model, config: GroupNetConfig) -> None:
    """Raises if `config` does not describe the model."""
    side = 8 * config.output_stride  # Parameters do not depend on the size.
    counted = config.replace(input_shape=(side, side, config.input_shape[2]))
    expected = sum(complexity(counted).total.params.values())
    # As Larq counts: two values per channel of a batch normalisation, not four.
    shapes = shapes_of(model)
    received = sum(math.prod(s) for name, s in shapes.items() if "/moving_" not in name)
    if expected != received or len(shapes) != len(model.weights):
        raise MismatchError(
            f"save: expected the model that config describes, with {expected:,} parameters. "
            f"Received: {model.name!r} with {received:,}, {len(model.weights)} weights of "
            f"{len(shapes)} names"
        )


def _signs(model: tf.keras.Model) -> dict[str, NDArray]:
    """The quantized values of each kernel that has only +1 and -1, by name."""
    signs = {}
    for layer in model.submodules:
        quantizer = getattr(layer, "kernel_quantizer", None)
        if quantizer is None:
            continue
        # Not NumPy's sign: TensorFlow treats the negative floats nearest to 0 as 0.
        value = quantizer(layer.kernel.latent_variable).numpy()
        if np.all(np.abs(value) == 1):
            signs[layer.kernel.name] = value
    return signs


def _stored(weight: tf.Variable) -> NDArray:
    value: NDArray = weight.numpy()
    if value.dtype != np.float32 or not np.isfinite(value).all():
        raise FormatError(
            f"save: expected finite float32 weights. Received: {weight.name} {value.dtype}, from "
            f"{np.min(value)} to {np.max(value)}"
        )
    return value


def _open(path: Path) -> tuple[Metadata, dict[str, NDArray], dict[str, tuple[int, ...]]]:
    """The description, the weights as they are stored, and their shapes once restored."""
    description, stored = container.read(path)
    try:
        shapes = _shapes(stored, description.pop("packed"))
        return Metadata.from_dict(description), stored, shapes
    except container.BROKEN as error:
        raise FormatError(
            f"weights: {path} is a release file with a wrong description: {error}"
        ) from error


def _shapes(
    stored: Mapping[str, NDArray], packed: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """Checks each packed kernel against its shape, and that the whole fits into memory."""
    shapes = {}
    for name, value in stored.items():
        bits = value.dtype == np.uint8
        if bits != (name in packed):
            raise ValueError(f"{name} is {value.dtype}, {'not ' if bits else ''}listed as packed")
        shape = tuple(packed[name]) if bits else value.shape
        if not all(type(size) is int and size >= 1 for size in shape):
            raise ValueError(f"{name} has the shape {shape}")
        if bits and value.shape != (-(-math.prod(shape) // 8),):
            raise ValueError(f"{name} has {value.shape} bytes for {math.prod(shape)} bits")
        shapes[name] = shape
    if absent := sorted(set(packed) - set(stored)):
        raise ValueError(f"packed kernels are missing: {', '.join(absent)}")
    if sum(map(math.prod, shapes.values())) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} weights")
    return shapes


def _restored(stored: NDArray, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A weight, `shape` float32."""
    if stored.dtype != np.uint8:
        return stored.astype("float32")
    bits = np.unpackbits(stored, count=math.prod(shape)).view("int8")
    return (2 * bits - 1).astype("float32").reshape(shape)
