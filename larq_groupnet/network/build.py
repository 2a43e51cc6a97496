"""From a `GroupNetConfig` to a Keras model, and from one model's weights to another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet import presets
from larq_groupnet.config import GroupNetConfig
from larq_groupnet.errors import MissingFileError, WeightsError
from larq_groupnet.network import heads
from larq_groupnet.network.blocks import stem
from larq_groupnet.network.decomposition import decompose
from larq_groupnet.registry import get_config
from larq_groupnet.weights.by_name import HEAD, shapes_of
from larq_groupnet.weights.resolve import adopt, load_into, resolve


def build(
    config: GroupNetConfig,
    *,
    input_tensor: tf.Tensor | None = None,
    weights: str | Path | None = None,
    name: str = "groupnet",
) -> tf.keras.Model:
    """Builds the network that `config` describes.

    Args:
        config: The network.
        input_tensor: Keras tensor `(batch, height, width, channels)` to read from instead of a new
            input.
        weights: Name of a registered set, or path of a weights file of the same network; `None` for
            random weights.
        name: Name of the model.

    Returns:
        A functional `tf.keras.Model`. Its output is `(batch, num_classes)` probabilities with
        `head="classifier"`, the last aggregate with `head=None`, and
        `(batch, height, width, num_classes)` logits with any other head.

    Raises:
        FileNotFoundError: If `weights` names no file.
        ValueError: If the file's weights are not those of this network.
    """
    path = None
    if weights is not None:
        # Before the network is built, which takes seconds.
        path = resolve(weights, name, config)
    inputs = input_tensor
    if inputs is None:
        inputs = tf.keras.layers.Input(config.input_shape, name="image")
    aggregates = decompose(stem(inputs, config), config)
    x = heads.HEADS[config.head](aggregates, config)
    if input_tensor is not None:
        inputs = tf.keras.utils.get_source_inputs(input_tensor)
    model = tf.keras.Model(inputs, x, name=name)
    if path is not None:
        load_into(model, config, path)
    return model


def build_named(
    name: str,
    *,
    input_shape: presets.Shape | None,
    input_tensor: tf.Tensor | None,
    weights: str | Path | None,
    **options: Any,
) -> tf.keras.Model:
    """Builds a model of the registry; arguments and errors as those of its function."""
    if input_tensor is not None:
        input_shape = tuple(input_tensor.shape[1:])
    config = get_config(name, input_shape=input_shape, **options)
    given = () if input_shape is None else ("input_shape",)  # Even if it is the default.
    config = adopt(weights, name, config, also=given)
    return build(config, input_tensor=input_tensor, weights=weights, name=name)


def load_weights(model: tf.keras.Model, path: str | Path) -> None:
    """Loads an `.h5` weights file, or says which file does not fit which model."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"weights: expected an .h5 file. Received: {path} (no such file)")
    try:
        model.load_weights(path)
    except (ValueError, OSError) as error:
        raise WeightsError(
            f"weights: {path} does not fit the model {model.name!r}. Build it with the options "
            f"that the weights were trained with. Keras says: {error}"
        ) from error


def copy_weights(
    source: tf.keras.Model, target: tf.keras.Model, other_head: bool = False
) -> list[str]:
    """Copies every weight of `source` to the weight of the same name in `target`.

    This is how training phase 2 starts from phase 1: the tanh network and the binary one have the
    same weight names.

    Args:
        source: A model that `larq_groupnet` has built.
        target: Another one.
        other_head: Leave out weights of the head that only one of them has, or in another shape.

    Returns:
        The names of what was left out.

    Raises:
        ValueError: If the two models differ in a weight's name or shape; lists the differences.
    """
    values = {weight.name: weight for weight in source.weights}
    shapes = {name: tuple(weight.shape) for name, weight in values.items()}
    differences = sorted(set(shapes.items()) ^ set(shapes_of(target).items()))
    wrong = [(n, shape) for n, shape in differences if not (other_head and n.startswith(HEAD))]
    if wrong:
        raise WeightsError(
            f"copy_weights: expected the same weights in {source.name!r} and {target.name!r}. "
            f"Received differences in: {', '.join(f'{n} {s}' for n, s in wrong)}"
        )
    left_out = {name for name, _ in differences}
    for weight in target.weights:
        if weight.name not in left_out:
            weight.assign(values[weight.name])
    return sorted(left_out)
