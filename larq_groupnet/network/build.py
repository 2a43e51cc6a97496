"""From a `GroupNetConfig` to a Keras model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_groupnet import presets
from larq_groupnet.config import GroupNetConfig
from larq_groupnet.network import heads
from larq_groupnet.network.blocks import stem
from larq_groupnet.network.decomposition import decompose
from larq_groupnet.registry import changed_options, get_config
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
    given = [*changed_options(name, config)]
    if input_shape is not None:
        given.append("input_shape")  # Even if it is the default.
    config = adopt(weights, name, config, given)
    return build(config, input_tensor=input_tensor, weights=weights, name=name)
