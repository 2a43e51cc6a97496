"""Functional models taken apart, and put together again so that each layer is called once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import tensorflow as tf

from larq_groupnet.errors import ConversionError


def is_functional(layer: tf.keras.layers.Layer) -> bool:
    """True for a functional model, of which it is known which layer reads what."""
    return bool(getattr(layer, "_is_graph_network", False))


def check_functional(model: Any, caller: str) -> None:
    """Raises ConversionError for anything but a functional model; names who wants one."""
    if not isinstance(model, tf.keras.Model) or not is_functional(model):
        named = f" {model.name!r}" if isinstance(model, tf.keras.Model) else ""
        raise ConversionError(
            f"{caller}: expected a functional Keras model, such as larq_groupnet.build returns, or "
            "a Sequential one that knows the shape of its input; only there it is known which "
            f"layer reads what. Received: {type(model).__name__}{named}. A file's model: "
            "larq_groupnet.load_model(file)"
        )


def check_one_in_one_out(model: Any, caller: str) -> None:
    """Raises ConversionError for anything but a functional model of one input and one output."""
    check_functional(model, caller)
    if not isinstance(model.input_shape, tuple) or isinstance(model.output, list | tuple | dict):
        raise ConversionError(
            f"{caller}: expected a model with one input and one output. Received: "
            f"input_shape={model.input_shape}, output_shape={model.output_shape}"
        )


def nodes_of(model: tf.keras.Model) -> list[Any]:
    """The calls of a functional model's layers, in the order of computation."""
    depths = model._nodes_by_depth
    return [node for depth in sorted(depths, reverse=True) for node in depths[depth]]


def copied(layer: tf.keras.layers.Layer, **changes: Any) -> tf.keras.layers.Layer:
    """A layer of the same configuration, but for the changes, without weights."""
    return type(layer).from_config({**layer.get_config(), **changes})


def applied(
    layer: tf.keras.layers.Layer, inputs: Any, weights: list[Any] | None = None, **changes: Any
) -> tf.Tensor:
    """What a copy of the layer gives, with other weights or another configuration."""
    copy = copied(layer, **changes)
    outputs = copy(inputs)
    copy.set_weights(layer.get_weights() if weights is None else weights)
    return outputs


def unshared(model: tf.keras.Model) -> tf.keras.Model:
    """The same function with a copy of a shared layer for each of its calls.

    A shared layer becomes as many operations of a file as it has calls, each with its own input.

    Args:
        model: A functional model, such as one with `shared_shortcut`.

    Returns:
        A model with copies of the weights; the first call keeps the name of the layer, the second
        gets `NAME_2`. `model` itself if it calls no convolution and no normalisation twice.
    """
    if not is_functional(model):
        return model
    nodes = nodes_of(model)
    calls = Counter(id(node.layer) for node in nodes)
    if not any(_is_shared(layer, calls[id(layer)]) for layer in model.layers):
        return model
    copies: dict[int, tf.keras.layers.Layer] = {}
    values: dict[int, tf.Tensor] = {}
    done: Counter[int] = Counter()
    for node in nodes:
        layer = node.layer
        done[id(layer)] += 1
        number = done[id(layer)]
        if number == 1 or _is_shared(layer, number):
            name = layer.name if number == 1 else f"{layer.name}_{number}"
            copies[id(layer)] = copied(layer, name=name)
        copy = copies[id(layer)]
        args, kwargs = tf.nest.map_structure(
            lambda x: values.get(id(x), x), (node.call_args, node.call_kwargs)
        )
        outputs = copy.output if node.is_input else copy(*args, **kwargs)
        copy.set_weights(layer.get_weights())
        for old, new in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(outputs), strict=True):
            values[id(old)] = new
    replaced = [
        tf.nest.map_structure(lambda x: values[id(x)], tensors)
        for tensors in (model.input, model.output)
    ]
    return tf.keras.Model(*replaced, name=model.name)


def _is_shared(layer: tf.keras.layers.Layer, calls: int) -> bool:
    return calls > 1 and bool(layer.weights) and not isinstance(layer, tf.keras.Model)
